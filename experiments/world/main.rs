//! The paper's experiments on the embedded world, each one command: its algorithms (`algorithms`),
//! all members of the loss family (`family`), this project's choices against the paper's
//! (`ablations`), targets for a reward (`targets`), rollouts that are a step late (`rollouts`), the
//! steps of Remap-Reflect-Adjust (`demonstrations`). `reddit` keeps a target on a sample of real
//! data.
//!
//! `cargo run --release --bin experiments -- algorithms` trains and evaluates every variant with
//! several seeds, prints tables and a checklist of the paper's claims, and writes `results.json`
//! and `report.html`. Each variant has a folder of its own below `--out`, with settings, log,
//! policy and evaluation. A run that is cut goes on where it was, and experiments share variants.

mod checklist;
mod evidence;
mod frontier;
mod lab;
mod outcome;
mod page;
mod reddit;
mod results;
mod summary;
mod tables;
mod variants;
mod verdict;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use convrec_cli::at_least_one;
use convrec_cli::{Outcome, check_folder, exit};
use convrec_core::files::write_atomic;
use convrec_metrics::stats;
use convrec_world::World;

use checklist::Claim;
use lab::{Lab, Sizes};
use results::{Lists, Results, Runs};
use summary::{Settings, Summary};
use variants::Experiment;

/// The paper's experiments on an embedded world of films.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    which: Which,
}

#[derive(Subcommand)]
enum Which {
    /// SFT, GRPO, GSPO, Dr.GRPO, DAPO, Rank-GRPO with three rewards, and Rank-GRPO without SFT;
    /// with mu 1 and 2 (5 seeds, 1800 steps of SFT, 20 batches of rollouts).
    Algorithms(Common),
    /// All members of the loss family, with two updates of each batch (5 seeds, 1800 steps of SFT,
    /// 20 batches of rollouts).
    Family(Common),
    /// At most some share of a genre, by a target and by fixed prices (1 seed, 1800 steps of SFT, 60
    /// batches of rollouts).
    Targets(Common),
    /// Means, ratios, constraint and pairing: ours against the paper's or its code's (3 seeds, 1800
    /// steps of SFT, 20 batches of rollouts).
    Ablations(Common),
    /// Rollouts in order, and sampled while the updates of the step before run (3 seeds, 1800 steps
    /// of SFT, 20 batches of rollouts).
    Rollouts(Common),
    /// At most some share of unsafe items on a sample of Reddit-v2, by a target and by fixed prices
    /// (1 seed, 100 steps of SFT, 40 batches of rollouts).
    Reddit(reddit::Options),
    /// Demonstrations without some steps, through SFT to Rank-GRPO (3 seeds, 700 steps of SFT, 12
    /// batches of rollouts).
    Demonstrations(Common),
}

#[derive(Args)]
struct Common {
    /// The number of seeds. Each has other data and other random numbers.
    #[arg(long, value_parser = at_least_one)]
    seeds: Option<usize>,
    /// The first seed; others follow it.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Updates of supervised fine-tuning.
    #[arg(long, value_parser = at_least_one)]
    sft_steps: Option<usize>,
    /// Batches of rollouts of each reinforcement learning run.
    #[arg(long, value_parser = at_least_one)]
    rl_steps: Option<usize>,
    /// Training conversations.
    #[arg(long, value_parser = at_least_one, default_value_t = 4000)]
    conversations: usize,
    /// Conversations to test on, of each seed.
    #[arg(long, value_parser = at_least_one, default_value_t = 400)]
    test: usize,
    /// The folder of variants, results and report.
    #[arg(long, default_value = "runs/experiments")]
    out: PathBuf,
    /// Only the variants whose names begin with one of these.
    #[arg(long, value_delimiter = ',', value_name = "VARIANT,...")]
    only: Vec<String>,
    /// The variant that others are tested against.
    #[arg(long, value_name = "VARIANT")]
    against: Option<String>,
    /// Trains nothing, and reports on the seeds of which all variants are finished.
    #[arg(long)]
    finished: bool,
}

/// One of the experiments.
struct Kind {
    /// Its variants for so many batches of rollouts.
    variants: fn(usize) -> Experiment,
    /// The paper's claims, tested on its results.
    claims: fn(&Results) -> Result<Vec<Claim>, stats::Error>,
    /// The default numbers of seeds, steps of SFT and batches of rollouts. Two cores then take less
    /// than an hour for the first experiment, and a quarter of an hour for each of the others.
    usual: [usize; 3],
}

impl Which {
    /// Runs it.
    fn run(self) -> Outcome {
        let (common, kind) = match self {
            Which::Reddit(options) => return reddit::run(&options),
            Which::Algorithms(common) => (
                common,
                Kind {
                    variants: variants::algorithms,
                    claims: checklist::algorithms,
                    usual: [5, 1800, 20],
                },
            ),
            Which::Family(common) => (
                common,
                Kind {
                    variants: variants::family,
                    claims: checklist::family,
                    usual: [5, 1800, 20],
                },
            ),
            Which::Targets(common) => (
                common,
                Kind {
                    variants: variants::targets,
                    claims: |_| Ok(vec![]),
                    usual: [1, 1800, 60],
                },
            ),
            Which::Ablations(common) => (
                common,
                Kind {
                    variants: variants::ablations,
                    claims: |_| Ok(vec![]),
                    usual: [3, 1800, 20],
                },
            ),
            Which::Rollouts(common) => (
                common,
                Kind {
                    variants: variants::rollouts,
                    claims: |_| Ok(vec![]),
                    usual: [3, 1800, 20],
                },
            ),
            Which::Demonstrations(common) => (
                common,
                Kind {
                    variants: variants::demonstration_steps,
                    claims: checklist::demonstrations,
                    usual: [3, 700, 12],
                },
            ),
        };
        run(common, kind)
    }
}

