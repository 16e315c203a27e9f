//! Supervised fine-tuning on demonstrations: of a chat model, or of a small decoder from scratch,
//! with a tokenizer trained on the corpus.

use std::path::PathBuf;

use burn::module::Module;
use clap::Parser;
use convrec_core::Demonstration;
use convrec_core::hash::sha256;
use convrec_examples::data::{read_catalog, read_demonstrations};
use convrec_examples::decoder::{Decoder, DecoderOptions};
use convrec_examples::model_folder::{self, Language, Prompts, TaskFormat};
use convrec_examples::settings::{Given, set_some};
use convrec_examples::training::{Files, Look, TrainingOptions, train};
use convrec_examples::{Outcome, device::devices, exit};
use convrec_text::{PromptFormat, Years};
use convrec_train::{OptimizerConfig, Schedule, SftConfig, SftJob, Stop, Validation, train_sft};
use serde::Serialize;

/// Trains a chat model or a small decoder on demonstrations.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    training: TrainingOptions,
    /// Demonstrations, JSON lines.
    #[arg(long)]
    demonstrations: Option<PathBuf>,
    /// Learn the distribution over what a constrained list lets be written: every demonstration
    /// must be a list of so many different unseen items of the catalog.
    #[arg(long, conflicts_with = "unconstrained")]
    constrained: bool,
    /// A model's folder to go on from: as this program leaves it, or a chat model's as it is
    /// published. Without it a decoder of the shape below is trained from nothing.
    #[arg(long)]
    model: Option<PathBuf>,
    #[command(flatten)]
    decoder: DecoderOptions,
}

/// What a config file holds: the loop's settings at its top, and a new decoder's.
#[derive(Clone, Serialize)]
struct Sft {
    #[serde(flatten)]
    config: SftConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoder: Option<Decoder>,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let training = &options.training;
    let mut settings = training.settings(
        |given, files| {
            read(
                given,
                options.model.as_ref().or(files.model.as_ref()).is_some(),
            )
        },
        |Sft { config: c, .. }| {
            (
                &mut c.max_steps,
                &mut c.optimizer.learning_rate,
                &mut c.seed,
                &mut c.lora,
            )
        },
    )?;
    set_some(&mut settings.files.demonstrations, &options.demonstrations);
    set_some(&mut settings.files.model, &options.model);
    let Files {
        conversations,
        blocklist,
        sampler,
        ..
    } = &settings.files;
    settings.refuse(&[
        ("conversations", conversations),
        ("blocklist", blocklist),
        ("sampler", sampler),
    ])?;
    let Sft { config, decoder } = &mut settings.training;
    config.constrained |= options.constrained;
    if config.optimizer.warmup_steps == UNSET {
        config.optimizer.warmup_steps = 50.min(config.max_steps / 10);
    }
    config.check()?;
    match decoder {
        Some(decoder) => decoder.set(&options.decoder)?,
        None if options.decoder == DecoderOptions::default() => {}
        None => {
            return Err("flags for the shape of a new decoder, and a model that has its own: leave out either".into());
        }
    }
    if training.print_config {
        print!("{}", settings.to_toml()?);
        return Ok(());
    }
    let (Sft { config, decoder }, files) = (&settings.training, &settings.files);
    let catalog_file = settings.file("catalog", &files.catalog)?;
    let demonstrations_file = settings.file("demonstrations", &files.demonstrations)?;
    if decoder.is_none() {
        settings.file("model", &files.model)?;
    }
    if !training.dry_run {
        settings.folder()?;
    }

    let catalog = read_catalog(catalog_file)?;
    let mut demonstrations = read_demonstrations(demonstrations_file)?;
    let n_ranks = demonstrations
        .iter()
        .map(|demonstration| demonstration.list.len())
        .max()
        .unwrap_or(1);
    if config.constrained {
        keep_full(&mut demonstrations, n_ranks);
    }
    let devices = devices()?;
    let device = devices[0].clone().autodiff();
    let (start, mut language) = match decoder {
        None => {
            let (policy, language) =
                model_folder::load(settings.file("model", &files.model)?, &device)?;
            (Ok(policy), language)
        }
        Some(decoder) => {
            let tokenizer = decoder.tokenizer(&catalog, &demonstrations)?;
            let format = PromptFormat {
                max_dialog_tokens: decoder.dialog_tokens,
                ..PromptFormat::default()
            };
            let prompts = Prompts::Marked(format);
            (
                Err(decoder),
                Language::small(
                    tokenizer,
                    TaskFormat {
                        prompts,
                        n_ranks: 1,
                        max_new_tokens: 1,
                    },
                ),
            )
        }
    };
    if catalog.iter().any(|(_, item)| item.year.is_none()) {
        language.format.list().years = Years::Optional;
    }
    language.format.n_ranks = n_ranks;
    let task = language.task(catalog, files.unconstrained)?;
    let pairs = demonstrations
        .iter()
        .map(|d| task.pair(d))
        .collect::<Result<Vec<_>, _>>()?;
    language.format.max_new_tokens = pairs
        .iter()
        .map(|pair| pair.completion.len())
        .max()
        .unwrap_or(1)
        + 16;
    let samples = settings.validation(&task)?;

