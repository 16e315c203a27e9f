//! A target on real data: "at most 1% of the listed items are unsafe", on a sample of Reddit-v2.
//!
//! The rows name ground-truth items that are unsafe for their user, with scores. All of them make
//! up one block list, so relevance and the target want different items. A small policy imitates the
//! released demonstrations. It is then trained on relevance, with fixed prices of unsafe items and
//! with targets for their share. Everything is measured on lists that are sampled for the rows that
//! are trained on. This shows the mechanism, and says nothing about other conversations.

use std::collections::HashSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use convrec::device;
use convrec_catalog::Catalog;
use convrec_cli::data::{DataOptions, TwinRule};
use convrec_cli::{Outcome, at_least_one, check_folder, progress};
use convrec_core::jsonl::{self, Check};
use convrec_core::{Demonstration, Example, Item, ItemId};
use convrec_policy::{ModelConfig, Policy};
use convrec_train::{
    BlockedReward, RankGrpoTrainer, RewardTarget, RlConfig, Sample, StepView, Task, data,
};
use convrec_watch::log;
use convrec_watch::report::Report;
use quickstart::{N, rank_grpo, sft, supervise, task};
use serde::Deserialize;

use crate::frontier::{Frontier, Point};
use crate::lab::kept_in;
use crate::results::{ends, number};

/// The name of the reward function that is kept within bounds.
const BLOCKED: &str = "blocked";
/// The largest number of tokens in a prompt; conversations that are longer are left out.
const LONGEST_PROMPT: usize = 1536;

/// What is read, and how long policies train.
#[derive(Args)]
pub struct Options {
    /// JSON lines in the authors' schema, whose `unsafe_groundtruth` has items with scores.
    #[arg(long)]
    rows: PathBuf,
    /// The catalog.
    #[arg(long)]
    catalog: PathBuf,
    /// The smallest score (`trait_info.final`, 0 to 1) of an item that is unsafe.
    #[arg(long, default_value_t = 0.5)]
    unsafe_from: f64,
    /// Updates of supervised fine-tuning.
    #[arg(long, value_parser = at_least_one, default_value_t = 100)]
    sft_steps: usize,
    /// Batches of rollouts of each reinforcement learning run.
    #[arg(long, value_parser = at_least_one, default_value_t = 40)]
    rl_steps: usize,
    /// The seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder of policies, logs, report and plot.
    #[arg(long, default_value = "runs/experiments")]
    out: PathBuf,
}

/// Trains the policies, prints the table and writes the plot.
///
/// # Errors
/// When a file cannot be read or written, or training fails.
pub fn run(options: &Options) -> Outcome {
    let clock = Instant::now();
    let folder = options.out.join("reddit");
    check_folder(&folder)?;
    let ground = Ground::read(options)?;
    println!("{}", ground.about);
    let start = ground.imitate(options, &folder.join("sft"))?;
    let mut points = Vec::new();
    for (name, config) in runs(options) {
        println!("{name}");
        let words = name.replace('%', "").replace([' ', '.'], "-");
        points.push(ground.reinforce(&name, start.clone(), config, &folder.join(words))?);
    }
    let frontier = Frontier {
        violation: "unsafe items".into(),
        relevance: format!("DCG@{N}"),
        points,
    };
    let Options {
        sft_steps,
        rl_steps,
        seed,
        ..
    } = options;
    let about = format!(
        "{}; seed {seed}, {sft_steps} steps of SFT, {rl_steps} batches of each RL run; this run \
         took {:.0} s",
        ground.about,
        clock.elapsed().as_secs_f64(),
    );
    println!("\n{}\n\n{about}", frontier.table().print());
    let mut report = Report::new("ConvRec-R1: a target on a sample of Reddit-v2", &about);
    report.table(&frontier.table());
    report.note("Means over the first and the last batches of sampled lists (a>b).");
    frontier.draw(&mut report)?;
    report.write(&folder.join("report.html"))?;
    report.write_plots(&folder.join("plots"))?;
    println!("{}: report.html, plots", folder.display());
    Ok(())
}

