//! Answers one conversation: typed in as arguments, or read from a file or standard input.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use burn::module::Module;
use clap::Parser;
use convrec::device;
use convrec_catalog::Mentions;
use convrec_cli::data::{DataOptions, TwinRule, in_catalog_file, say_report};
use convrec_cli::{Outcome, exit, say};
use convrec_core::{Example, Item, Turn, files};
use convrec_train::evaluate::evaluate;
use convrec_train::{Model, data};

/// Answers one conversation with a ranked list.
#[derive(Parser)]
struct Options {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// Let the list be whatever the policy writes. Without it only different unseen catalog items
    /// can be written.
    #[arg(long)]
    unconstrained: bool,
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    catalog: PathBuf,
    /// A file with one conversation: a line per turn, the user's first, then by turns. `-` is
    /// standard input.
    #[arg(long, conflicts_with = "turns")]
    file: Option<PathBuf>,
    /// An item already seen, as `Heat (1995)`; may be given often. Items that the conversation
    /// names are found anyway. A title without a year means all items of that title.
    #[arg(long)]
    seen: Vec<String>,
    #[command(flatten)]
    data: DataOptions,
    /// The turns, the user's first, then by turns.
    turns: Vec<String>,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let turns = turns(options)?;
    let Model { policy, language } = Model::load(&options.model, &device()?)?;
    let catalog = options.data.catalog(&options.catalog, TwinRule::Merge)?;
    let mentioned = Mentions::new(&catalog).in_turns(&turns);
    let mut seen: Vec<Item> = mentioned.into_iter().map(|id| catalog[id].item()).collect();
    for name in &options.seen {
        let ids = catalog.named(name).map_err(|e| format!("--seen: {e}"))?;
        for item in ids.into_iter().map(|id| catalog[id].item()) {
            if !seen.contains(&item) {
                seen.push(item);
            }
        }
    }
    let example = Example {
        id: "typed-1".into(),
        dialog: turns,
        seen,
        ground_truth: vec![],
    };
    let task = language.task_for(catalog, options.unconstrained);
    let task = in_catalog_file(&options.catalog, task)?;
    let (sample, report) = data::conversation(&task, &example)?;
    if !report.is_clean() {
        say_report("conversation", &report);
    }
    let found = evaluate(&policy.valid(), &task, &[sample], &language.format.greedy());
    let names = example
        .seen
        .iter()
        .map(Item::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    if !names.is_empty() {
        say(format_args!("seen: {names}\n"));
    }
    let answer = &found.samples[0];
    if answer.list.is_empty() {
        return Err(format!(
            "the policy named no unseen item of the catalog; it wrote:\n{}",
            answer.answer.text
        )
        .into());
    }
    for (rank, id) in answer.list.iter().enumerate() {
        say(format_args!(
            "{:>2}. {}",
            rank + 1,
            task.catalog()[*id].item()
        ));
    }
    Ok(())
}

fn turns(options: &Options) -> Result<Vec<Turn>, Box<dyn std::error::Error>> {
    let lines: Vec<String> = match &options.file {
        Some(path) if path.as_os_str() != "-" => files::read_text(path)?
            .lines()
            .map(str::to_string)
            .collect(),
        None if !options.turns.is_empty() => options.turns.clone(),
        None if std::io::stdin().is_terminal() => {
            eprintln!("Type the conversation, a line per turn, yours first; end with Ctrl-D.");
            read_stdin()?
        }
        _ => read_stdin()?,
    };
    let lines: Vec<String> = lines
        .into_iter()
        .filter(|line| !line.trim().is_empty())
        .collect();
    if lines.len().is_multiple_of(2) {
        return Err(format!(
            "{} turns; expected an odd number: the first and the last are the user's",
            lines.len()
        )
        .into());
    }
    let turn = |(index, line): (usize, String)| {
        if index % 2 == 0 {
            Turn::user(line)
        } else {
            Turn::assistant(line)
        }
    };
    Ok(lines.into_iter().enumerate().map(turn).collect())
}

fn read_stdin() -> Result<Vec<String>, std::io::Error> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text.lines().map(str::to_string).collect())
}