    let policy = match start {
        Ok(policy) => policy,
        // Its tokenizer is the task's.
        Err(decoder) => decoder.policy(&task, &demonstrations, config.seed, &device)?,
    };
    let mut inputs = model_folder::hashes(&[
        ("the catalog", catalog_file),
        ("the demonstrations file", demonstrations_file),
    ])?;
    // What else a checkpoint depends on: with other flags these are others.
    inputs.insert(
        "the policy's shape".into(),
        sha256(policy.config().to_hugging_face().as_bytes()),
    );
    inputs.extend(language.hashes()?);
    inputs.extend(settings.validation_hash()?);
    inputs.insert(
        "the kind of lists".into(),
        format!("{n_ranks} items, constrained: {}", task.is_constrained()),
    );
    inputs.insert(
        "item vectors".into(),
        decoder
            .as_ref()
            .is_some_and(|decoder| decoder.item_vectors)
            .to_string(),
    );
    if let Some(folder) = &files.model {
        inputs.insert(
            "the model's weights".into(),
            model_folder::weights_hash(folder)?,
        );
    }
    let facts = [
        ("parameters", policy.num_params().to_string()),
        ("demonstrations", pairs.len().to_string()),
        (
            "tokens in the vocabulary",
            language.tokenizer.vocab_size().to_string(),
        ),
    ];
    println!(
        "{}",
        facts
            .each_ref()
            .map(|(name, value)| format!("{value} {name}"))
            .join(", ")
    );
    let validation = Validation {
        task: &task,
        samples: &samples,
        decoding: language.format.greedy(),
    };
    let job = SftJob {
        task: &task,
        data: &pairs,
        validation,
        devices: &devices[1..],
    };
    let stop = Stop::default();
    let look = Look {
        name: "SFT",
        fields: &["loss", "grad_norm"],
        steps: config.max_steps,
    };
    let trained = train(training, &settings, look, &facts, &stop, |run, observer| {
        train_sft(policy, job, config, run, inputs, observer)
    })?;
    let Some(policy) = trained else { return Ok(()) };
    model_folder::save(settings.folder()?, &policy, &language)?;
    println!("the model is in {}", settings.folder()?.display());
    Ok(())
}

/// The settings of the file, by the defaults of what is trained.
fn read(mut given: Given, pretrained: bool) -> Result<Sft, Box<dyn std::error::Error>> {
    let decoder = match pretrained {
        false => Some(given.part("decoder", Decoder::default())?),
        true if given.has("decoder") => {
            return Err(
                "config, table `[decoder]`: expected none beside a model, which has its shape"
                    .into(),
            );
        }
        true => None,
    };
    Ok(Sft {
        decoder,
        config: given.rest(defaults(pretrained))?,
    })
}

/// A constrained list has all of its items.
fn keep_full(demonstrations: &mut Vec<Demonstration>, n: usize) {
    let all = demonstrations.len();
    demonstrations.retain(|demonstration| demonstration.list.len() == n);
    let short = all - demonstrations.len();
    if short > 0 {
        eprintln!("left out: {short} demonstrations of fewer than {n} items");
    }
}

/// A warm-up of a tenth of the steps, at most 50: nobody asked for another.
const UNSET: usize = usize::MAX;

/// What worked for a decoder of some millions of parameters, or what the paper has for a pretrained
/// one.
fn defaults(pretrained: bool) -> SftConfig {
    let optimizer = OptimizerConfig {
        learning_rate: 2e-3,
        adam_beta2: 0.98,
        weight_decay: 0.05,
        lr_scheduler_type: Schedule::Linear,
        warmup_steps: UNSET,
        ..OptimizerConfig::default()
    };
    let optimizer = match pretrained {
        false => optimizer,
        true => OptimizerConfig {
            learning_rate: 5e-5,
            lr_scheduler_type: Schedule::Cosine,
            warmup_steps: UNSET,
            ..OptimizerConfig::default()
        },
    };
    SftConfig {
        max_steps: 3000,
        optimizer,
        ..SftConfig::default()
    }
}
