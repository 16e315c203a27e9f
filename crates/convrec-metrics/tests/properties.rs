//! Identities of the measures, and slow versions written from the definitions.

use std::collections::HashSet;

use convrec_metrics::measure::{
    average_precision, hit_rate, ndcg, precision, recall, reciprocal_rank,
};
use convrec_metrics::protocol::{NamedList, Protocol, TitleYear};
use convrec_metrics::trec::Run;
use convrec_metrics::{JudgedList, Measure};
use proptest::prelude::*;

const MEASURES: [fn(usize) -> Measure; 6] = [
    Measure::Recall,
    Measure::Ndcg,
    Measure::HitRate,
    Measure::Mrr,
    Measure::Map,
    Measure::Precision,
];

/// A list with repeats, and relevant items of which some are not in it.
fn ids() -> impl Strategy<Value = (Vec<u8>, HashSet<u8>)> {
    (
        prop::collection::vec(0u8..30, 0..25),
        prop::collection::hash_set(0u8..30, 0..8),
    )
}

fn judged() -> impl Strategy<Value = JudgedList> {
    ids().prop_map(|(list, relevant)| JudgedList::from_ids(&list, &relevant))
}

/// The first `k` items, repeats replaced by nothing relevant.
fn beginning(list: &[u8], k: usize) -> Vec<Option<u8>> {
    (0..k.min(list.len()))
        .map(|index| (!list[..index].contains(&list[index])).then_some(list[index]))
        .collect()
}

fn slow(measure: Measure, list: &[u8], relevant: &HashSet<u8>) -> f64 {
    let hit = |item: &Option<u8>| item.is_some_and(|item| relevant.contains(&item));
    let found = |k: usize| beginning(list, k).iter().filter(|item| hit(item)).count() as f64;
    let dcg = |hits: &[bool]| -> f64 {
        hits.iter()
            .zip(1..)
            .map(|(&hit, rank)| {
                if hit {
                    2f64.ln() / (f64::from(rank) + 1.0).ln()
                } else {
                    0.0
                }
            })
            .sum()
    };
    let divided = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
    let n = relevant.len() as f64;
    match measure {
        Measure::Recall(k) => divided(found(k), n),
        Measure::Precision(k) => found(k) / k as f64,
        Measure::HitRate(k) => found(k).min(1.0),
        Measure::Mrr(k) => (1..=k)
            .find(|&rank| found(rank) == 1.0)
            .map_or(0.0, |rank| {
                if found(k) > 0.0 {
                    1.0 / rank as f64
                } else {
                    0.0
                }
            }),
        Measure::Map(k) => {
            let at_hits = (1..=k)
                .filter(|&rank| found(rank) > found(rank - 1))
                .map(|rank| found(rank) / rank as f64);
            divided(at_hits.sum(), n)
        }
        Measure::Ndcg(k) => {
            // The ideal is the best of all lists: every relevant item first.
            let mut best: Vec<bool> = (0..30u8).map(|item| relevant.contains(&item)).collect();
            best.sort_by_key(|&hit| !hit);
            best.truncate(k);
            let hits: Vec<bool> = beginning(list, k).iter().map(hit).collect();
            divided(dcg(&hits), dcg(&best))
        }
    }
}

