//! Times the policy at the work that `transformers_speed.py` beside it does in PyTorch.
//! `compare.py` runs both in turn and prints a table. Each measured repetition is a JSON line:
//! seconds, tokens, tokens a second, the process's peak memory.
//!
//! Two things differ from PyTorch's side. Lists are written under the trie of a catalog, and a
//! prompt is computed once for its completions, in sampling and in training.

mod limits;
mod works;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use convrec_cli::{Outcome, at_least_one, exit};
use serde::Serialize;

/// Times one kind of work.
#[derive(Parser)]
struct Options {
    /// A model folder: config.json, weights, tokenizer.json.
    #[arg(long)]
    model: PathBuf,
    /// A folder whose config.json gives the shape of a policy with random weights; the tokenizer is
    /// still that of the model.
    #[arg(long)]
    shape: Option<PathBuf>,
    /// The kind of work.
    #[arg(long)]
    work: works::Work,
    /// Measured repetitions.
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    repeats: usize,
    /// Repetitions before them.
    #[arg(long, default_value_t = 1)]
    warmup: usize,
    /// The catalog of the lists, JSON lines. The default is that of the embedded world.
    #[arg(long)]
    catalog: Option<PathBuf>,
    /// Uses gradient checkpointing in training.
    #[arg(long)]
    gradient_checkpointing: bool,
    /// The share of the 8 prompts of `grpo_*`.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Completions side by side in training, for `grpo_*`.
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    micro_batch: usize,
}

/// The figures of a repetition.
#[derive(Default)]
struct Done {
    tokens: usize,
    /// Seconds of each part, in order.
    parts: Vec<(&'static str, f64)>,
    /// A number to compare with PyTorch's side.
    check: Option<f64>,
    /// Mean forward passes a list.
    passes: Option<f64>,
}

#[derive(Serialize)]
struct Line {
    work: String,
    seconds: f64,
    tokens: usize,
    tokens_per_s: f64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parts: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    passes: Option<f64>,
    peak_rss_mb: u64,
}

fn main() -> std::process::ExitCode {
    convrec_cli::keep_freed_memory();
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let mut work = works::prepare(options)?;
    for _ in 0..options.warmup {
        work(true)?;
    }
    for _ in 0..options.repeats {
        let done = work(false)?;
        let seconds: f64 = done.parts.iter().map(|(_, seconds)| seconds).sum();
        let line = Line {
            work: options.work.to_string(),
            seconds,
            tokens: done.tokens,
            tokens_per_s: done.tokens as f64 / seconds,
            parts: if done.parts.len() > 1 {
                done.parts.into_iter().collect()
            } else {
                BTreeMap::new()
            },
            check: done.check,
            passes: done.passes,
            peak_rss_mb: peak_rss_mb(),
        };
        println!("{}", serde_json::to_string(&line)?);
    }
    Ok(())
}

/// Seconds since the last lap.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> f64 {
        let seconds = self.0.elapsed().as_secs_f64();
        self.0 = Instant::now();
        seconds
    }
}

/// The peak memory of the process so far, where the system reports it (Linux), else 0.
fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}
