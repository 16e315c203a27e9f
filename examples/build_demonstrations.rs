//! Makes demonstrations by Remap-Reflect-Adjust: conversations and a teacher's answers in, lists from the catalog out.
//!
//! The teacher is replayed from a file of answers (`--answers`), or scripted from the training conversations
//! (co-occurrence and BM25), errors included.

use std::path::PathBuf;

use clap::Parser;
use convrec_catalog::Catalog;
use convrec_cloning::scripted::{Bm25Scorer, Cooccurrence, Mistakes, Mixed, ScriptedJudge, ScriptedTeacher};
use convrec_cloning::{LexicalEmbedder, Pipeline, PipelineConfig, ReplayTeacher, Services, Teacher};
use convrec_core::{Example, Turn, jsonl};
use convrec_examples::judging::{mean, steps};
use convrec_examples::training::read_examples;
use convrec_examples::{Outcome, check_output, exit, settings, show};
use convrec_metrics::Measure;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Makes demonstrations by Remap-Reflect-Adjust.
#[derive(Parser)]
struct Options {
    /// Catalog, JSON lines.
    #[arg(long)]
    catalog: PathBuf,
    /// Training conversations, JSON lines.
    #[arg(long)]
    conversations: PathBuf,
    /// Where the demonstrations go.
    #[arg(long)]
    out: PathBuf,
    /// A teacher's answers, JSON lines with `id` and `raw`; conversations without an answer are left out.
    #[arg(long)]
    answers: Option<PathBuf>,
    /// Settings of the pipeline, TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Items in a list.
    #[arg(long)]
    n: Option<usize>,
    /// Adds so many conversations without words, of one to four items of a training dialog, so that the policy sees
    /// more of the catalog.
    #[arg(long, default_value_t = 0, conflicts_with = "answers")]
    item_conversations: usize,
    /// Leaves Reflect out.
    #[arg(long)]
    no_reflect: bool,
    /// Leaves Adjust out.
    #[arg(long)]
    no_adjust: bool,
    /// Of the scripted teacher and judge, and of the conversations without words.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> std::process::ExitCode {
    exit(run(&Options::parse()))
}

fn run(options: &Options) -> Outcome {
    check_output(&options.out)?;
    let catalog = Catalog::read(&options.catalog)?;
    let mut examples = read_examples(&catalog, &options.conversations)?;
    let mut config = settings::read(options.config.as_deref(), PipelineConfig::default())?;
    settings::set(&mut config.n, options.n);
    config.reflect &= !options.no_reflect;
    config.adjust &= !options.no_adjust;
    let n = config.n;

    let cooccurrence = Cooccurrence::new(&catalog, &examples);
    let bm25 = Bm25Scorer::new(&catalog);
    let mixed = || Mixed { parts: vec![(1.0, &cooccurrence), (0.1, &bm25)] };
    let scripted =
        ScriptedTeacher { catalog: &catalog, scorer: mixed(), mistakes: Mistakes::default(), seed: options.seed };
    let judge = ScriptedJudge { catalog: &catalog, scorer: mixed(), noise: 0.1, seed: options.seed };
    let replay = options.answers.as_ref().map(ReplayTeacher::read).transpose()?;
    if let (Some(replay), Some(answers)) = (&replay, &options.answers) {
        let all = examples.len();
        examples.retain(|example| replay.answer(&example.id).is_some());
        println!("{} of {all} conversations have an answer", examples.len());
        if examples.is_empty() {
            let [answers, conversations] = [answers, &options.conversations].map(|path| path.display());
            return Err(
                format!("no `id` of {answers} is in {conversations}; expected answers to these conversations").into()
            );
        }
    }
    examples.extend(item_conversations(&examples, options.item_conversations, options.seed));
    let teacher: &dyn Teacher = replay.as_ref().map_or(&scripted, |replay| replay);

    let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
    let embedder = LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH);
    let services = Services { teacher, embedder: &embedder, judge: Some(&judge), describer: &() };
    let pipeline = Pipeline::new(config, &catalog, services)?;
    let bars = show::Stages::default();
    let cloned = pipeline.run(&examples, &|progress| bars.show(progress))?;
    bars.finish();
    jsonl::write_file(&options.out, &cloned.demonstrations)?;

    let measures = [Measure::Recall(5), Measure::Recall(n), Measure::Ndcg(5), Measure::Ndcg(n)];
    let heading = ["step", "in catalog"].map(String::from).into_iter().chain(measures.map(|m| m.to_string()));
    let mut table = show::Table::new(heading);
    for step in steps(&cloned, &catalog, &examples, n) {
        let figures = measures.map(|measure| mean(measure, &step.judged));
        table.row(step.name, std::iter::once(step.in_catalog).chain(figures).map(|x| format!("{x:.4}")));
    }
    println!("{}", table.print());
    println!("{} demonstrations in {}", cloned.demonstrations.len(), options.out.display());
    Ok(())
}

/// Conversations without words: some items of a dialog are seen, the others are right.
fn item_conversations(examples: &[Example], count: usize, seed: u64) -> Vec<Example> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let items = |example: &Example| {
        let mut items = example.seen.clone();
        items.extend(example.groundtruth.iter().filter(|item| !example.seen.contains(item)).cloned());
        items
    };
    let rich: Vec<&Example> = examples.iter().filter(|example| items(example).len() > 1).collect();
    let draw = |index: usize| {
        let example = *rich.choose(&mut rng)?;
        let mut items = items(example);
        items.shuffle(&mut rng);
        let groundtruth = items.split_off(rng.random_range(1..=(items.len() - 1).min(4)));
        let id = format!("{}-items{index}", example.dialog_id());
        Some(Example { id, dialog: vec![Turn::user("")], seen: items, groundtruth })
    };
    (0..count).map_while(draw).collect()
}
