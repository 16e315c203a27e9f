//! Real runs against the scores that `trec_eval` gave them: every query, every measure, means over
//! all queries.

use std::collections::BTreeMap;

use convrec_metrics::Measure;
use convrec_metrics::trec::{Qrels, Run};
use convrec_testdata::data_path;
use serde::Deserialize;

#[derive(Deserialize)]
struct Peer {
    n_queries: usize,
    runs: BTreeMap<String, PeerRun>,
}

#[derive(Deserialize)]
struct PeerRun {
    queries_in_run: usize,
    mean: BTreeMap<String, f64>,
    ranx_mean: BTreeMap<String, f64>,
    per_query: BTreeMap<String, BTreeMap<String, f64>>,
}

#[test]
fn every_score_of_every_query_is_the_peers() {
    let Some(folder) = data_path("metrics_bench") else {
        return;
    };
    let peer: Peer =
        serde_json::from_str(&std::fs::read_to_string(folder.join("scores.json")).unwrap())
            .unwrap();
    let qrels = Qrels::read_file(folder.join("qrels.txt")).unwrap();
    assert_eq!(qrels.queries().len(), peer.n_queries);

    let mut compared = 0;
    for (name, expected) in &peer.runs {
        let run = Run::read_file(folder.join(format!("{name}.run"))).unwrap();
        assert_eq!(
            (run.tag(), run.queries().len()),
            (name.as_str(), expected.queries_in_run)
        );
        let lists = qrels.judge(&run);
        for (written, mean) in &expected.mean {
            let measure: Measure = written.parse().unwrap();
            let values: Vec<f64> = lists.iter().map(|list| measure.of(list)).collect();
            for (query, value) in qrels.queries().zip(&values) {
                let theirs = expected.per_query[query][written];
                assert!(
                    (value - theirs).abs() < 1e-12,
                    "{name} {query} {measure}: {value}, expected {theirs}"
                );
                compared += 1;
            }
            let ours = values.iter().sum::<f64>() / values.len() as f64;
            assert!(
                (ours - mean).abs() < 1e-12,
                "{name} {measure}: {ours}, expected {mean}"
            );
            assert!((ours - expected.ranx_mean[written]).abs() < 1e-12);
        }
        assert_eq!(expected.per_query.len(), lists.len());
    }
    assert!(compared > 0);
}

#[test]
fn a_real_run_survives_writing() {
    let Some(path) = data_path("metrics_bench/cooccurrence_no_backoff.run") else {
        return;
    };
    let run = Run::read_file(path).unwrap();
    let mut written = Vec::new();
    run.write(&mut written).unwrap();
    assert_eq!(Run::read(&written[..], "written").unwrap(), run);
}
