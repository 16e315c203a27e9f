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

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use convrec_cli::{say, warn};
use convrec_watch::report::{TrainingRun, page};
use convrec_watch::tui::{Board, follow};
use convrec_watch::{Doctor, DoctorConfig, Events, completions, step};

/// Watches a training run, or looks back on runs.
#[derive(Parser)]
struct Options {
    /// The runs' folders, or their logs; one where it is watched live.
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

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(status) => status,
        Err(error) => {
            warn(&format_args!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let config = options
        .doctor
        .as_deref()
        .map_or(Ok(DoctorConfig::default()), doctor)?;
    if !options.check && options.report.is_none() && options.tensorboard.is_none() {
        return live(&options.runs, config);
    }
    let runs = TrainingRun::read_all(&options.runs)?;
    if let Some(out) = &options.report {
        let report = page("Training runs", &runs, &config)?;
        report.write(out)?;
        let plots = out.with_file_name("plots");
        say(format_args!(
            "{} and {} curves in {}",
            out.display(),
            report.write_plots(&plots)?,
            plots.display()
        ));
    }
    if let Some(folder) = &options.tensorboard {
        for (run, path) in runs.iter().zip(&options.runs) {
            tensorboard(run, path, &folder.join(&run.name))?;
        }
    }
    if options.check {
        check(&runs, &config)
    } else {
        Ok(ExitCode::SUCCESS)
    }
}

fn doctor(path: &Path) -> Result<DoctorConfig, Box<dyn Error>> {
    let text = convrec_core::files::read_text(path)?;
    let config: DoctorConfig =
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    config.check()?;
    Ok(config)
}

fn live(runs: &[PathBuf], config: DoctorConfig) -> Result<ExitCode, Box<dyn Error>> {
    let [run] = runs else {
        return Err("one run at a time is watched live; several are compared by --report".into());
    };
    if run.is_file() {
        return Err(format!("{} is a file; expected the folder of a run", run.display()).into());
    }
    follow(run, Board::new(&run.display().to_string(), config)?)?;
    Ok(ExitCode::SUCCESS)
}

fn check(runs: &[TrainingRun], config: &DoctorConfig) -> Result<ExitCode, Box<dyn Error>> {
    let mut is_unhealthy = false;
    for run in runs {
        let found = Doctor::examine(config.clone(), &run.records)?;
        is_unhealthy |= !found.is_empty();
        match (run.records.len(), found.len()) {
            (0, _) => say(format_args!(
                "{}: no records yet, so nothing to judge",
                run.name
            )),
            (records, 0) => say(format_args!(
                "{}: nothing wrong in {records} records",
                run.name
            )),
            _ => {}
        }
        found.iter().for_each(|diagnosis| {
            say(format_args!(
                "{}: {}: {diagnosis}",
                run.name,
                diagnosis.check.name()
            ))
        });
    }
    Ok(if is_unhealthy {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
}

fn tensorboard(run: &TrainingRun, path: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let last = run.records.iter().filter_map(step).max().unwrap_or(0);
    // What an earlier conversion wrote is forgotten from the first step on.
    let mut events = Events::open(folder, 0)?;
    run.records
        .iter()
        .try_for_each(|record| events.record(record))?;
    for (step, file) in completions::kept(path)? {
        events.completions(step, &completions::read(file)?)?;
    }
    say(format_args!(
        "{last} steps of {} in {}",
        run.name,
        folder.display()
    ));
    Ok(())
}
