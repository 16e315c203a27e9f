//! The client's own time: requests a second against a server that answers at once, and the ledger.

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;

use common::{TestServer, ask, echoed, model, quick, requests};
use convrec_llm::{Ledger, Record, RequestKey, ServerSettings, Tokens};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const REQUESTS: usize = 2000;
const ANSWERS: u64 = 100_000;

fn bench_asking(c: &mut Criterion) {
    let server = TestServer::start(echoed);
    let requests = requests(REQUESTS);
    let mut group = c.benchmark_group("2,000 requests");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(REQUESTS as u64));
    for concurrency in [1, 8, 32] {
        let settings = ServerSettings {
            concurrency,
            ..quick(&server)
        };
        group.bench_function(format!("asked, {concurrency} at a time"), |b| {
            let new = || {
                let (folder, ledger) = common::new_ledger();
                (folder, model(settings.clone(), &ledger))
            };
            b.iter_batched(
                new,
                |(_folder, model)| ask(&model, &requests),
                BatchSize::PerIteration,
            );
        });
    }
    let (_folder, ledger) = common::new_ledger();
    let model = model(quick(&server), &ledger);
    ask(&model, &requests);
    group.bench_function("found in the ledger", |b| b.iter(|| ask(&model, &requests)));
    group.finish();
}

fn bench_ledger(c: &mut Criterion) {
    let (folder, ledger) = common::new_ledger();
    let record = |i: u64| Record {
        key: RequestKey::of(&i.into()),
        model: "test-model".into(),
        time: 0,
        tokens: Tokens::default(),
        finish: None,
        text: "1. Heat (1995)\n".repeat(60),
    };
    ledger.keep((0..ANSWERS).map(record)).unwrap();
    drop(ledger);
    let path = folder.path().join("ledger.jsonl");
    let mut group = c.benchmark_group("ledger");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(ANSWERS));
    group.bench_function("open, 100,000 answers of 1 kB", |b| {
        b.iter(|| Arc::new(Ledger::open(&path).unwrap()))
    });
    group.finish();
}

criterion_group!(benches, bench_asking, bench_ledger);
criterion_main!(benches);