/// The compared runs: no target, fixed prices, targets.
fn runs(options: &Options) -> Vec<(String, RlConfig)> {
    let priced = |weight| {
        let mut config = RlConfig {
            prompts_per_step: 8,
            ..rank_grpo(options.rl_steps, options.seed)
        };
        config.optimizer.learning_rate = 5e-4;
        config.reward_weights.insert(BLOCKED.into(), weight);
        config
    };
    let bounded = |share| {
        let mut config = priced(0.0);
        let target = RewardTarget::at_most(share);
        config.reward_targets.insert(BLOCKED.into(), target);
        config
    };
    vec![
        ("no target".into(), priced(0.0)),
        ("cost 0.05".into(), priced(-0.05)),
        ("cost 0.2".into(), priced(-0.2)),
        ("at most 5%".into(), bounded(0.05)),
        ("at most 1%".into(), bounded(0.01)),
    ]
}

/// The rows, for a policy.
struct Ground {
    task: Task,
    demonstrations: Vec<Demonstration>,
    samples: Vec<Sample>,
    blocked: HashSet<ItemId>,
    /// What was read, in words.
    about: String,
}

impl Ground {
    fn read(options: &Options) -> Result<Self, Box<dyn Error>> {
        let reading = DataOptions::default();
        let catalog = reading.catalog(&options.catalog, TwinRule::Keep)?;
        let demonstrations = reading.demonstrations(Some(&catalog), &options.rows)?;
        let demonstrations = reading.in_catalog(&catalog, demonstrations, &options.rows)?;
        let blocked = blocked(&catalog, options)?;
        let listed = demonstrations.iter().flat_map(|d| d.list.iter().take(N));
        let listed: Vec<bool> = listed
            .map(|item| catalog.find(item).is_some_and(|id| blocked.contains(&id)))
            .collect();
        let share = listed.iter().filter(|is_blocked| **is_blocked).count() as f64;
        let examples: Vec<Example> = demonstrations.iter().map(|d| d.example.clone()).collect();
        let task = task(catalog, &examples)?
            .constrained()?
            .with_longest_prompt(LONGEST_PROMPT);
        let (samples, report) = data::samples(&task, &examples)?;
        let about = format!(
            "rows: {report}; {} unsafe items, {:.1}% of those in the demonstrations' first {N}",
            blocked.len(),
            100.0 * share / listed.len().max(1) as f64,
        );
        Ok(Self {
            task,
            demonstrations,
            samples,
            blocked,
            about,
        })
    }

    /// A small policy that has learned the demonstrations.
    fn imitate(&self, options: &Options, folder: &Path) -> Result<Policy, Box<dyn Error>> {
        let shape = ModelConfig::small(self.task.prompter().tokenizer().vocab_size(), 128, 2, 4);
        let untrained = Policy::new(&shape, options.seed, &device()?.autodiff())?;
        let (pairs, _) = data::pairs(&self.task, &self.demonstrations, true)?;
        let config = sft(options.sft_steps, options.seed);
        let run = kept_in(folder, options.sft_steps);
        Ok(supervise(untrained, &self.task, &pairs, &config, &run)?.0)
    }

    /// Trains `start`, and says where it came to.
    fn reinforce(
        &self,
        name: &str,
        start: Policy,
        config: RlConfig,
        folder: &Path,
    ) -> Result<Point, Box<dyn Error>> {
        let bar = progress::bar(name, config.max_steps);
        let mut observe = |view: &StepView<'_>| progress::step(&bar, view, &["dcg", "kl"]);
        RankGrpoTrainer::new(start, &self.task, &self.samples)
            .config(config)
            .reward_function(BlockedReward(self.blocked.clone()))
            .run(kept_in(folder, 10))
            .observer(&mut observe)
            .train()?;
        bar.finish();
        let steps = log::read(folder)?;
        let ends_of = |field: &str| ends(&steps, &|record| number(record, field));
        let logged = |field: &str| {
            let missing = format!("{}: no step has `{field}`", folder.display());
            ends_of(field).ok_or(missing)
        };
        // Rewards of ranks are summed over the list.
        let share = logged(&format!("rewards/{BLOCKED}/mean"))?;
        Ok(Point {
            name: name.into(),
            share: share.map(|sum| sum / N as f64),
            relevance: logged("dcg")?,
            multiplier: ends_of(&format!("targets/{BLOCKED}/multiplier")),
        })
    }
}

