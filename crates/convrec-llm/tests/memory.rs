//! The memory of a large ledger.

mod common;

use std::time::Instant;

use convrec_llm::{Ledger, Record, RequestKey, Tokens};
use convrec_testdata::memory::{Counting, peak};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const N: u64 = 100_000;

#[test]
fn a_hundred_thousand_answers_take_little_memory() {
    let (folder, ledger) = common::new_ledger();
    let text = "1. Heat (1995)\n".repeat(60);
    let record = |i: u64| Record {
        key: RequestKey::of(&i.into()),
        model: "test-model".into(),
        time: 0,
        tokens: Tokens::default(),
        finish: None,
        text: text.clone(),
    };
    for start in (0..N).step_by(1000) {
        ledger.keep((start..start + 1000).map(record)).unwrap();
    }
    drop(ledger);
    let path = folder.path().join("ledger.jsonl");
    let size = std::fs::metadata(&path).unwrap().len() as f64 / 1e6;
    let start = Instant::now();
    let mut held = None;
    let memory = peak(|| held = Some(Ledger::open(&path).unwrap()));
    println!(
        "{N} answers, {size:.0} MB on the disk: {memory:.1} MB in memory, open after {:.2?}",
        start.elapsed()
    );
    assert_eq!(held.unwrap().len() as u64, N);
    assert!(memory < 20.0, "{memory} MB");
}
