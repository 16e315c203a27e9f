//! Answers one conversation, which is given as arguments, in a file, or on standard input.

use std::path::PathBuf;

use clap::Parser;
use convrec::device;
use convrec::prelude::*;
use convrec_cli::conversation::ConversationOptions;
use convrec_cli::data::{DataOptions, TwinRule, in_catalog_file};
use convrec_cli::{Outcome, at_least_one, exit, say};

/// Answers one conversation with a ranked list.
#[derive(Parser)]
struct Options {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// Let the policy write unconstrained lists. Without this flag only different unseen catalog
    /// items can be written.
    #[arg(long)]
    unconstrained: bool,
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    catalog: PathBuf,
    /// The number of items. The default is the length of the model's lists.
    #[arg(long, short, value_parser = at_least_one)]
    n: Option<usize>,
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    conversation: ConversationOptions,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let turns = options.conversation.turns()?;
    let model = Model::load(&options.model, &device()?)?;
    let catalog = options.data.catalog(&options.catalog, TwinRule::Merge)?;
    let seen = options.conversation.seen(&catalog, &turns)?;
    if !seen.is_empty() {
        let names: Vec<String> = seen
            .iter()
            .map(|id| catalog[*id].item().to_string())
            .collect();
        say(format_args!("seen: {}\n", names.join("; ")));
    }
    let task = model.language.task_for(catalog, options.unconstrained);
    let task = in_catalog_file(&options.catalog, task)?;
    let n = options.n.unwrap_or(task.n_ranks());
    let recommender = Recommender::new(&model, task);
    let list = recommender.recommend(&turns, &seen, n)?;
    if list.is_empty() {
        return Err("the model named no unseen item of the catalog".into());
    }
    for best in list {
        say(format_args!("{:>2}. {}", best.rank, best.item));
    }
    Ok(())
}