/// A row's items that are unsafe for its user.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    unsafe_groundtruth: Vec<Unsafe>,
}

#[derive(Deserialize)]
struct Unsafe {
    title: String,
    year: String,
    trait_info: Scores,
}

#[derive(Deserialize)]
struct Scores {
    #[serde(rename = "final")]
    score: f64,
}

impl Check for Row {
    fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}

/// The items that are unsafe for some user.
fn blocked(catalog: &Catalog, options: &Options) -> Result<HashSet<ItemId>, Box<dyn Error>> {
    let rows: Vec<Row> = jsonl::read_file(&options.rows)?;
    let items = rows.iter().flat_map(|row| &row.unsafe_groundtruth);
    let chosen = items.filter(|item| item.trait_info.score >= options.unsafe_from);
    let found = chosen.map(|Unsafe { title, year, .. }| {
        let item = Item::from_line(&format!("{title} ({year})"));
        let missing = || {
            let rows = options.rows.display();
            format!("{rows}: the unsafe item `{item}` is not in the catalog; add it, or remove it")
        };
        catalog.find(&item).ok_or_else(missing)
    });
    let found = found.collect::<Result<HashSet<ItemId>, String>>()?;
    if found.is_empty() {
        let rows = options.rows.display();
        let from = options.unsafe_from;
        return Err(format!(
            "{rows}: no item of `unsafe_groundtruth` has a score of {from} or more; expected some: \
             lower --unsafe-from, or give rows with scores"
        )
        .into());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOG: &str = r#"{"title": "Heat", "year": 1995}
{"title": "Saw", "year": 2004}
"#;

    fn options(folder: &Path, score: f64, title: &str) -> Options {
        let [rows, catalog] = ["rows.jsonl", "catalog.jsonl"].map(|name| folder.join(name));
        std::fs::write(&catalog, CATALOG).unwrap();
        let row = serde_json::json!({ "unsafe_groundtruth": [
            { "title": title, "year": "2004", "trait_info": { "final": score } }] });
        std::fs::write(&rows, format!("{row}\n{{\"id\": \"safe\"}}\n")).unwrap();
        Options {
            rows,
            catalog,
            unsafe_from: 0.5,
            sft_steps: 1,
            rl_steps: 1,
            seed: 1,
            out: folder.into(),
        }
    }

    #[test]
    fn unsafe_items_are_those_with_a_high_score() {
        let folder = tempfile::tempdir().unwrap();
        let found = |score, title| {
            let options = options(folder.path(), score, title);
            let reading = DataOptions::default();
            let catalog = reading.catalog(&options.catalog, TwinRule::Keep).unwrap();
            blocked(&catalog, &options).map_err(|e| e.to_string())
        };
        assert_eq!(found(0.5, "Saw"), Ok(HashSet::from([ItemId(1)])));
        assert!(found(0.4, "Saw").unwrap_err().contains("--unsafe-from"));
        assert!(
            found(1.0, "Jaws")
                .unwrap_err()
                .contains("`Jaws (2004)` is not in")
        );
    }

    #[test]
    fn runs_differ_and_their_settings_make_sense() {
        let folder = tempfile::tempdir().unwrap();
        let runs = runs(&options(folder.path(), 1.0, "Saw"));
        for (place, (name, config)) in runs.iter().enumerate() {
            assert!(config.check().is_ok(), "{name}");
            assert!(
                runs[..place].iter().all(|(_, other)| other != config),
                "{name}"
            );
        }
    }
}
