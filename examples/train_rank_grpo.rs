//! Reinforcement learning of a policy from conversations and what was right in them: Rank-GRPO, GRPO or GSPO.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use convrec_examples::data::read_catalog;
use convrec_examples::model_folder::{Language, Prompts};
use convrec_examples::training::{TrainingOptions, read_samples};
use convrec_examples::{Outcome, device::device, exit, model_folder, settings, show};
use convrec_train::{Local, Reward, RlConfig, RlJob, Validation, train_rank_grpo};
use rank_grpo::{LengthShaping, LossConfig};

/// Trains a policy by reinforcement learning.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    training: TrainingOptions,
    /// The model's folder: as `train_sft` leaves it, or a chat model's as it is published.
    #[arg(long)]
    model: PathBuf,
    /// Training conversations, JSON lines.
    #[arg(long)]
    conversations: PathBuf,
    /// The member of the family: what a config file starts from.
    #[arg(long, value_enum, default_value = "rank-grpo")]
    algorithm: Algorithm,
    /// P, prompts a batch.
    #[arg(long)]
    prompts_per_step: Option<usize>,
    /// G, completions of each prompt.
    #[arg(long)]
    group_size: Option<usize>,
    /// mu, updates on each batch.
    #[arg(long)]
    updates_per_batch: Option<usize>,
    /// Weight of the KL penalty; 0 is none.
    #[arg(long)]
    beta: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    /// Rewards, advantages and ratios per rank.
    RankGrpo,
    /// DCG of the list, ratios per token.
    Grpo,
    /// DCG of the list, one ratio per list.
    Gspo,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let training = &options.training;
    let language = Language::load(&options.model)?;
    let defaults = RlConfig { max_new_tokens: language.format.max_new_tokens, ..defaults(options.algorithm) };
    let mut config =
        training.settings(defaults, |c| (&mut c.steps, &mut c.optimizer.learning_rate, &mut c.seed, &mut c.lora))?;
    settings::set(&mut config.prompts_per_step, options.prompts_per_step);
    settings::set(&mut config.group_size, options.group_size);
    settings::set(&mut config.updates_per_batch, options.updates_per_batch);
    if let Some(beta) = options.beta {
        let paper = LossConfig::paper().kl.expect("the paper has a KL penalty");
        config.loss.kl = Some(rank_grpo::Kl { beta, ..config.loss.kl.unwrap_or(paper) });
    }

    if training.learning_rate_is_open()? && matches!(language.format.prompts, Prompts::Chat(_)) {
        // A pretrained model: the paper's, or what suits an adapter.
        config.optimizer.learning_rate = if config.lora.is_some() { 1e-5 } else { 1e-6 };
    }
    config.check()?;
    if training.print_config {
        print!("{}", toml::to_string(&config.printable())?);
        return Ok(());
    }
    let task = language.task(read_catalog(&training.catalog)?, training.free)?;
    let (policy, _) = model_folder::load(&options.model, &device()?.autodiff())?;
    let train = read_samples(&task, &options.conversations)?;
    let validation = training.validation(&task)?;

    let mut inputs = model_folder::hashes(&[
        ("the catalog", &training.catalog),
        ("the conversations file", &options.conversations),
    ])?;
    inputs.insert("the model's weights".into(), model_folder::weights_hash(&options.model)?);
    inputs.extend(language.hashes()?);
    let validation = Validation { task: &task, samples: &validation, decoding: language.format.greedy() };
    let job = RlJob { task: &task, samples: &train, validation, gains: vec![], sampler: &mut Local };
    let bar = show::bar("RL", config.steps);
    let policy = train_rank_grpo(policy, job, &config, &training.run(), inputs, &mut |record| {
        show::step(&bar, record, &["dcg", "entropy", "items", "in_catalog"]);
        show::evaluation(&bar, record);
    })?;
    bar.finish();
    model_folder::save(&training.out, &policy, &language)?;
    println!("the model is in {}", training.out.display());
    Ok(())
}

fn defaults(algorithm: Algorithm) -> RlConfig {
    let list = |loss| RlConfig { loss, reward: Reward::Dcg, shaping: LengthShaping::OFF, ..RlConfig::default() };
    match algorithm {
        Algorithm::RankGrpo => RlConfig::default(),
        Algorithm::Grpo => list(LossConfig::grpo()),
        Algorithm::Gspo => list(LossConfig::gspo()),
    }
}
