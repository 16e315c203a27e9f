use std::time::{Duration, Instant};

use convrec_collective::{ProcessGroup, from_environment};
use convrec_train::{Plan, Runner, StepView, Stop};
use convrec_watch::number;
#[cfg(feature = "tui")]
use convrec_watch::tui::{Board, Screen};

use crate::exit::Outcome;
use crate::options::TrainingOptions;
use crate::output::{say, show_warnings, warn};
use crate::progress;

impl TrainingOptions {
    /// Runs a training by its flags, with a progress bar and a stop by Ctrl-C that loses nothing.
    /// With `--dry-run` it only prints the estimated cost.
    ///
    /// The run is shared with other processes where the environment says so
    /// ([`from_environment`]). Process 0 speaks for all.
    ///
    /// # Errors
    /// The error of the run, or [`GroupError`](convrec_collective::GroupError) when its processes do
    /// not meet. A run that was stopped is an error too; see [`exit`](crate::exit()).
    pub fn run(&self, runner: Runner) -> Outcome {
        show_warnings();
        #[cfg(feature = "mimalloc")]
        crate::keep_freed_memory();
        let group = from_environment()?;
        let runner = runner.with_group(group.clone());
        if self.dry_run {
            let plan = runner.plan()?;
            if group.is_first() {
                print_plan(&plan);
            }
            return Ok(());
        }
        if !group.is_first() {
            stop_at_ctrl_c(runner.stop())?;
            runner.run(&mut ())?;
            return Ok(());
        }
        for (name, value) in runner.facts() {
            say(format_args!("{name}: {value}"));
        }
        stop_at_ctrl_c(runner.stop())?;
        let (name, fields) = (runner.name(), runner.fields());
        #[cfg(feature = "tui")]
        if self.view {
            let doctor = runner.options().watch.doctor.clone();
            if let Some(mut screen) = Screen::open(Board::new(name, doctor)?)? {
                let folder = runner.run(&mut screen)?;
                drop(screen);
                say(format_args!("the model is in {}", folder.display()));
                return Ok(());
            }
        }
        let clock = Instant::now();
        let bar = progress::bar(name, runner.total_steps());
        let mut silent = Silence::default();
        let folder = runner.run(&mut |view: &StepView<'_>| {
            silent.add(view);
            progress::step(&bar, view, fields);
            progress::evaluation(&bar, view.record);
        });
        bar.abandon();
        say(format_args!("the model is in {}", folder?.display()));
        print_traffic(&group, clock.elapsed());
        silent.warn();
        Ok(())
    }
}

/// How many groups of completions had nothing to learn from.
#[derive(Default)]
struct Silence {
    shares: Vec<f64>,
}

impl Silence {
    /// Above this mean share, a run learns next to nothing.
    const LARGE: f64 = 0.95;

    fn add(&mut self, view: &StepView<'_>) {
        self.shares
            .extend(number(view.record, "frac_reward_zero_std"));
    }

    fn warn(&self) {
        let mean = self.shares.iter().sum::<f64>() / self.shares.len().max(1) as f64;
        if mean > Self::LARGE {
            warn(&format_args!(
                "in {:.0}% of the groups all completions earned the same, which teaches nothing; \
                 take more completions a prompt (--num-generations), dynamic sampling, or a model \
                 that was trained for fewer steps and is less sure",
                100.0 * mean
            ));
        }
    }
}

/// Stops the run after the current step, with a checkpoint, at the first Ctrl-C. The second one
/// ends the program at once.
fn stop_at_ctrl_c(stop: Stop) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || {
        if stop.ask() {
            std::process::exit(130)
        }
        warn(&"stopping after this step, with a checkpoint; once more ends at once");
    })
}

/// What this process sent to the others.
fn print_traffic(group: &ProcessGroup, whole: Duration) {
    if group.size() > 1 {
        let traffic = group.traffic();
        let (time, whole) = (traffic.time.as_secs_f64(), whole.as_secs_f64());
        say(format_args!(
            "{} processes: this one sent {:.1} MB; {time:.1} of {whole:.1} s ({:.0}%) went into \
             sending, receiving and waiting for the others",
            group.size(),
            traffic.bytes_sent as f64 / 1e6,
            100.0 * time / whole.max(1e-9),
        ));
    }
}

fn print_plan(plan: &Plan) {
    let rows = plan.rows();
    let width = rows
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    say("the run would take:");
    for (name, value) in rows {
        say(format_args!("  {name:width$}  {value}"));
    }
    let steps = plan.measured_steps;
    say(format_args!(
        "This is from {steps} steps. Evaluations and checkpoints come on top of the time."
    ));
}
