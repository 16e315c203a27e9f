//! Reinforcement learning of a policy from conversations and what was right in them: Rank-GRPO,
//! GRPO or GSPO.

use std::error::Error;
use std::path::PathBuf;

use burn::module::Module;
use clap::{Parser, ValueEnum};
use convrec_catalog::Catalog;
use convrec_examples::data::read_catalog;
use convrec_examples::http_sampler::{HttpSampler, SamplerSettings};
use convrec_examples::model_folder::{Language, Prompts};
use convrec_examples::settings::{set, set_some};
use convrec_examples::training::{Look, Settings, TrainingOptions, read_samples, train};
use convrec_examples::{Outcome, device::devices, exit, model_folder};
use convrec_train::{
    BlocklistReward, Local, RankGrpoTrainer, Reward, RewardFunction, RlConfig, Sampler, Stop,
    Validation,
};
use rank_grpo::{LengthShaping, LossConfig};

/// Trains a policy by reinforcement learning.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    training: TrainingOptions,
    /// The model's folder: as `train_sft` leaves it, or a chat model's as it is published.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Training conversations, JSON lines.
    #[arg(long)]
    conversations: Option<PathBuf>,
    /// Items that should not be recommended, in a format of catalogs; `[reward_weights]` of the config file
    /// gives `blocklist` a weight.
    #[arg(long)]
    blocklist: Option<PathBuf>,
    /// Servers that sample in place of this process, TOML (docs/rollouts.md).
    #[arg(long)]
    sampler: Option<PathBuf>,
    /// The member of the family: what a config file that leaves `reward` and `loss` open starts
    /// from. [default: rank-grpo]
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,
    /// P, prompts a batch.
    #[arg(long)]
    prompts_per_step: Option<usize>,
    /// G, completions of each prompt.
    #[arg(long)]
    num_generations: Option<usize>,
    /// mu, updates on each batch.
    #[arg(long)]
    num_iterations: Option<usize>,
    /// Weight of the KL penalty; 0 is none.
    #[arg(long, allow_negative_numbers = true)]
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
    let mut settings = training.settings(
        |given, _| given.rest(defaults(options.algorithm.unwrap_or(Algorithm::RankGrpo))),
        |c| {
            (
                &mut c.max_steps,
                &mut c.optimizer.learning_rate,
                &mut c.seed,
                &mut c.lora,
            )
        },
    )?;
    set_some(&mut settings.files.model, &options.model);
    set_some(&mut settings.files.conversations, &options.conversations);
    set_some(&mut settings.files.blocklist, &options.blocklist);
    set_some(&mut settings.files.sampler, &options.sampler);
    let decided: [&[&str]; 3] = [&["reward"], &["loss", "ratio"], &["loss", "aggregation"]];
    if options.algorithm.is_some() && decided.iter().any(|path| settings.is_given(path)) {
        return Err("--algorithm, and a config file whose `reward` and `loss` say which it is: leave out either".into());
    }
    settings.refuse(&[("demonstrations", &settings.files.demonstrations)])?;
    if training.dry_run && settings.files.sampler.is_some() {
        return Err(
            "--dry-run with servers that sample would load weights into them: leave out either"
                .into(),
        );
    }
    let config = &mut settings.training;
    set(&mut config.prompts_per_step, options.prompts_per_step);
    set(&mut config.num_generations, options.num_generations);
    set(&mut config.num_iterations, options.num_iterations);
    if let Some(beta) = options.beta {
        let paper = LossConfig::paper().kl.expect("the paper has a KL penalty");
        config.loss.kl = Some(rank_grpo::Kl {
            beta,
            ..config.loss.kl.clone().unwrap_or(paper)
        });
    }
    let model = settings.file("model", &settings.files.model)?.to_path_buf();
    let language = Language::load(&model)?;
    let open = |flag: bool, path: &[&str]| !flag && !settings.is_given(path);
    let max_new_tokens =
        open(false, &["max_completion_length"]).then_some(language.format.max_new_tokens);
    let pretrained = matches!(language.format.prompts, Prompts::Chat(_));
    // A pretrained model: the paper's, or what suits an adapter.
    let usual = if settings.training.lora.is_some() {
        1e-5
    } else {
        1e-6
    };
    let is_open = open(
        training.learning_rate.is_some(),
        &["optimizer", "learning_rate"],
    );
    let learning_rate = (pretrained && is_open).then_some(usual);
    set(&mut settings.training.max_completion_length, max_new_tokens);
    set(
        &mut settings.training.optimizer.learning_rate,
        learning_rate,
    );
    settings.training.check()?;
    check_rewards(&settings)?;
    settings.training = settings.training.printable();
    if training.print_config {
        print!("{}", settings.to_toml()?);
        return Ok(());
    }
    let (config, files) = (&settings.training, &settings.files);
    let catalog_file = settings.file("catalog", &files.catalog)?;
    let conversations_file = settings.file("conversations", &files.conversations)?;
    if !training.dry_run {
        settings.folder()?;
    }

    let task = language.task(read_catalog(catalog_file)?, files.unconstrained)?;
    let reward_functions = blocklist(&settings, task.catalog())?;
    let devices = devices()?;
    let (policy, _) = model_folder::load(&model, &devices[0].clone().autodiff())?;
    let samples = read_samples(&task, conversations_file)?;
    let validation = settings.validation(&task)?;

    let mut inputs = model_folder::hashes(&[
        ("the catalog", catalog_file),
        ("the conversations file", conversations_file),
    ])?;
    if let Some(path) = &files.blocklist {
        inputs.extend(model_folder::hashes(&[("the blocklist", path)])?);
    }
    inputs.insert(
        "the model's weights".into(),
        model_folder::weights_hash(&model)?,
    );
    inputs.extend(language.hashes()?);
    inputs.extend(settings.validation_hash()?);
    let facts = [
        ("parameters", policy.num_params().to_string()),
        ("samples", samples.len().to_string()),
        (
            "completions a step",
            (config.prompts_per_step * config.num_generations).to_string(),
        ),
    ];
    let validation = Validation {
        task: &task,
        samples: &validation,
        decoding: language.format.greedy(),
    };
    let stop = Stop::default();
    let mut sampler: Box<dyn Sampler> = match &files.sampler {
        Some(path) => Box::new(HttpSampler::new(
            SamplerSettings::read(path)?,
            &task,
            &stop.flag(),
        )?),
        None => Box::new(Local {
            devices: devices[1..].to_vec(),
        }),
    };
    let look = Look {
        name: "RL",
        fields: &["reward", "kl", "entropy", "frac_reward_zero_std"],
        steps: config.max_steps,
    };
    let trained = train(training, &settings, look, &facts, &stop, |run, observer| {
        RankGrpoTrainer::new(policy, &task, &samples)
            .config(config.clone())
            .reward_functions(reward_functions)
            .sampler(sampler.as_mut())
            .devices(&devices[1..])
            .validation(validation)
            .run(run.clone())
            .inputs(inputs)
            .observer(observer)
            .train()
    })?;
    let Some(policy) = trained else { return Ok(()) };
    model_folder::save(settings.folder()?, &policy, &language)?;
    println!("the model is in {}", settings.folder()?.display());
    Ok(())
}

