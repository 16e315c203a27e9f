//! Reinforcement learning of a policy from conversations and their ground truth: Rank-GRPO, GRPO or
//! GSPO.

use std::path::PathBuf;

use clap::Parser;
use convrec::devices;
use convrec::train::{Algorithm, Files, Language, RlData, RlSettings, Runner};
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::{Outcome, TrainingOptions, exit, say};

/// Trains a policy by reinforcement learning.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    training: TrainingOptions,
    /// The conversations to train on.
    #[arg(long)]
    conversations: Option<PathBuf>,
    /// Items that should not be recommended, in a format of catalogs. The config file gives
    /// `blocklist` a weight under `[reward_weights]`, or `blocked` a target under
    /// `[reward_targets]`.
    #[arg(long)]
    blocklist: Option<PathBuf>,
    /// A TOML file that names the servers which sample in place of this process (docs/rollouts.md).
    #[arg(long)]
    sampler: Option<PathBuf>,
    /// rank-grpo, grpo or gspo: the rewards and the loss that a config file starts from.
    /// [default: rank-grpo]
    #[arg(long)]
    algorithm: Option<Algorithm>,
    /// P, the number of prompts in a batch.
    #[arg(long)]
    prompts_per_step: Option<usize>,
    /// G, the number of completions of each prompt.
    #[arg(long)]
    num_generations: Option<usize>,
    /// mu, the number of passes over each batch.
    #[arg(long)]
    num_iterations: Option<usize>,
    /// Sample the next batch while a batch's updates run, from the weights before them. It saves
    /// time where servers sample (docs/rollouts.md).
    #[arg(long)]
    one_step_off_policy: bool,
    /// The weight of the KL penalty; 0 turns the penalty off.
    #[arg(long, allow_negative_numbers = true)]
    beta: Option<f64>,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let mut flags = options.training.flags();
    flags.set("files.conversations", options.conversations.as_ref());
    flags.set("files.blocklist", options.blocklist.as_ref());
    flags.set("files.sampler", options.sampler.as_ref());
    flags.set("prompts_per_step", options.prompts_per_step);
    flags.set("num_generations", options.num_generations);
    flags.set("num_iterations", options.num_iterations);
    let one_step_off_policy = options.one_step_off_policy.then_some(true);
    flags.set("one_step_off_policy", one_step_off_policy);
    match options.beta {
        Some(0.0) => flags.set("loss.kl", Some(false)),
        beta => flags.set("loss.kl.beta", beta),
    }
    let layers = options.training.layers(flags)?;
    let files = Files::resolve(&layers)?;
    let model = files
        .model
        .as_deref()
        .ok_or("no model: expected --model FOLDER or org/name")?;
    let settings = RlSettings::resolve(layers, options.algorithm, &Language::load(model)?)?;
    if options.training.print_config {
        say(settings.to_toml()?.trim_end());
        return Ok(());
    }
    let read = DataOptions::of(&files);
    let blocked = files.blocklist.as_deref();
    let blocked = blocked.map(|path| read.catalog(path, TwinRule::Keep));
    let blocked = blocked.transpose()?;
    let blocked = blocked.iter().flat_map(|catalog| catalog.iter());
    let conversations = settings.file("conversations", &files.conversations)?;
    let catalog = settings.file("catalog", &files.catalog)?;
    let catalog = read.catalog(catalog, TwinRule::Keep)?;
    let data = RlData {
        conversations: read.examples(&catalog, conversations)?,
        validation: read.validation(&catalog, files.validation.as_deref())?,
        blocklist: blocked.map(|(_, item)| item.item()).collect(),
        catalog,
    };
    options
        .training
        .run(Runner::rank_grpo(settings, data, &devices()?)?)
}