proptest! {
    #[test]
    fn slow_versions_agree((list, relevant) in ids(), k in 1usize..30) {
        let judged = JudgedList::from_ids(&list, &relevant);
        for measure in MEASURES.map(|measure| measure(k)) {
            let (fast, slow) = (measure.of(&judged), slow(measure, &list, &relevant));
            prop_assert!(
                (fast - slow).abs() < 1e-12,
                "{} is {}, slowly {}",
                measure,
                fast,
                slow
            );
        }
    }

    #[test]
    fn measures_lie_between_0_and_1(list in judged(), k in 0usize..30) {
        for measure in MEASURES.map(|measure| measure(k)) {
            let value = measure.of(&list);
            prop_assert!(
                (0.0..=1.0 + 1e-12).contains(&value),
                "{} is {}",
                measure,
                value
            );
        }
    }

    #[test]
    fn a_longer_look_never_hurts(list in judged(), k in 0usize..30) {
        for measure in [recall, hit_rate, reciprocal_rank, average_precision] {
            prop_assert!(measure(&list, k + 1) >= measure(&list, k));
        }
    }

    #[test]
    fn a_hit_moved_up_never_hurts(
        before in prop::collection::vec(any::<bool>(), 0..12),
        after in prop::collection::vec(any::<bool>(), 0..12),
        not_found in 0usize..5,
        k in 1usize..30,
    ) {
        let with = |pair: [bool; 2]| {
            let hits = [before.as_slice(), &pair, &after].concat();
            let relevant = hits.iter().filter(|&&hit| hit).count() + not_found;
            JudgedList::new(hits, relevant)
        };
        let (list, moved) = (with([false, true]), with([true, false]));
        for measure in MEASURES.map(|measure| measure(k)) {
            prop_assert!(
                measure.of(&moved) >= measure.of(&list) - 1e-12,
                "{}",
                measure
            );
        }
        // Measures that see the order gain wherever the upper rank is in their sight.
        if before.len() < k {
            prop_assert!(ndcg(&moved, k) > ndcg(&list, k));
            prop_assert!(average_precision(&moved, k) > average_precision(&list, k));
        }
    }

    #[test]
    fn order_within_k_is_nothing_to_set_measures(list in judged(), k in 1usize..30) {
        let mut hits = list.hits().to_vec();
        let end = k.min(hits.len());
        hits[..end].reverse();
        let turned = JudgedList::new(hits, list.relevant());
        for measure in [recall, precision, hit_rate] {
            prop_assert_eq!(measure(&turned, k), measure(&list, k));
        }
    }

    #[test]
    fn names_of_items_do_not_matter((list, relevant) in ids(), shift in any::<u8>()) {
        let renamed = |item: &u8| format!("item {}", item.wrapping_add(shift));
        let others: Vec<String> = list.iter().map(renamed).collect();
        let judged = JudgedList::from_ids(&others, &relevant.iter().map(renamed).collect());
        prop_assert_eq!(judged, JudgedList::from_ids(&list, &relevant));
    }

    #[test]
    fn an_ideal_list_scores_1(n in 1usize..25, further in 0usize..10, k in 1usize..30) {
        let mut hits = vec![true; n];
        hits.resize(n + further, false);
        let ideal = JudgedList::new(hits, n);
        prop_assert!((ndcg(&ideal, k) - 1.0).abs() < 1e-12);
        prop_assert_eq!(reciprocal_rank(&ideal, k), 1.0);
        prop_assert_eq!(recall(&ideal, n.max(k)), 1.0);
        prop_assert!((average_precision(&ideal, n.max(k)) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn with_one_relevant_item_measures_are_one(
        numbers in prop::collection::vec(0u8..25, 0..25),
        k in 1usize..30,
    ) {
        let list = JudgedList::from_ids(&numbers, &HashSet::from([7]));
        prop_assert_eq!(recall(&list, k), hit_rate(&list, k));
        prop_assert_eq!(average_precision(&list, k), reciprocal_rank(&list, k));
        let rr = reciprocal_rank(&list, k);
        let expected = if rr == 0.0 {
            0.0
        } else {
            1.0 / (1.0 / rr + 1.0).log2()
        };
        prop_assert!((ndcg(&list, k) - expected).abs() < 1e-12);
    }

    /// Nothing to filter, no title twice, a list longer than the ground truth: no quirk acts.
    #[test]
    fn protocols_agree_where_no_quirk_acts(
        numbers in prop::collection::hash_set(0u32..60, 20..30),
        wanted in prop::collection::hash_set(0u32..60, 1..6),
    ) {
        let titles: Vec<String> = (0..60).map(|number| format!("Film {number}")).collect();
        let name = |number: u32| TitleYear::new(&titles[number as usize], 1990);
        let recommended: Vec<TitleYear> = numbers.into_iter().map(name).collect();
        let ground_truth: Vec<TitleYear> = wanted.into_iter().map(name).collect();
        let catalog = (0..60).map(name).collect();
        let sample = NamedList {
            recommended: &recommended,
            seen: &[],
            ground_truth: &ground_truth,
        };
        let by_id = JudgedList::from_ids(&recommended, &ground_truth.iter().copied().collect());
        let cutoffs = [5, 10, 15, 20];
        let textbook = Protocol::Textbook.evaluate(&sample, &catalog, &cutoffs);
        for (scores, k) in textbook.iter().zip(cutoffs) {
            prop_assert_eq!(
                (scores.recall, scores.ndcg),
                (recall(&by_id, k), ndcg(&by_id, k))
            );
        }
        for protocol in [Protocol::Reference, Protocol::ReferenceTruncatedFirst] {
            for (scores, expected) in protocol
                .evaluate(&sample, &catalog, &cutoffs)
                .iter()
                .zip(&textbook)
            {
                prop_assert!(
                    (scores.recall - expected.recall).abs() < 1e-12,
                    "{}",
                    protocol
                );
                prop_assert!((scores.ndcg - expected.ndcg).abs() < 1e-12, "{}", protocol);
            }
        }
    }

    #[test]
    fn written_runs_are_read_back(
        lists in prop::collection::btree_map("[a-z]{1,4}", prop::collection::hash_set("[^\\s]{1,6}", 1..9), 1..6),
    ) {
        let mut run = Run::new("tag").unwrap();
        for (query, documents) in &lists {
            // A list may be refused for a name that has white space in it, which Unicode has in
            // many kinds.
            prop_assume!(run.add(query, documents.iter().map(String::as_str)).is_ok());
        }
        let mut file = Vec::new();
        run.write(&mut file).unwrap();
        prop_assert_eq!(Run::read(&file[..], "run").unwrap(), run);
    }

    #[test]
    fn reading_a_run_never_panics(text in "[\\PC\n\t ]{0,80}") {
        let _ = Run::read(text.as_bytes(), "run");
    }
}
