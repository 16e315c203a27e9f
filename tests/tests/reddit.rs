//! Rows of the paper's data set, judged as policies are.

use convrec_catalog::Catalog;
use convrec_metrics::{JudgedList, Measure};
use convrec_testdata::data_path;
use convrec_train::evaluate::judge_example;

/// The expected numbers are those of a script of 20 lines in another language: lines parsed by one
/// regular expression, seen titles left out in every year, hits counted by title and year.
#[test]
fn the_released_demonstrations_score_what_they_score_elsewhere() {
    let (Some(path), Some(catalog)) = (
        data_path("reddit_v2_sample/train_sample.jsonl"),
        data_path("catalog/reddit_v2.jsonl"),
    ) else {
        return;
    };
    let catalog = Catalog::read(catalog).unwrap();
    let demonstrations = convrec::read_demonstrations(path).unwrap();
    let judged: Vec<JudgedList> = demonstrations
        .iter()
        .map(|demonstration| {
            let listed = demonstration.list.iter();
            let list: Vec<_> = listed.map(|item| catalog.find(item).unwrap()).collect();
            judge_example(&catalog, &demonstration.example, &list, 20)
        })
        .collect();
    assert_eq!(judged.len(), 64);
    for (measure, expected) in [
        (Measure::Recall(1), 0.026711),
        (Measure::Recall(5), 0.067076),
        (Measure::Recall(10), 0.088474),
        (Measure::Recall(20), 0.107342),
    ] {
        let found = measure.mean(&judged);
        assert!((found - expected).abs() < 1e-6, "{measure}: {found}");
    }
}
