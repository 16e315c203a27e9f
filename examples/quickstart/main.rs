//! Runs the whole of ConvRec-R1 in a few minutes, on an embedded world of real films and generated
//! conversations. The best possible score of this world is known. The steps are a teacher that
//! makes mistakes, Remap-Reflect-Adjust, and supervised fine-tuning (SFT) of a small decoder from
//! scratch. Rank-GRPO, GRPO and GSPO follow from the same checkpoint, with the same number of
//! rollouts and updates.
//!
//! `cargo run --release -p quickstart` prints tables, writes an HTML report, and leaves a model.
//! `--full` takes longer: three seeds, more steps of reinforcement learning, more conversations to
//! test on.

mod experiment;
mod figures;
mod page;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use convrec_cli::{Outcome, check_folder, exit};
use convrec_world::World;

use experiment::Plan;
use figures::Lists;

/// Trains and compares policies on an embedded world of films.
#[derive(Parser)]
struct Options {
    /// Run three seeds, more steps of reinforcement learning, and more test conversations.
    #[arg(long)]
    full: bool,
    /// The seed of all random numbers; with --full the first of three.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Training conversations.
    #[arg(long)]
    conversations: Option<usize>,
    /// Updates of supervised fine-tuning.
    #[arg(long)]
    sft_steps: Option<usize>,
    /// Batches of rollouts of each reinforcement learning run.
    #[arg(long)]
    rl_steps: Option<usize>,
    /// The folder for the report, the model and the data. The files of an earlier run are replaced.
    #[arg(long, default_value = "runs/quickstart")]
    out: PathBuf,
}

impl Options {
    fn plan(&self) -> Plan {
        let usual = if self.full {
            Plan::full(self.seed)
        } else {
            Plan::short(self.seed)
        };
        Plan {
            conversations: self.conversations.unwrap_or(usual.conversations),
            sft_steps: self.sft_steps.unwrap_or(usual.sft_steps),
            rl_steps: self.rl_steps.unwrap_or(usual.rl_steps),
            ..usual
        }
    }
}

fn main() -> std::process::ExitCode {
    convrec_cli::keep_freed_memory();
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let (plan, clock, world) = (options.plan(), Instant::now(), World::embedded());
    plan.check()?;
    let folder = &options.out;
    check_folder(folder)?;
    // A training run refuses a folder with the log of another.
    match std::fs::remove_dir_all(folder.join("rank-grpo")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut runs = Vec::new();
    for &seed in &plan.seeds {
        println!("seed {seed}: {}", plan.describe());
        let kept = runs.is_empty().then_some(folder.as_path());
        runs.push(experiment::run(world, &plan, seed, kept)?);
    }
    println!("\n{}\n", figures::demonstrations(&runs).print());
    for lists in [Lists::Constrained, Lists::Unconstrained] {
        println!("{}\n", figures::results(&runs, lists).print());
    }
    println!("{}\n", figures::LEGEND);
    println!(
        "{}\n{}",
        figures::differences(&runs)?.print(),
        figures::differences_legend(&runs)
    );
    let (page, report) = (page::page(&plan, &runs)?, folder.join("report.html"));
    page.write(&report)?;
    page.write_plots(&folder.join("plots"))?;
    let seconds = clock.elapsed().as_secs_f64();
    println!("\nreport: {}   ({seconds:.0} s in all)", report.display());
    println!("{}", next_commands(&folder.display().to_string()));
    Ok(())
}

/// The next commands for the files of the run.
fn next_commands(folder: &str) -> String {
    let example = "cargo run --release --example";
    let catalog = format!("--catalog {folder}/catalog.jsonl");
    let model = format!("--model {folder}/model");
    format!(
        "\nThe Rank-GRPO policy is in {folder}/model. Next:\n\
         {example} recommend -- {catalog} {model} \"I loved Heat (1995). Something like it?\"\n\
         {example} evaluate -- {catalog} {model} --conversations {folder}/test.jsonl \
         --train {folder}/train.jsonl\n\
         {example} serve -- {catalog} {model}\n\
         {example} watch -- {folder}/rank-grpo"
    )
}
