//! Trains with a sampler of its own: rollouts are drawn at two temperatures, half of a group each.
//!
//! A sampler is the source of completions: another engine, another machine, a search. It returns
//! tokens and their log-probabilities. `loss.correction` accounts for the difference to the
//! trainer's distribution.

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use convrec::policy::{Completion, Generation};
use convrec::prelude::*;
use convrec::train::{Local, Sampler};
use convrec_cli::{Outcome, exit, say};

/// Trains a policy on rollouts of two temperatures.
#[derive(Parser)]
struct Options {
    /// The model's folder.
    #[arg(long)]
    model: PathBuf,
    /// The catalog.
    #[arg(long)]
    catalog: PathBuf,
    /// Conversations with ground truth.
    #[arg(long)]
    conversations: PathBuf,
    /// The folder of the run.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value_t = 50)]
    max_steps: usize,
}

/// Draws half of each group at the trainer's temperature and half at a higher one.
#[derive(Default)]
struct TwoTemperatures(Local);

impl Sampler for TwoTemperatures {
    fn sample(
        &mut self,
        policy: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>> {
        let half = generation.group_size / 2;
        let mut draw = |temperature: f32, group_size: usize, seed: u64| {
            let sampling = Sampling {
                temperature,
                ..generation.sampling
            };
            let generation = Generation {
                sampling,
                group_size,
                seed,
                ..generation.clone()
            };
            self.0.sample(policy, task, samples, &generation)
        };
        let cool = draw(
            generation.sampling.temperature,
            generation.group_size - half,
            generation.seed,
        )?;
        let warm = draw(
            1.5 * generation.sampling.temperature,
            half,
            !generation.seed,
        )?;
        Ok(cool
            .into_iter()
            .zip(warm)
            .map(|(cool, warm)| [cool, warm].concat())
            .collect())
    }

    /// The warm half is not drawn from the trainer's distribution, so the trainer computes its own
    /// log-probabilities and corrects for the difference.
    fn is_trainer(&self) -> bool {
        false
    }
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let mut settings = Layer::flags();
    settings.set("files.model", Some(&options.model));
    settings.set("files.catalog", Some(&options.catalog));
    settings.set("files.conversations", Some(&options.conversations));
    settings.set("run.folder", Some(&options.out));
    settings.set("max_steps", Some(options.max_steps));
    let language = Language::load(&options.model)?;
    let settings = RlSettings::resolve(Layers::new([settings]), None, &language)?;
    let data = RlData {
        catalog: convrec::read_catalog(&options.catalog)?,
        conversations: convrec::read_conversations(&options.conversations)?,
        validation: vec![],
        blocklist: vec![],
    };
    let runner = Runner::rank_grpo(settings, data, &convrec::devices()?)?;
    let sampler = Box::new(TwoTemperatures::default());
    let folder = runner
        .with_sampler(sampler)
        .run(&mut |step: &StepView<'_>| {
            say(format_args!("reward {}", step.record["reward"]));
        })?;
    say(format_args!("the model is in {}", folder.display()));
    Ok(())
}
