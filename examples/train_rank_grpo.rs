//! Reinforcement learning of a policy from conversations and what was right in them: Rank-GRPO, GRPO or GSPO.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use convrec_catalog::Catalog;
use convrec_core::{Example, jsonl};
use convrec_examples::{Outcome, device::device, model_folder, settings, show};
use convrec_train::{Reward, RlConfig, RunOptions, Sample, Validation, train_rank_grpo};
use rank_grpo::{LengthShaping, LossConfig};

/// Trains a policy by reinforcement learning.
#[derive(Parser)]
struct Options {
    /// The model's folder, as `train_sft` leaves it.
    #[arg(long)]
    model: PathBuf,
    /// Catalog, JSON lines.
    #[arg(long)]
    catalog: PathBuf,
    /// Training conversations, JSON lines.
    #[arg(long)]
    conversations: PathBuf,
    /// Conversations to evaluate on while training.
    #[arg(long)]
    validation: Option<PathBuf>,
    /// At most so many of them.
    #[arg(long, default_value_t = 300)]
    validation_samples: usize,
    /// The run's folder; the trained model lies there at the end.
    #[arg(long)]
    out: PathBuf,
    /// Go on from the newest checkpoint in the folder.
    #[arg(long)]
    resume: bool,
    /// The member of the family; a config file says more.
    #[arg(long, value_enum, default_value = "rank-grpo")]
    algorithm: Algorithm,
    /// Settings of the training, TOML; a flag goes before it.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Batches of rollouts.
    #[arg(long)]
    steps: Option<usize>,
    /// Prompts a batch.
    #[arg(long)]
    prompts_per_step: Option<usize>,
    /// The learning rate.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Weight of the KL penalty; 0 is none.
    #[arg(long)]
    beta: Option<f64>,
    /// Of the order of prompts and of sampling.
    #[arg(long)]
    seed: Option<u64>,
    /// Steps between evaluations.
    #[arg(long, default_value_t = 50)]
    evaluate_every: usize,
    /// Steps between checkpoints.
    #[arg(long, default_value_t = 25)]
    checkpoint_every: usize,
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

fn main() -> Outcome {
    let options = Options::parse();
    let mut config: RlConfig = match &options.config {
        Some(path) => settings::read(Some(path))?,
        None => defaults(options.algorithm),
    };
    settings::set(&mut config.steps, options.steps);
    settings::set(&mut config.prompts_per_step, options.prompts_per_step);
    settings::set(&mut config.optimizer.learning_rate, options.learning_rate);
    settings::set(&mut config.seed, options.seed);
    if let Some(beta) = options.beta {
        let paper = LossConfig::paper().kl.expect("the paper has a KL penalty");
        config.loss.kl = (beta != 0.0).then_some(rank_grpo::Kl { beta, ..config.loss.kl.unwrap_or(paper) });
    }

    let (policy, tokenizer, format) = model_folder::load(&options.model, &device()?.autodiff())?;
    if options.config.is_none() {
        config.max_new_tokens = format.max_new_tokens;
    }
    config.check()?;
    let task = format.task(Catalog::read(&options.catalog)?, &tokenizer)?;
    let samples = |examples: Vec<Example>, most: usize| {
        let stride = examples.len().div_ceil(most.max(1)).max(1);
        examples.iter().step_by(stride).map(|example| task.sample(example)).collect::<Result<Vec<Sample>, _>>()
    };
    let train = samples(jsonl::read_file(&options.conversations)?, usize::MAX)?;
    let validation = options.validation.map(jsonl::read_file).transpose()?.unwrap_or_default();
    let validation = samples(validation, options.validation_samples)?;

    let run = RunOptions {
        folder: Some(options.out.clone()),
        resume: options.resume,
        checkpoint_every: options.checkpoint_every,
        keep_checkpoints: 2,
        evaluate_every: options.evaluate_every,
    };
    let weights = options.model.join("model.safetensors");
    let tokens = options.model.join("tokenizer.json");
    let inputs = model_folder::hashes(&[
        ("catalog", &options.catalog),
        ("conversations", &options.conversations),
        ("first weights", &weights),
        ("tokenizer", &tokens),
    ])?;
    let validation =
        Validation { task: &task, samples: &validation, max_new_tokens: format.max_new_tokens, max_rows: 96 };
    let bar = show::bar("RL", config.steps);
    let policy = train_rank_grpo(policy, &task, &train, &validation, &config, &run, inputs, &mut |record| {
        show::step(&bar, record, &["dcg", "entropy", "items", "in_catalog"]);
        show::evaluation(&bar, record);
    })?;
    bar.finish();
    model_folder::save(&options.out, &policy, &tokenizer, &format)?;
    println!("the model is in {}", options.out.display());
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
