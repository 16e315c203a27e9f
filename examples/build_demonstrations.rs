//! Makes demonstrations by Remap-Reflect-Adjust: conversations and a teacher's answers in, lists from the catalog out.
//!
//! The teacher is replayed from a file of answers (`--answers`), or scripted from the training conversations
//! (co-occurrence and BM25), errors included.

use std::path::PathBuf;

use clap::Parser;
use convrec_catalog::Catalog;
use convrec_cloning::scripted::{Bm25Scorer, Cooccurrence, Mistakes, Mixed, ScriptedJudge, ScriptedTeacher};
use convrec_cloning::{LexicalEmbedder, Pipeline, PipelineConfig, ReplayTeacher, Services, Teacher};
use convrec_core::{Example, ItemId, Turn, jsonl};
use convrec_examples::{Outcome, settings, show};
use convrec_metrics::{JudgedList, Measure};
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
    #[arg(long, default_value_t = 0)]
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

fn main() -> Outcome {
    let options = Options::parse();
    let catalog = Catalog::read(&options.catalog)?;
    let mut examples: Vec<Example> = jsonl::read_file(&options.conversations)?;
    let mut config: PipelineConfig = settings::read(options.config.as_deref())?;
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
    let replay = options.answers.map(ReplayTeacher::read).transpose()?;
    if let Some(replay) = &replay {
        let all = examples.len();
        examples.retain(|example| replay.answer(&example.id).is_some());
        println!("{} of {all} conversations have an answer", examples.len());
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

    let mut rows = Vec::new();
    let mut add = |name: &str, list: &dyn Fn(usize) -> Vec<ItemId>| {
        let judged: Vec<JudgedList> =
            examples.iter().enumerate().map(|(i, x)| judge_list(&catalog, x, list(i), n)).collect();
        let mean = |m: Measure| judged.iter().map(|l| m.of(l)).sum::<f64>() / judged.len() as f64;
        let measures = [Measure::Recall(5), Measure::Recall(n), Measure::Ndcg(5), Measure::Ndcg(n)];
        rows.push([vec![name.to_string()], measures.map(|m| format!("{:.4}", mean(m))).to_vec()].concat());
    };
    add("teacher", &|i| cloned.steps[i].teacher.iter().filter_map(|item| item.id).collect());
    add("+ remap", &|i| cloned.steps[i].remap.clone());
    add("+ reflect", &|i| cloned.steps[i].reflect.clone());
    add("+ adjust", &|i| cloned.steps[i].adjust.clone());
    let named = cloned.steps.iter().flat_map(|steps| &steps.teacher);
    let (inside, all) =
        named.fold((0usize, 0usize), |(inside, all), item| (inside + usize::from(item.id.is_some()), all + 1));
    println!("{}", show::table(&["step", "Recall@5", &format!("Recall@{n}"), "NDCG@5", &format!("NDCG@{n}")], &rows));
    println!("the teacher named {all} items, {:.1}% of them in the catalog", 100.0 * inside as f64 / all.max(1) as f64);
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

fn judge_list(catalog: &Catalog, example: &Example, list: Vec<ItemId>, n: usize) -> JudgedList {
    let ids = |items: &[convrec_core::Item]| items.iter().filter_map(|item| catalog.find(item)).collect::<Vec<_>>();
    let seen = ids(&example.seen);
    let list: Vec<ItemId> = list.into_iter().filter(|id| !seen.contains(id)).take(n).collect();
    JudgedList::from_ids(&list, &ids(&example.groundtruth).into_iter().collect())
}
