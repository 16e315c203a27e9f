//! TREC files from public reports, with the scores of `trec_eval`.

use convrec_metrics::Measure;
use convrec_metrics::trec::{Qrels, Run};
use convrec_testdata::case_path;

/// RR and NDCG of each query of a case, or the error about the run or the judgements.
fn scores(case: &str) -> Option<Result<Vec<[f64; 2]>, String>> {
    let folder = case_path(&format!("public_reports/{case}"))?;
    let read = || -> Result<_, convrec_metrics::trec::Error> {
        let run = Run::read_file(folder.join("r.txt"))?;
        let qrels = Qrels::read_file(folder.join("q.txt"))?;
        Ok(qrels.judge(&run))
    };
    let values = read().map(|lists| {
        let both = lists
            .iter()
            .map(|list| [Measure::Mrr(10), Measure::Ndcg(10)].map(|m| m.of(list)));
        both.collect()
    });
    Some(values.map_err(|e| e.to_string()))
}

#[test]
fn scores_and_refusals_are_those_of_trec_eval() {
    let third = 1.0 / 3.0_f64.log2();
    let ideal = 1.0 + third;
    for (case, expected) in [
        // The scores differ in 64 bits alone, so the documents are tied and `b` goes first.
        ("80", vec![[0.5, third]]),
        // Tied: d9, d10, d1.
        ("82", vec![[1.0, 1.5 / ideal]]),
        // Relevance is binary here, as documented.
        ("83", vec![[1.0, 1.0]]),
        ("84", vec![[0.5, third]]),
        ("85", vec![[1.0, 1.0], [0.0, 0.0]]),
        ("86", vec![[1.0, 1.0]]),
    ] {
        let Some(found) = scores(case) else { return };
        let found = found.unwrap();
        assert_eq!(found.len(), expected.len(), "case {case}");
        for (a, b) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!(
                (a - b).abs() < 1e-12,
                "case {case}: {found:?}, expected {expected:?}"
            );
        }
    }
    for (case, part) in [
        (
            "87",
            "q.txt, line 1: found 3 fields, expected `query iteration document relevance`",
        ),
        (
            "88",
            "q.txt, line 2, field `document`: query `q` has `a` before",
        ),
    ] {
        let Some(found) = scores(case) else { return };
        let error = found.unwrap_err();
        assert!(error.contains(part), "case {case}: {error}");
    }
}
