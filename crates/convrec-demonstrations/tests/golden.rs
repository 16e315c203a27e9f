//! The three steps against numbers made by independent code after the paper's formulas.

use convrec_core::ItemId;
use convrec_demonstrations::{
    AdjustConfig, Named, Reduction, demonstration, fit, rank_weights, reflect, remap,
};
use convrec_testdata::golden_as;
use ndarray::{Array1, Array2};
use serde::Deserialize;

#[derive(Deserialize)]
struct Set<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct RemapCase {
    id: String,
    item_embeddings_teacher: Vec<Vec<f64>>,
    item_embeddings_catalog: Vec<Vec<f64>>,
    conversation_embedding: Vec<f64>,
    teacher_list: Vec<usize>,
    exact_matches: Vec<(usize, ItemId)>,
    lam: f64,
    p: Vec<f64>,
    s_remap: Vec<f64>,
    n_reflect: usize,
    candidates: Vec<ItemId>,
    ratings: Vec<(ItemId, i8)>,
    gamma: f64,
    s_reflect: Vec<f64>,
    w: Vec<f64>,
    b: Vec<f64>,
    s_final: Vec<f64>,
    seen: Vec<ItemId>,
    n: usize,
    demonstration: Vec<ItemId>,
}

#[test]
fn remap_reflect_and_the_demonstration_agree() {
    let set: Set<RemapCase> = golden_as("remap.json");
    for case in set.cases {
        let id = &case.id;
        let teacher = matrix(&case.item_embeddings_teacher);
        let catalog = matrix(&case.item_embeddings_catalog);
        let weights = rank_weights(&case.teacher_list);
        let mut p = vec![0.0; case.p.len()];
        let mut list = Vec::new();
        for (&u, weight) in case.teacher_list.iter().zip(weights) {
            let Some(weight) = weight else { continue };
            p[u] = weight;
            let exact = case
                .exact_matches
                .iter()
                .find(|(of, _)| *of == u)
                .map(|(_, item)| *item);
            list.push(Named {
                weight,
                embedding: teacher.row(u),
                exact,
            });
        }
        close(&p, &case.p, 1e-12, id);

        let conversation = Array1::from(case.conversation_embedding.clone());
        let mut scores = remap(&list, catalog.view(), conversation.view(), case.lam);
        close(&scores, &case.s_remap, 1e-9, id);
        assert_eq!(
            demonstration(&scores, case.n_reflect, &[]),
            case.candidates,
            "{id}"
        );

        reflect(&mut scores, case.ratings, case.gamma);
        close(&scores, &case.s_reflect, 1e-9, id);

        convrec_demonstrations::Adjust {
            w: case.w,
            b: case.b,
        }
        .apply(&mut scores);
        close(&scores, &case.s_final, 1e-9, id);
        assert_eq!(
            demonstration(&scores, case.n, &case.seen),
            case.demonstration,
            "{id}"
        );
    }
}

#[derive(Deserialize)]
struct AdjustCase {
    id: String,
    scores: Vec<Vec<f64>>,
    #[serde(rename = "groundtruth")]
    ground_truth: Vec<Vec<ItemId>>,
    reg: f64,
    #[serde(rename = "aggregation")]
    reduction: Reduction,
    objective_start: f64,
    objective: f64,
    w: Vec<f64>,
    b: Vec<f64>,
}

#[test]
fn adjust_finds_the_minimiser() {
    let set: Set<AdjustCase> = golden_as("adjust.json");
    for case in set.cases {
        let config = AdjustConfig {
            reg: case.reg,
            reduction: case.reduction,
            ..AdjustConfig::default()
        };
        let fitted = fit(&matrix(&case.scores), &case.ground_truth, &config, &|_| ())
            .unwrap_or_else(|e| panic!("{}: {e}", case.id));
        println!("{}: {:?}", case.id, fitted.report);
        close(
            &[fitted.report.objective_start],
            &[case.objective_start],
            1e-9,
            &case.id,
        );
        close(
            &[fitted.report.objective_end],
            &[case.objective],
            1e-9,
            &case.id,
        );
        close(&fitted.adjust.w, &case.w, 1e-5, &case.id);
        close(&fitted.adjust.b, &case.b, 1e-5, &case.id);
    }
}

fn matrix(rows: &[Vec<f64>]) -> Array2<f64> {
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

fn close(found: &[f64], expected: &[f64], tolerance: f64, id: &str) {
    assert_eq!(found.len(), expected.len(), "{id}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance,
            "{id}[{i}]: {found}, expected {expected}"
        );
    }
}
