//! Trains with a reward function of its own: items should be relevant, and not too old.

use std::path::PathBuf;

use clap::Parser;
use convrec::prelude::*;
use convrec::watch::number;
use convrec_cli::{Outcome, exit, say};

/// Trains a policy on relevance and on the age of items.
#[derive(Parser)]
struct Options {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// The catalog. The years of its items decide the reward.
    #[arg(long)]
    catalog: PathBuf,
    /// Conversations with ground truth.
    #[arg(long)]
    conversations: PathBuf,
    /// The folder of the run.
    #[arg(long)]
    out: PathBuf,
    /// Items of this year or later earn the reward.
    #[arg(long, default_value_t = 2000)]
    since: i32,
    /// The weight of this reward beside relevance.
    #[arg(long, default_value_t = 0.1)]
    weight: f64,
    #[arg(long, default_value_t = 50)]
    max_steps: usize,
}

/// Gives 1 to each rank with a recent item.
struct Recent {
    is_recent: Vec<bool>,
}

impl RewardFunction for Recent {
    fn name(&self) -> &str {
        "recent"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        let of_rank = |id: &Option<ItemId>| id.is_some_and(|id| self.is_recent[id.0 as usize]);
        list.items
            .iter()
            .map(|id| f64::from(u8::from(of_rank(id))))
            .collect()
    }
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let catalog = convrec::read_catalog(&options.catalog)?;
    let since = |year: Option<i32>| year.is_some_and(|year| year >= options.since);
    let recent = Recent {
        is_recent: catalog.iter().map(|(_, item)| since(item.year)).collect(),
    };

    // The same settings as in the config file of `train_rank_grpo`.
    let mut settings = Layer::flags();
    settings.set("files.model", Some(&options.model));
    settings.set("files.catalog", Some(&options.catalog));
    settings.set("files.conversations", Some(&options.conversations));
    settings.set("run.folder", Some(&options.out));
    settings.set("max_steps", Some(options.max_steps));
    settings.set("reward_weights.relevance", Some(1.0));
    settings.set("reward_weights.recent", Some(options.weight));
    let language = Language::load(&options.model)?;
    let settings =
        RlSettings::resolve_with_rewards(Layers::new([settings]), None, &language, &["recent"])?;
    let data = RlData {
        catalog,
        conversations: convrec::read_conversations(&options.conversations)?,
        validation: vec![],
        blocklist: vec![],
    };
    let runner = Runner::rank_grpo(settings, data, &convrec::devices()?)?;
    let folder = runner
        .with_rewards([Box::new(recent) as _])
        .run(&mut |step: &StepView<'_>| {
            let number = |name| number(step.record, name).unwrap_or_default();
            let (reward, recent) = (number("reward"), number("rewards/recent/mean"));
            say(format_args!("reward {reward:.3}, recent {recent:.3}"));
        })?;
    say(format_args!("the model is in {}", folder.display()));
    Ok(())
}
