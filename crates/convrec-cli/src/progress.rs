//! Progress bars, or a line now and then where no terminal shows them.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use convrec_demonstrations::{Progress, Stage};
use convrec_train::{Record, StepView};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::output::{say, warn};

/// A progress bar with rate, time left and a message.
///
/// # Panics
/// Never: the template is fixed.
pub fn bar(name: &str, total: usize) -> ProgressBar {
    let style = "{prefix:>14} {bar:24} {pos}/{len} {rate:>8} eta {eta:>4}  {msg}";
    let style = ProgressStyle::with_template(style).expect("the template is right");
    // indicatif's own rate has ten digits.
    let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        out.write_fmt(format_args!("{:.1}/s", state.per_sec()))
            .expect("it is a string");
    };
    let style = style.with_key("rate", rate);
    ProgressBar::new(total as u64)
        .with_style(style)
        .with_prefix(name.to_string())
}

/// A spinner that names the current work, for work of unknown length.
///
/// # Panics
/// Never: the template is fixed.
pub fn spinner(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>14} {msg}").expect("the template is right");
    ProgressBar::new_spinner()
        .with_style(style)
        .with_prefix(name.to_string())
}

/// Moves a bar to a step and shows its tokens per second and some numbers of its record.
pub fn step(bar: &ProgressBar, view: &StepView<'_>, names: &[&str]) {
    let record = view.record;
    let number = |name: &&str| {
        record
            .get(*name)
            .and_then(|value| value.as_f64())
            .map(|x| format!("{name} {x:.3}"))
    };
    let rate = format!(
        "{:.0} tokens/s",
        view.timing.tokens as f64 / view.timing.seconds.max(1e-9)
    );
    bar.set_message(
        std::iter::once(rate)
            .chain(names.iter().filter_map(number))
            .collect::<Vec<_>>()
            .join("  "),
    );
    let done = record
        .get("step")
        .and_then(|step| step.as_u64())
        .unwrap_or(bar.position() + 1);
    // Where no terminal shows the bar, a line is printed at every tenth of the run.
    let total = bar.length().unwrap_or(0).max(1);
    if bar.is_hidden() && done * 10 / total > done.saturating_sub(1) * 10 / total {
        warn(&format_args!("step {done} of {total}: {}", bar.message()));
    }
    let resumed = done > bar.position() + 1;
    bar.set_position(done);
    if resumed {
        bar.reset_eta();
    }
}

/// Prints a record's evaluation above the bar, where it has one.
pub fn evaluation(bar: &ProgressBar, record: &Record) {
    let number = |(name, value): (&String, &serde_json::Value)| {
        Some(format!(
            "{} {:.4}",
            name.strip_prefix("eval_")?,
            value.as_f64()?
        ))
    };
    let numbers: Vec<String> = record.iter().filter_map(number).collect();
    if !numbers.is_empty() {
        let step = record
            .get("step")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        let line = format!("step {step}: {}", numbers.join("  "));
        // A bar hides what is printed above it where there is no terminal.
        match bar.is_hidden() {
            true => say(line),
            false => bar.println(line),
        }
    }
}

/// A bar for each stage of the making of demonstrations, one below the other.
#[derive(Debug, Default)]
pub struct Stages {
    together: MultiProgress,
    bars: [OnceLock<ProgressBar>; 2],
    last: Mutex<Option<Instant>>,
}

impl Stages {
    /// Shows the progress of the pipeline, and a message.
    pub fn show(&self, progress: Progress, message: String) {
        let (place, name) = match progress.stage {
            Stage::Teach => (0, "teacher"),
            Stage::Score => (1, "remap, reflect"),
        };
        let bar = self.bars[place].get_or_init(|| self.together.add(bar(name, progress.total)));
        bar.set_position(progress.done as u64);
        // Where no terminal shows a bar, a line is printed now and then.
        if bar.is_hidden() && self.is_time() {
            let (done, total) = (progress.done, progress.total);
            warn(&format_args!("{name}: {done} of {total}  {message}"));
        }
        bar.set_message(message);
    }

    fn is_time(&self) -> bool {
        const BETWEEN: Duration = Duration::from_secs(30);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Short runs need no such lines.
        let due = last.get_or_insert_with(Instant::now).elapsed() >= BETWEEN;
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    /// Ends the bars.
    pub fn finish(&self) {
        self.bars
            .iter()
            .filter_map(OnceLock::get)
            .for_each(|bar| bar.abandon());
    }
}
