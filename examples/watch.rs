//! Watches a training run, or looks back on runs.
//!
//! - `cargo run --release --example watch -- runs/x` shows the run in full screen, from another
//!   terminal than it is in.
//! - `... watch -- runs/x runs/y --report page.html` writes a page about runs, and its curves into
//!   `plots/` beside it.
//! - `... watch -- runs/x --check` lets the doctor look at the log: the exit status is 2 when the
//!   run is unhealthy.
//! - `... watch -- runs/x --tensorboard DIR` writes event files for TensorBoard.
//!
//! A run is a folder with `log.jsonl`, such a file alone, or a folder with TRL's
//! `trainer_state.json`.

use std::path::PathBuf;

use clap::Parser;
use convrec::watch::report::{TrainingRun, page};
use convrec::watch::tui::{Board, follow};
use convrec::watch::{Doctor, DoctorConfig, Events};
use convrec_cli::{Outcome, Paused, check_outputs, exit, say};

/// Watches a training run, or looks back on runs.
#[derive(Parser)]
struct Options {
    /// The folders of runs, or their logs. A run is watched live where there is only one.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Write a page about the runs to this file, and its curves into `plots/` beside it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Let the doctor look at the logs; the exit status is 2 when a run is unhealthy.
    #[arg(long)]
    check: bool,
    /// Write event files for TensorBoard into this folder, a folder for each run.
    #[arg(long, value_name = "FOLDER")]
    tensorboard: Option<PathBuf>,
    /// The doctor's settings, as TOML.
    #[arg(long, value_name = "FILE")]
    doctor: Option<PathBuf>,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let config = convrec::config::read(options.doctor.as_deref(), DoctorConfig::default())?;
    config.check()?;
    if !options.check && options.report.is_none() && options.tensorboard.is_none() {
        let [run] = &options.runs[..] else {
            return Err("several runs are compared by --report; expected one run to watch".into());
        };
        return Ok(follow(
            run,
            Board::new(&run.display().to_string(), config)?,
        )?);
    }
    let logs = options.runs.iter().map(|run| run.join("log.jsonl"));
    let inputs: Vec<PathBuf> = logs.chain(options.runs.clone()).collect();
    check_outputs(&options.report, inputs.iter().chain(&options.doctor))?;
    let runs = TrainingRun::read_all(&options.runs)?;
    if let Some(out) = &options.report {
        let report = page("Training runs", &runs, &config)?;
        report.write(out)?;
        let (plots, page) = (out.with_file_name("plots"), out.display());
        let curves = report.write_plots(&plots)?;
        say(format_args!(
            "{page} and {curves} curves in {}",
            plots.display()
        ));
    }
    if let Some(folder) = &options.tensorboard {
        for (run, path) in runs.iter().zip(&options.runs) {
            let folder = folder.join(&run.name);
            let steps = Events::convert(path, &folder)?;
            say(format_args!(
                "{steps} steps of {} in {}",
                run.name,
                folder.display()
            ));
        }
    }
    let mut unhealthy = 0;
    for run in runs.iter().filter(|_| options.check) {
        let found = Doctor::examine(config.clone(), &run.records)?;
        match run.records.len() {
            0 => say(format_args!(
                "{}: no records yet, so nothing to judge",
                run.name
            )),
            n if found.is_empty() => say(format_args!("{}: {n} records, nothing wrong", run.name)),
            _ => unhealthy += 1,
        }
        for diagnosis in found {
            say(format_args!(
                "{}: {}: {diagnosis}",
                run.name,
                diagnosis.check.name()
            ));
        }
    }
    match unhealthy {
        0 => Ok(()),
        n => Err(Paused(format!("{n} of {} runs are unhealthy", runs.len())).into()),
    }
}
