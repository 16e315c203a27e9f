//! What a run would take, from three steps of it.

use std::error::Error;

use convrec_policy::Policy;
use convrec_train::{Observer, RunOptions, StepView, TrainError};
use convrec_watch::Timing;

use crate::show::Table;

/// Steps that are taken: the first warms up.
const STEPS: usize = 3;

/// Takes three steps in memory and prints what the whole run would take.
///
/// # Errors
/// When training fails.
pub fn print(
    run: &RunOptions,
    total: usize,
    facts: &[(&str, String)],
    train: impl FnOnce(&RunOptions, &mut dyn Observer) -> Result<Policy, TrainError>,
) -> Result<(), Box<dyn Error>> {
    let options = RunOptions {
        folder: None,
        evaluate_every: 0,
        stop_after: Some(STEPS),
        ..run.clone()
    };
    let mut timings: Vec<Timing> = Vec::new();
    match train(&options, &mut |view: &StepView<'_>| {
        timings.push(view.timing)
    }) {
        Ok(_) | Err(TrainError::Stopped { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let warm = &timings[usize::from(timings.len() > 1)..];
    let mean = |of: &dyn Fn(&Timing) -> f64| warm.iter().map(of).sum::<f64>() / warm.len() as f64;
    let (seconds, tokens) = (mean(&|t| t.seconds), mean(&|t| t.tokens as f64));
    let mut table = Table::new(["the run would take", ""]);
    facts
        .iter()
        .for_each(|(name, value)| table.row(name, [value.clone()]));
    table.row("steps", [total.to_string()]);
    table.row("completion tokens a step", [format!("{tokens:.0}")]);
    table.row("seconds a step", [format!("{seconds:.2}")]);
    if timings.iter().any(|t| t.rollout_seconds > 0.0) {
        table.row(
            "... of them sampling",
            [format!("{:.2}", mean(&|t| t.rollout_seconds))],
        );
    }
    table.row("time in all", [duration(seconds * total as f64)]);
    table.row(
        "memory at most",
        [peak_memory().unwrap_or_else(|| "not known on this system".into())],
    );
    println!("{}", table.print());
    println!(
        "From {} steps; evaluations and checkpoints come on top of the time, longer lists later may change it.",
        timings.len()
    );
    Ok(())
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// What this process has held at most; Linux tells.
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(format!("{:.2} GB", kilobytes * 1024.0 / 1e9))
}
