//! The paper's ablations of Remap-Reflect-Adjust: the gain of each step, and the effect of its
//! settings.
//!
//! Adjust learns from ground truth, so it is fitted to some dialogs and measured on others, each
//! dialog once.

mod beside;

use std::path::PathBuf;

use clap::Parser;
use convrec_catalog::CONFIDENT;
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::services::{ServiceOptions, described, finished, handed_in, open_server};
use convrec_cli::steps::{Figures, Step, steps};
use convrec_cli::{Outcome, at_least_one, exit, progress};
use convrec_core::Example;
use convrec_demonstrations::scripted::Scorers;
use convrec_demonstrations::services::OpenServices;
use convrec_demonstrations::{
    AdjustError, Pipeline, PipelineConfig, PipelineOutput, Reduction, Scored,
};

use beside::Beside;

/// Measures the steps of Remap-Reflect-Adjust, and compares their settings.
#[derive(Parser)]
struct Options {
    /// Catalog: JSON lines, CSV, or a pickled list of titles and years.
    #[arg(long)]
    catalog: PathBuf,
    /// Conversations with ground truth.
    #[arg(long)]
    conversations: PathBuf,
    /// Training conversations for scripted services. By default these are the measured ones, each
    /// without its own dialog.
    #[arg(long)]
    train: Option<PathBuf>,
    /// Settings of the pipeline, TOML; variants change one of them each.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Items in a list.
    #[arg(long)]
    n: Option<usize>,
    /// Conversations with ground truth to fit Adjust to. The teacher is asked about these, too. By
    /// default Adjust is fitted to some of the measured dialogs, and measured on the others.
    #[arg(long, conflicts_with = "folds")]
    fit: Option<PathBuf>,
    /// Parts into which dialogs are cut: Adjust is fitted to all but one and measured on that one.
    #[arg(long, default_value_t = 5, value_parser = at_least_two)]
    folds: usize,
    /// Only the steps, without variants.
    #[arg(long)]
    steps_only: bool,
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    data: DataOptions,
    #[command(flatten)]
    services: ServiceOptions,
}

fn at_least_two(text: &str) -> Result<usize, String> {
    at_least_one(text).and_then(|n| {
        if n < 2 {
            Err("expected at least 2".into())
        } else {
            Ok(n)
        }
    })
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    let mut config = convrec_config::read(options.config.as_deref(), PipelineConfig::default())?;
    config.n = options.n.unwrap_or(config.n);
    let settings = options.services.settings()?;
    let server = open_server(&settings)?;
    let server = server.as_ref();
    let read = options.data;
    let catalog = read.catalog(&options.catalog, TwinRule::Keep)?;
    let catalog = described(&settings, server, catalog)?;
    let mut examples = read.judged_examples(&catalog, &options.conversations)?;
    let train = options
        .train
        .as_deref()
        .map(|path| read.conversations(path))
        .transpose()?;
    let to_fit = options
        .fit
        .as_deref()
        .map(|path| read.judged_examples(&catalog, path))
        .transpose()?;
    let scorers = Scorers::new(&catalog, train.as_ref().unwrap_or(&examples));
    let handed_in = handed_in(&settings, server, &catalog, &convrec::device()?)?;
    let chosen = OpenServices::open(&settings, &catalog, &scorers, handed_in)?;
    chosen.keep_answered(&mut examples)?;
    chosen
        .names()
        .iter()
        .for_each(|(role, name)| println!("{role}: {name}"));

    let clone = |config: PipelineConfig| -> Result<PipelineOutput, Box<dyn std::error::Error>> {
        let pipeline = Pipeline::new(config, &catalog, chosen.services())?;
        let bars = progress::Stages::default();
        let usage = || {
            server
                .map(|server| server.usage().to_string())
                .unwrap_or_default()
        };
        let scored = pipeline.score(&examples, &|progress| bars.show(progress, usage()));
        bars.finish();
        finished(server)?;
        let Some(to_fit) = to_fit.as_ref().filter(|_| config.adjust) else {
            return Ok(out_of_fold(&pipeline, &config, &scored?, options.folds)?);
        };
        let to_fit = pipeline.score(to_fit, &|_| ());
        finished(server)?;
        let fit = pipeline.fit(&to_fit?, &|_| ())?;
        Ok(pipeline.finish(&scored?, Some(&fit.adjust)))
    };
    let output = clone(config)?;
    let figures = Figures::new(&output, &catalog, &examples, config.n);
    let table = steps(&output, &catalog, &examples, config.n);
    println!("\n{}\n", figures.table(&table).print());
    let added = table
        .windows(2)
        .map(|pair| (pair[1].name.clone(), &pair[0], &pair[1]));
    let whole = [("all steps".to_string(), &table[0], &table[3])];
    println!(
        "{}\n",
        figures.differences("adds", added.chain(whole)).print()
    );
    let fitted = match &to_fit {
        Some(to_fit) => format!("to {} others", to_fit.len()),
        None => format!("out of fold ({} folds of dialogs)", options.folds),
    };
    let answered = output.steps.iter().map(|steps| &examples[steps.example]);
    let answered: Vec<&Example> = answered.collect();
    let others = options.beside.steps(&catalog, &answered, config.n)?;
    if !others.is_empty() {
        println!("{}\n", figures.table(&others).print());
        let differences = others
            .iter()
            .map(|other| (other.name.clone(), &table[0], other));
        let differences = figures.differences("delta to the teacher", differences);
        println!("{}\n", differences.print());
    }
    println!(
        "{} conversations, {} without an answer; Adjust fitted {fitted}",
        examples.len(),
        output.failures.len()
    );
    println!("95% intervals by resampling dialogs");
    if let Some(server) = server {
        println!("{}", server.usage());
    }
    if options.steps_only {
        return Ok(());
    }
    let last = |name: &str, steps: Vec<Step>| {
        steps.into_iter().last().map(|step| Step {
            name: name.into(),
            ..step
        })
    };
    let mut variants: Vec<Step> = last("as configured", table).into_iter().collect();
    for (name, config) in configs(config) {
        match clone(config) {
            Ok(other) if figures.same_conversations(&other) => {
                variants.extend(last(&name, steps(&other, &catalog, &examples, config.n)));
            }
            Ok(other) => eprintln!(
                "{name}: left out, as {} other conversations got no answer",
                other.failures.len()
            ),
            Err(error) if error.is::<AdjustError>() => eprintln!("{name}: {error}"),
            Err(error) => return Err(error),
        }
    }
    println!("\n{}\n", figures.table(&variants).print());
    let differences = variants[1..]
        .iter()
        .map(|variant| (variant.name.clone(), &variants[0], variant));
    println!(
        "{}",
        figures
            .differences("delta to as configured", differences)
            .print()
    );
    Ok(())
}

