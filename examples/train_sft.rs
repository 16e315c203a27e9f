//! Supervised fine-tuning on demonstrations: of a chat model, or of a small decoder from nothing,
//! with a tokenizer trained on the data.

use std::path::PathBuf;

use clap::Parser;
use convrec::devices;
use convrec::train::{Files, Runner, SftData, SftSettings};
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::{DecoderOptions, Outcome, TrainingOptions, exit, say};

/// Trains a chat model, or a new small decoder, on demonstrations.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    training: TrainingOptions,
    /// The demonstrations, as `build_demonstrations` writes them.
    #[arg(long)]
    demonstrations: Option<PathBuf>,
    /// Passes over the demonstrations, where --max-steps is not given. [default: 20 for a new
    /// decoder, 3 for a model; at least 20 and at most 3000 steps]
    #[arg(long, conflicts_with = "max_steps")]
    num_train_epochs: Option<f64>,
    /// Learn the distribution of the policy under the constraint. Demonstrations of fewer than N
    /// items are left out.
    #[arg(long, conflicts_with = "unconstrained")]
    constrained: bool,
    /// Learn the items of each list that are in its ground truth alone; the others are read and not
    /// learned.
    #[arg(long)]
    accepted_only: bool,
    #[command(flatten)]
    decoder: DecoderOptions,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let mut flags = options.training.flags();
    flags.set("files.demonstrations", options.demonstrations.as_ref());
    flags.set("num_train_epochs", options.num_train_epochs);
    flags.set("constrained", options.constrained.then_some(true));
    flags.set("accepted_only", options.accepted_only.then_some(true));
    options.decoder.set(&mut flags);
    let layers = options.training.layers(flags)?;
    let files = Files::resolve(&layers)?;
    let read = DataOptions::of(&files);
    let catalog = match &files.catalog {
        Some(path) if !options.training.print_config => Some(read.catalog(path, TwinRule::Keep)?),
        _ => None,
    };
    let mut demonstrations = None;
    if let Some(path) = &files.demonstrations {
        let rows = read.demonstrations(catalog.as_ref(), path)?;
        demonstrations = Some(match &catalog {
            Some(catalog) => read.in_catalog(catalog, rows, path)?,
            None => rows,
        });
    }
    let settings = SftSettings::resolve(layers, demonstrations.as_ref().map(Vec::len))?;
    if options.training.print_config {
        say(settings.printed()?.trim_end());
        return Ok(());
    }
    settings.file("catalog", &files.catalog)?;
    settings.file("demonstrations", &files.demonstrations)?;
    let catalog = catalog.ok_or("no catalog: expected --catalog FILE")?;
    let data = SftData {
        demonstrations: demonstrations.unwrap_or_default(),
        validation: read.validation(&catalog, files.validation.as_deref())?,
        catalog,
    };
    options
        .training
        .run(Runner::sft(settings, data, &devices()?)?)
}