fn main() -> std::process::ExitCode {
    convrec_cli::keep_freed_memory();
    exit(Options::parse().which.run())
}

fn run(common: Common, kind: Kind) -> Outcome {
    let Kind {
        variants,
        claims,
        usual: [seeds, sft_steps, rl_steps],
    } = kind;
    let clock = Instant::now();
    let Common {
        conversations,
        test,
        ..
    } = common;
    let rl_steps = common.rl_steps.unwrap_or(rl_steps);
    let sizes = Sizes {
        conversations,
        test,
        sft_steps: common.sft_steps.unwrap_or(sft_steps),
    };
    let experiment = variants(rl_steps).only(&common.only)?;
    let against = against(&experiment, common.against.as_deref())?;
    check_folder(&common.out)?;
    let seeds = common.first_seed
        ..common
            .first_seed
            .saturating_add(common.seeds.unwrap_or(seeds) as u64);
    let results = gather(&common, &experiment, sizes, seeds)?;

    let name = experiment.name.to_string();
    let settings = Settings {
        experiment: name,
        seeds: results.seeds.clone(),
        sizes,
        rl_steps,
        against,
    };
    let summary = Summary::new(settings, &results, claims(&results)?)?;
    print(&summary);
    let about = format!(
        "seeds {:?}, {conversations} conversations, {} steps of SFT, {rl_steps} batches of each RL \
         run, {test} to test on; {:.0} s of training, this run took {:.0} s",
        results.seeds,
        sizes.sft_steps,
        summary.trained_seconds,
        clock.elapsed().as_secs_f64(),
    );
    let folder = common.out.join(experiment.name);
    let text = serde_json::to_string_pretty(&summary)?;
    write_atomic(folder.join("results.json"), |out| writeln!(out, "{text}"))?;
    let page = page::page(experiment.title, &about, &summary, &results)?;
    page.write(&folder.join("report.html"))?;
    page.write_plots(&folder.join("plots"))?;
    println!(
        "\n{about}\n{}: results.json, report.html, plots",
        folder.display()
    );
    Ok(())
}

/// Runs the variants seed by seed, so that the first seeds are whole early.
fn gather(
    common: &Common,
    experiment: &Experiment,
    sizes: Sizes,
    seeds: std::ops::Range<u64>,
) -> Result<Results, Box<dyn Error>> {
    let world = World::embedded();
    let mut variants: Vec<Runs> = experiment
        .variants
        .iter()
        .map(|variant| Runs {
            name: variant.name.clone(),
            done: vec![],
        })
        .collect();
    let (mut whole, mut best) = (Vec::new(), Vec::new());
    for seed in seeds {
        let lab = Lab::new(world, sizes, seed, &common.out);
        let outcomes = experiment.variants.iter().map(|variant| {
            if common.finished {
                return lab.finished(variant);
            }
            println!("seed {seed}: {}", variant.name);
            lab.run(variant).map(Some)
        });
        let Some(outcomes) = outcomes.collect::<Result<Option<Vec<_>>, _>>()? else {
            continue;
        };
        variants
            .iter_mut()
            .zip(outcomes)
            .for_each(|(variant, done)| variant.done.push(done));
        best.push(lab.ground()?.best(world));
        whole.push(seed);
    }
    if whole.is_empty() {
        let folder = common.out.display();
        return Err(format!(
            "--finished: no seed is finished in {folder} with these settings; run without it"
        )
        .into());
    }
    Ok(Results {
        seeds: whole,
        variants,
        best,
    })
}

/// The variant that others are tested against.
fn against(experiment: &Experiment, asked: Option<&str>) -> Result<String, String> {
    let names: Vec<&str> = experiment
        .variants
        .iter()
        .map(|variant| variant.name.as_str())
        .collect();
    match asked {
        Some(name) if !names.contains(&name) => Err(format!(
            "--against {name}: no such variant; expected one of: {}",
            names.join(", ")
        )),
        asked => Ok(asked.unwrap_or(experiment.against).into()),
    }
}

fn print(summary: &Summary) {
    let demonstrations = Some(tables::demonstrations(summary));
    let quality = [Lists::Constrained, Lists::Unconstrained]
        .map(|lists| Some(tables::quality(summary, lists)));
    let training = [tables::training(summary), tables::per_rank(summary)].map(Some);
    let rest = [
        summary.frontier().map(|frontier| frontier.table()),
        tables::paired(summary),
        tables::checklist(&summary.claims),
    ];
    for table in std::iter::once(demonstrations)
        .chain(quality)
        .chain(training)
        .chain(rest)
        .flatten()
    {
        println!("\n{}", table.print());
    }
    println!("\n{}", tables::legend());
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
    fn the_arm_to_test_against_must_be_there() {
        let error = against(&variants::algorithms(1), Some("PPO")).unwrap_err();
        assert!(
            error.contains("--against PPO") && error.contains("GRPO mu=2"),
            "{error}"
        );
        assert_eq!(
            against(&variants::ablations(1), None).unwrap(),
            variants::OURS
        );
    }
}
