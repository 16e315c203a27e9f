//! The whole of ConvRec-R1 in a few minutes, on an embedded world of real films and generated
//! conversations whose best possible score is known: a teacher that errs, Remap-Reflect-Adjust,
//! supervised fine-tuning (SFT) of a small decoder from scratch, then Rank-GRPO, GRPO and GSPO from
//! the same checkpoint with the same number of rollouts and updates.
//!
//! `cargo run --release --example quickstart` prints tables and writes an HTML report. `--full`
//! takes longer: three seeds, more steps of reinforcement learning, more conversations to test on.

mod experiment;
mod figures;
mod page;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use convrec_cli::{Outcome, check_output, exit};
use convrec_world::World;

use experiment::Plan;
use figures::Lists;

/// Trains and compares policies on an embedded world of films.
#[derive(Parser)]
struct Options {
    /// Three seeds, more steps of reinforcement learning, more conversations to test on.
    #[arg(long)]
    full: bool,
    /// Of everything random; with --full the first of three.
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
    /// Where the report goes.
    #[arg(long, default_value = "runs/quickstart/report.html")]
    report: PathBuf,
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
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let (plan, clock, world) = (options.plan(), Instant::now(), World::embedded());
    plan.check()?;
    check_output(&options.report)?;
    let mut runs = Vec::new();
    for &seed in &plan.seeds {
        println!("seed {seed}: {}", plan.describe());
        runs.push(experiment::run(world, &plan, seed)?);
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
    page::page(&plan, &runs)?.write(&options.report)?;
    println!(
        "\nreport: {}   ({:.0} s in all)",
        options.report.display(),
        clock.elapsed().as_secs_f64()
    );
    Ok(())
}
