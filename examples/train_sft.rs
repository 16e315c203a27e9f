//! Supervised fine-tuning on demonstrations: of a chat model, or of a small decoder from scratch, with a tokenizer trained
//! on the corpus.

use std::path::PathBuf;

use burn::module::Module;
use clap::Parser;
use convrec_catalog::Catalog;
use convrec_core::hash::sha256;
use convrec_core::{CatalogItem, Demonstration};
use convrec_examples::data::{read_catalog, read_demonstrations};
use convrec_examples::factors::item_factors;
use convrec_examples::model_folder::{self, Language, Prompts, TaskFormat};
use convrec_examples::settings::set_some;
use convrec_examples::training::{Look, TrainingOptions, train};
use convrec_examples::{Outcome, device::devices, exit};
use convrec_policy::{ModelConfig, Policy};
use convrec_text::{ListFormat, PromptFormat, TextTokenizer, TokenizerError, TrainConfig, Years};
use convrec_train::{OptimizerConfig, Schedule, SftConfig, SftJob, Stop, Task, Validation, train_sft};

/// Trains a chat model or a small decoder on demonstrations.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    training: TrainingOptions,
    /// Demonstrations, JSON lines.
    #[arg(long)]
    demonstrations: Option<PathBuf>,
    /// Learn the distribution over what a constrained list lets be written: every demonstration must be a list of so many
    /// different unseen items of the catalog.
    #[arg(long, conflicts_with = "free")]
    constrained: bool,
    /// A model's folder to go on from: as this program leaves it, or a chat model's as it is published. Without it a decoder
    /// of the shape below is trained from nothing.
    #[arg(long, conflicts_with_all = ["vocabulary", "title_tokens", "item_vectors", "dialog_tokens", "width", "layers", "heads"])]
    model: Option<PathBuf>,
    /// Tokens in the vocabulary.
    #[arg(long, default_value_t = 8192)]
    vocabulary: usize,
    /// Makes every line of the catalog one token more.
    #[arg(long)]
    title_tokens: bool,
    /// Begins with a recommender in the policy: the titles' embeddings are vectors that say which items are listed where which
    /// were seen, and the first block looks them up.
    #[arg(long, requires = "title_tokens")]
    item_vectors: bool,
    /// Tokens of the dialog that a prompt holds, at most: the last ones.
    #[arg(long, default_value_t = PromptFormat::default().max_dialog_tokens)]
    dialog_tokens: usize,
    /// Width of the decoder.
    #[arg(long, default_value_t = 256)]
    width: usize,
    /// Blocks of the decoder.
    #[arg(long, default_value_t = 4)]
    layers: usize,
    /// Attention heads.
    #[arg(long, default_value_t = 4)]
    heads: usize,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let training = &options.training;
    let mut settings = training.settings(defaults(options.model.is_some()), |c| {
        (&mut c.steps, &mut c.optimizer.learning_rate, &mut c.seed, &mut c.lora)
    })?;
    set_some(&mut settings.files.demonstrations, &options.demonstrations);
    set_some(&mut settings.files.model, &options.model);
    let config = &mut settings.training;
    config.constrained |= options.constrained;
    if config.optimizer.warmup_steps == UNSET {
        config.optimizer.warmup_steps = 50.min(config.steps / 10);
    }
    config.check()?;
    if training.print_config {
        print!("{}", settings.to_toml()?);
        return Ok(());
    }
    let (config, files) = (&settings.training, &settings.files);
    let catalog_file = settings.file("catalog", &files.catalog)?;
    let demonstrations_file = settings.file("demonstrations", &files.demonstrations)?;
    let model = files.model.is_some().then(|| settings.file("model", &files.model)).transpose()?;
    if !training.dry_run {
        settings.folder()?;
    }

    let catalog = read_catalog(catalog_file)?;
    let mut demonstrations = read_demonstrations(demonstrations_file)?;
    let n_ranks = demonstrations.iter().map(|demonstration| demonstration.list.len()).max().unwrap_or(1);
    if config.constrained {
        keep_full(&mut demonstrations, n_ranks);
    }
    let devices = devices()?;
    let device = devices[0].clone().autodiff();
    let (start, mut language) = match model {
        Some(folder) => {
            let (policy, language) = model_folder::load(folder, &device)?;
            (Some(policy), language)
        }
        None => {
            let tokenizer = train_tokenizer(&catalog, &demonstrations, options)?;
            let format = PromptFormat { max_dialog_tokens: options.dialog_tokens, ..PromptFormat::default() };
            let prompts = Prompts::Marked(format);
            (None, Language::small(tokenizer, TaskFormat { prompts, n_ranks: 1, max_new_tokens: 1 }))
        }
    };
    if catalog.iter().any(|(_, item)| item.year.is_none()) {
        language.format.list().years = Years::Optional;
    }
    language.format.n_ranks = n_ranks;
    let task = language.task(catalog, files.free)?;
    let pairs = demonstrations.iter().map(|d| task.pair(d)).collect::<Result<Vec<_>, _>>()?;
    language.format.max_new_tokens = pairs.iter().map(|pair| pair.completion.len()).max().unwrap_or(1) + 16;
    let samples = settings.validation(&task)?;

    let policy = match start {
        Some(policy) => policy,
        None => {
            let vocabulary = language.tokenizer.vocab_size();
            let shape = ModelConfig::small(vocabulary, options.width, options.layers, options.heads);
            let shape = ModelConfig { end_tokens: vec![task.prompter().end()], ..shape };
            let policy = Policy::new(&shape, config.seed, &device)?;
            match options.item_vectors {
                true => with_item_vectors(policy, &task, &demonstrations)?,
                false => policy,
            }
        }
    };
    let mut inputs =
        model_folder::hashes(&[("the catalog", catalog_file), ("the demonstrations file", demonstrations_file)])?;
    // What else a checkpoint depends on: with other flags these are others.
    inputs.insert("the policy's shape".into(), sha256(policy.config().to_hugging_face().as_bytes()));
    inputs.extend(language.hashes()?);
    inputs.extend(settings.validation_hash()?);
    inputs.insert("item vectors".into(), options.item_vectors.to_string());
    if let Some(folder) = model {
        inputs.insert("the model's weights".into(), model_folder::weights_hash(folder)?);
    }
    let facts = [
        ("parameters", policy.num_params().to_string()),
        ("demonstrations", pairs.len().to_string()),
        ("tokens in the vocabulary", language.tokenizer.vocab_size().to_string()),
    ];
    println!("{}", facts.each_ref().map(|(name, value)| format!("{value} {name}")).join(", "));
    let validation = Validation { task: &task, samples: &samples, decoding: language.format.greedy() };
    let job = SftJob { task: &task, data: &pairs, validation, devices: &devices[1..] };
    let stop = Stop::default();
    let look = Look { name: "SFT", fields: &["loss", "grad_norm"], steps: config.steps };
    let trained = train(training, &settings, look, &facts, &stop, |run, observer| {
        train_sft(policy, job, config, run, inputs, observer)
    })?;
    let Some(policy) = trained else { return Ok(()) };
    model_folder::save(settings.folder()?, &policy, &language)?;
    println!("the model is in {}", settings.folder()?.display());
    Ok(())
}

