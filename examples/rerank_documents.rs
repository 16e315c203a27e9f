//! Reranks the hundred best documents of BM25, by Rank-GRPO: documents are the texts of a catalog,
//! queries are conversations, and a rank earns 1 where its document is relevant.
//!
//! ```text
//! cargo run --release --example rerank_documents -- --catalog books.jsonl --train train.jsonl \
//!   --test test.jsonl
//! ```

mod ranking;

use std::error::Error;
use std::path::PathBuf;

use clap::Parser;
use convrec::prelude::*;
use convrec_cli::{Comparison, recall_and_ndcg};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ranking::documents::{Candidates, FEATURES};
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

/// The lists of a policy, judged.
fn judged(candidates: &Candidates, policy: &Policy) -> Vec<JudgedList> {
    let Candidates { ids, relevant, .. } = candidates;
    let judged = |query: usize| {
        let list = policy.list(candidates, query, N.min(ids[query].len()), None);
        let list: Vec<ItemId> = list.iter().map(|item| ids[query][*item]).collect();
        JudgedList::from_ids(&list, &relevant[query])
    };
    (0..ids.len()).map(judged).collect()
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
        Candidates::new(&catalog, &train, &train, CANDIDATES)?,
        Candidates::new(&catalog, &train, &test, CANDIDATES)?,
    );

    // The policy begins as BM25.
    let mut score_alone = vec![0.0; FEATURES];
    score_alone[0] = 1.0;
    let bm25 = || Policy::new(score_alone.clone());
    let (mut policy, mut rng) = (bm25(), ChaCha8Rng::seed_from_u64(1));
    for step in 1..=400 {
        let batch: Vec<usize> = (0..32).map(|_| rng.random_range(0..train.len())).collect();
        let reward = policy.step(&queries, &batch, (8, N), 0.05, &mut rng)?;
        if step % 100 == 0 {
            println!("step {step}: relevant documents of a list {reward:.3}");
        }
    }

    let mut comparison = Comparison::new(test.dialogs.clone(), recall_and_ndcg(N));
    comparison.add("Rank-GRPO", judged(&test, &policy));
    comparison.add("BM25", judged(&test, &bm25()));
    comparison.print();
    Ok(())
}