/// Whether something can reward each of the gains, before anything is loaded.
fn check_rewards(settings: &Settings<RlConfig>) -> Result<(), String> {
    for name in settings.training.reward_weights.keys() {
        match name.as_str() {
            "relevance" | "novelty" | "popularity" | "diversity" => {}
            "blocklist" if settings.files.blocklist.is_some() => {}
            "blocklist" => {
                return Err(
                    "config, field `reward_weights.blocklist`: expected --blocklist FILE with it"
                        .into(),
                );
            }
            _ => {
                let known = "relevance, novelty, popularity, diversity, blocklist";
                return Err(format!(
                    "config, field `reward_weights.{name}`: there is no such reward function; expected some of {known}"
                ));
            }
        }
    }
    Ok(())
}

/// The reward function `blocklist`, where there is a blocklist.
fn blocklist(
    settings: &Settings<RlConfig>,
    catalog: &Catalog,
) -> Result<Vec<Box<dyn RewardFunction>>, Box<dyn Error>> {
    let Some(path) = &settings.files.blocklist else {
        return Ok(vec![]);
    };
    if !settings.training.reward_weights.contains_key("blocklist") {
        return Err(
            "there is a blocklist, but it has no weight: set `blocklist = 1.0` under `[reward_weights]`".into()
        );
    }
    let listed = read_catalog(path)?;
    let missing = listed
        .iter()
        .find(|(_, item)| catalog.find(&item.item()).is_none());
    if let Some((_, item)) = missing {
        return Err(format!(
            "{}: \"{}\" is not in the catalog",
            path.display(),
            item.item()
        )
        .into());
    }
    let ids = listed
        .iter()
        .filter_map(|(_, item)| catalog.find(&item.item()))
        .collect();
    Ok(vec![Box::new(BlocklistReward(ids))])
}

fn defaults(algorithm: Algorithm) -> RlConfig {
    let list = |loss| RlConfig {
        loss,
        reward: Reward::Dcg,
        shaping: LengthShaping::OFF,
        ..RlConfig::default()
    };
    match algorithm {
        Algorithm::RankGrpo => RlConfig::default(),
        Algorithm::Grpo => list(LossConfig::grpo()),
        Algorithm::Gspo => list(LossConfig::gspo()),
    }
}