/// Every title's token with the vector of its item.
fn with_item_vectors(
    policy: Policy,
    task: &Task,
    demonstrations: &[Demonstration],
) -> Result<Policy, Box<dyn std::error::Error>> {
    let (catalog, tokenizer) = (task.catalog(), task.prompter().tokenizer());
    let vectors = item_factors(catalog, demonstrations, policy.config().hidden_size.saturating_sub(2));
    let token = |item: &CatalogItem| Ok(tokenizer.encode(&ListFormat::default().line(0, &item.item()))?[0]);
    let tokens = catalog.iter().map(|(_, item)| token(item)).collect::<Result<Vec<u32>, TokenizerError>>()?;
    let vectors: Vec<(u32, Vec<f32>)> = tokens.into_iter().zip(vectors).collect();
    Ok(policy.with_item_vectors(&vectors, tokenizer.special_id("<rec>")?)?)
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

/// What worked for a decoder of some millions of parameters, or what the paper has for a pretrained one.
fn defaults(pretrained: bool) -> SftConfig {
    let optimizer = OptimizerConfig {
        learning_rate: 2e-3,
        beta_2: 0.98,
        weight_decay: 0.05,
        schedule: Schedule::Linear,
        warmup_steps: UNSET,
        ..OptimizerConfig::default()
    };
    let optimizer = match pretrained {
        false => optimizer,
        true => OptimizerConfig {
            learning_rate: 5e-5,
            schedule: Schedule::Cosine,
            warmup_steps: UNSET,
            ..OptimizerConfig::default()
        },
    };
    SftConfig { steps: 3000, optimizer, ..SftConfig::default() }
}

/// On catalog lines, on items as conversations name them, and on what people wrote.
fn train_tokenizer(
    catalog: &Catalog,
    demonstrations: &[Demonstration],
    options: &Options,
) -> Result<TextTokenizer, Box<dyn std::error::Error>> {
    let examples = || demonstrations.iter().map(|demonstration| &demonstration.example);
    let mut corpus: Vec<String> = catalog.iter().map(|(_, item)| format!("{}\n", item.item())).collect();
    corpus.extend(examples().flat_map(|x| x.seen.iter().chain(&x.groundtruth)).map(|item| format!("{item}\n")));
    corpus.extend(examples().filter_map(|x| x.dialog.last()).map(|turn| turn.content.clone()));
    let line = |item: &CatalogItem| ListFormat::default().line(0, &item.item());
    let lines = catalog.iter().filter(|_| options.title_tokens).map(|(_, item)| line(item)).collect();
    let config = TrainConfig { vocab_size: options.vocabulary, lines, ..TrainConfig::default() };
    Ok(TextTokenizer::train(corpus.iter(), &config)?)
}