/// Each conversation finished by an adjustment that was fitted without its dialog.
fn out_of_fold(
    pipeline: &Pipeline<'_>,
    config: &PipelineConfig,
    scored: &Scored<'_>,
    folds: usize,
) -> Result<PipelineOutput, AdjustError> {
    let mut output = pipeline.finish(scored, None);
    if !config.adjust {
        return Ok(output);
    }
    for fold in 0..folds {
        let within = |example: &Example| fold_of(example.dialog_id(), folds) == fold;
        let part = scored.select(within);
        if part.answered().len() == 0 {
            continue;
        }
        let fit = pipeline.fit(&scored.select(|example| !within(example)), &|_| ())?;
        let finished = pipeline.finish(&part, Some(&fit.adjust));
        let mut rows = output.steps.iter_mut();
        for steps in finished.steps {
            let row = rows
                .find(|row| row.example == steps.example)
                .expect("a part has the rows of the whole, in order");
            *row = steps;
        }
    }
    Ok(output)
}

/// The fold of a dialog. It depends on the dialog's name alone.
fn fold_of(dialog: &str, folds: usize) -> usize {
    let hash = convrec_core::hash::sha256(dialog.as_bytes());
    usize::from_str_radix(&hash[..8], 16).expect("hexadecimal digits") % folds
}

/// Variants with one changed setting each: without a step, and with smaller and larger weights and
/// sizes.
fn configs(full: PipelineConfig) -> Vec<(String, PipelineConfig)> {
    let mut found = vec![
        (
            "no remap".to_string(),
            PipelineConfig {
                remap: false,
                ..full
            },
        ),
        (
            "no remap, no reflect".to_string(),
            PipelineConfig {
                remap: false,
                reflect: false,
                ..full
            },
        ),
        (
            "no reflect".to_string(),
            PipelineConfig {
                reflect: false,
                ..full
            },
        ),
        (
            "no adjust".to_string(),
            PipelineConfig {
                adjust: false,
                ..full
            },
        ),
    ];
    for fuzzy in [None, Some(CONFIDENT)] {
        let name = fuzzy.map_or("only exact names".to_string(), |confidence| {
            format!("names with confidence {confidence}")
        });
        found.push((name, PipelineConfig { fuzzy, ..full }));
    }
    for lambda in [0.0, 0.5, 2.0] {
        found.push((
            format!("lambda {lambda}"),
            PipelineConfig { lambda, ..full },
        ));
    }
    for gamma in [0.25, 1.0] {
        found.push((format!("gamma {gamma}"), PipelineConfig { gamma, ..full }));
    }
    for n_reflect in [20, 50, 200] {
        found.push((
            format!("N_r {n_reflect}"),
            PipelineConfig { n_reflect, ..full },
        ));
    }
    for reg in [0.001, 0.1] {
        let mut config = full;
        config.fit.reg = reg;
        found.push((format!("reg {reg}"), config));
    }
    let mut config = full;
    config.fit.reduction = Reduction::Sum;
    found.push(("reduction sum".to_string(), config));
    found.retain(|(_, config)| *config != full);
    found
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn options_are_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn variants_differ_from_the_configuration_and_each_other() {
        let variants = configs(PipelineConfig::default());
        for (place, (name, config)) in variants.iter().enumerate() {
            assert!(
                *config != PipelineConfig::default() && config.check().is_ok(),
                "{name}"
            );
            assert!(
                variants[..place].iter().all(|(_, other)| other != config),
                "{name}"
            );
        }
    }
}
