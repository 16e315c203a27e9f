//! Reranks the hundred best documents of BM25, by Rank-GRPO: documents are the texts of a catalog,
//! queries are conversations, and a rank earns 1 where its document is relevant.
//!
//! ```text
//! cargo run --release --example rerank_documents -- --catalog books.jsonl --train train.jsonl \
//!   --test test.jsonl
//! ```

mod ranking;

use std::collections::HashSet;
use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use convrec::catalog::{Bm25, ENGLISH_STOP_WORDS, top_k};
use convrec::prelude::*;
use convrec_cli::{Comparison, recall_and_ndcg};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ranking::{Policy, Ranking};

const CANDIDATES: usize = 100;
const N: usize = 10;

/// Learns to rerank, and compares with BM25.
#[derive(Parser)]
struct Options {
    /// The documents: a catalog, whose items have texts.
    #[arg(long)]
    catalog: PathBuf,
    /// Conversations with ground truth, to learn from.
    #[arg(long)]
    train: PathBuf,
    /// Conversations with ground truth, to measure on.
    #[arg(long)]
    test: PathBuf,
}

/// The candidates of each query, with their features.
struct Candidates {
    ids: Vec<Vec<ItemId>>,
    features: Vec<Vec<[f64; FEATURES]>>,
    relevant: Vec<HashSet<ItemId>>,
    dialogs: Vec<String>,
}

/// The features of a document:
/// - its BM25 score for all turns and for the last one
/// - the share of the title's words that are said
/// - the words that document and seen documents share
/// - how often it was relevant before
const FEATURES: usize = 5;

fn words(text: &str) -> HashSet<String> {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn share(of: &HashSet<String>, other: &HashSet<String>) -> f64 {
    of.intersection(other).count() as f64 / of.len().max(1) as f64
}

impl Candidates {
    fn new(
        catalog: &Catalog,
        train: &[Example],
        queries: &[Example],
    ) -> Result<Self, Box<dyn Error>> {
        let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
        let bm25 = Bm25::new(&texts, ENGLISH_STOP_WORDS);
        let texts: Vec<HashSet<String>> = texts.iter().map(|text| words(text)).collect();
        let mut found = Self {
            ids: vec![],
            features: vec![],
            relevant: vec![],
            dialogs: vec![],
        };
        for query in queries {
            let said: Vec<&str> = query
                .dialog
                .iter()
                .map(|turn| turn.content.as_str())
                .collect();
            let (all, last) = (
                bm25.scores(&said.join(" ")),
                bm25.scores(said[said.len() - 1]),
            );
            let items = catalog.example_ids(query)?;
            // A dialog must not know its own answer.
            let others = train
                .iter()
                .filter(|other| other.dialog_id() != query.dialog_id());
            let truths: Vec<ItemId> = others
                .flat_map(|other| catalog.seen_ids(&other.ground_truth))
                .collect();
            let said = words(&said.join(" "));
            let seen: HashSet<String> = items
                .seen
                .iter()
                .flat_map(|id| texts[id.0 as usize].iter().cloned())
                .collect();
            let best = top_k(&all, CANDIDATES + items.seen.len());
            let best = best
                .into_iter()
                .filter(|(id, _)| !items.seen.contains(id))
                .take(CANDIDATES);
            let (ids, features) = best
                .map(|(id, score)| {
                    let place = id.0 as usize;
                    let before = truths.iter().filter(|truth| **truth == id).count() as f64;
                    let title = words(&catalog[id].title);
                    let features = [
                        f64::from(score) / 5.0,
                        f64::from(last[place]) / 5.0,
                        share(&title, &said),
                        share(&texts[place], &seen),
                        (1.0 + before).ln(),
                    ];
                    (id, features)
                })
                .unzip();
            found.ids.push(ids);
            found.features.push(features);
            found
                .relevant
                .push(items.ground_truth.into_iter().collect());
            found.dialogs.push(query.dialog_id().to_string());
        }
        Ok(found)
    }

    fn judged(&self, policy: &Policy) -> Vec<JudgedList> {
        let judged = |query: usize| {
            let list = policy.list(self, query, N.min(self.ids[query].len()), None);
            let list: Vec<ItemId> = list.iter().map(|item| self.ids[query][*item]).collect();
            JudgedList::from_ids(&list, &self.relevant[query])
        };
        (0..self.ids.len()).map(judged).collect()
    }
}

impl Ranking for Candidates {
    fn n_items(&self, query: usize) -> usize {
        self.ids[query].len()
    }

    fn features(&self, query: usize, _: &[usize], item: usize) -> Vec<(usize, f64)> {
        self.features[query][item].into_iter().enumerate().collect()
    }

    fn rewards(&self, query: usize, list: &[usize]) -> Vec<f64> {
        let is_relevant = |item: &usize| self.relevant[query].contains(&self.ids[query][*item]);
        list.iter()
            .map(|item| f64::from(u8::from(is_relevant(item))))
            .collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let catalog = convrec::read_catalog(&options.catalog)?;
    let train = convrec::read_conversations(&options.train)?;
    let test = convrec::read_conversations(&options.test)?;
    let (queries, test) = (
        Candidates::new(&catalog, &train, &train)?,
        Candidates::new(&catalog, &train, &test)?,
    );

    // The policy begins as BM25.
    let bm25 = || Policy::new(vec![1.0, 0.0, 0.0, 0.0, 0.0]);
    let (mut policy, mut rng) = (bm25(), ChaCha8Rng::seed_from_u64(1));
    for step in 1..=400 {
        let batch: Vec<usize> = (0..32).map(|_| rng.random_range(0..train.len())).collect();
        let reward = policy.step(&queries, &batch, (8, N), 0.05, &mut rng)?;
        if step % 100 == 0 {
            println!("step {step}: relevant documents of a list {reward:.3}");
        }
    }

    let mut comparison = Comparison::new(test.dialogs.clone(), recall_and_ndcg(N));
    comparison.add("Rank-GRPO", test.judged(&policy));
    comparison.add("BM25", test.judged(&bm25()));
    comparison.print();
    Ok(())
}
