//! A retriever that is fitted, kept in a file, and asked.

use std::collections::BTreeSet;
use std::fs;

use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example, Item, ItemId, Turn, jsonl};
use convrec_metrics::{JudgedList, Measure};
use convrec_retrieve::{CooccurrenceScorer, Fitted, Retriever, Scorer};
use convrec_testdata::data_path;

const FILMS: usize = 24;

fn catalog() -> Catalog {
    let film = |n: usize| CatalogItem {
        title: format!("Film {n}"),
        year: Some(1980),
        genres: vec![["crime", "horror", "comedy"][n % 3].into()],
        metadata: String::new(),
    };
    Catalog::new((0..FILMS).map(film).collect()).unwrap()
}

fn item(n: usize) -> Item {
    Item::new(format!("Film {}", n % FILMS), 1980)
}

/// After a film somebody is recommended the one three further, of the same genre.
fn conversations() -> Vec<Example> {
    let conversation = |n: usize| Example {
        id: format!("d{}-{n}", n / 2),
        dialog: vec![Turn::user(format!("something like {}?", item(n)))],
        seen: vec![item(n)],
        ground_truth: vec![item(n + 3)],
    };
    (0..96).map(conversation).collect()
}

fn best(retriever: &Retriever, example: &Example) -> Vec<ItemId> {
    retriever.candidates(example, 3).items().to_vec()
}

#[test]
fn what_goes_together_is_found_with_its_probability() {
    let (catalog, training) = (catalog(), conversations());
    let retriever = Fitted::fit(&catalog, &training).unwrap().over(&catalog);
    let example = Example {
        id: "new-1".into(),
        ..training[5].clone()
    };
    let found = retriever.candidates(&example, FILMS);
    // Both were named beside it.
    let best: BTreeSet<ItemId> = found.items()[..2].iter().copied().collect();
    assert_eq!(best, [ItemId(2), ItemId(8)].into());
    assert_eq!(found.len(), FILMS - 1, "the seen film is left out");
    let scores = found.scores().unwrap();
    assert!(scores.is_sorted_by(|a, b| a >= b));
    let sum: f32 = scores.iter().map(|score| score.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-4, "{sum}");
    let five = retriever.candidates(&example, 5);
    assert_eq!(five.items(), &found.items()[..5]);
    assert_eq!(five.scores().unwrap(), &scores[..5]);
}

/// Whatever a training dialog named and said, its own samples are scored alike: nobody knows the
/// answer.
#[test]
fn a_conversation_is_scored_as_if_its_dialog_had_not_been() {
    let (catalog, training) = (catalog(), conversations());
    let fitted = Fitted::fit(&catalog, &training).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("retriever.jsonl");
    fitted.write(&path).unwrap();
    let (mut lines, mut changed) = (vec![], 0);
    for line in fs::read_to_string(&path).unwrap().lines() {
        let is_own = line.contains("\"id\":\"d7-");
        changed += usize::from(is_own);
        lines.push(match is_own {
            true => line
                .replace("Film 1", "Film 2")
                .replace("something", "nothing"),
            false => line.to_string(),
        });
    }
    assert_eq!(changed, 2);
    fs::write(&path, lines.join("\n")).unwrap();
    let other = Fitted::read(&path).unwrap();
    assert_ne!(other, fitted);
    let (fitted, other) = (fitted.over(&catalog), other.over(&catalog));
    for example in training.iter().filter(|x| x.dialog_id() == "d7") {
        let (scores, others) = (fitted.scores(example), other.scores(example));
        for (a, b) in scores.iter().zip(others) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
    // A conversation that is not counted is scored with all dialogs, which differ.
    let new = Example {
        id: "new-1".into(),
        ..training[14].clone()
    };
    assert_ne!(fitted.scores(&new), other.scores(&new));
}

/// A file without the sources that came later is read; they count for nothing.
#[test]
fn a_file_of_an_older_version_is_read() {
    let (catalog, training) = (catalog(), conversations());
    let fitted = Fitted::fit(&catalog, &training).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("retriever.jsonl");
    let mut text = fitted.to_text();
    let later = ["vectors", "word_vectors"];
    for name in later {
        let start = text.find(&format!(",\"{name}\":[")).unwrap();
        let end = start + text[start..].find(']').unwrap() + 1;
        text.replace_range(start..end, "");
    }
    fs::write(&path, text).unwrap();
    let read = Fitted::read(&path).unwrap();
    let differing = fitted.weights().zip(read.weights()).filter(|(a, b)| a != b);
    let zero = differing.map(|(_, (name, weights))| (name, weights == [0.0; 3]));
    assert!(zero.eq(later.map(|name| (name, true))));
}

#[test]
fn a_file_keeps_it_and_a_wrong_one_says_what_is_wrong() {
    let (catalog, training) = (catalog(), conversations());
    let mut fitted = Fitted::fit(&catalog, &training).unwrap();
    (fitted.n_candidates, fitted.weight) = (7, 0.5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("retriever.jsonl");
    fitted.write(&path).unwrap();
    let read = Fitted::read(&path).unwrap();
    assert_eq!(read, fitted);
    let retriever = read.over(&catalog);
    let prior = retriever.prior(&training[0]);
    let plain = retriever.candidates(&training[0], 7);
    assert_eq!(prior.items(), plain.items());
    let halves: Vec<f32> = plain.scores().unwrap().iter().map(|x| x * 0.5).collect();
    assert_eq!(prior.scores().unwrap(), halves);

    let text = fs::read_to_string(&path).unwrap();
    for (from, to, expected) in [
        (
            "\"retriever\":1",
            "\"retriever\":9",
            "version 9 of the file, expected 1",
        ),
        (
            "\"n_candidates\":7",
            "\"n_candidates\":0",
            "field `n_candidates`: 0",
        ),
        ("\"lift\"", "\"loft\"", "unknown source `loft`"),
        ("\"weight\":0.5", "\"wait\":0.5", "unknown field `wait`"),
        ("\"id\":\"d0-1\"", "\"idd\":\"d0-1\"", "line 3"),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = Fitted::read(&path).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("retriever.jsonl"),
            "{error}"
        );
    }
    let nothing = Fitted::fit(&catalog, &[]).unwrap_err().to_string();
    assert!(nothing.contains("none of the 0 conversations"), "{nothing}");
}

#[test]
fn demonstrations_have_what_was_right_in_front_and_are_drawn_by_the_seed() {
    let (catalog, training) = (catalog(), conversations());
    let retriever = Fitted::fit(&catalog, &training).unwrap().over(&catalog);
    let lists = |seed| retriever.demonstrations(&training, 6, false, seed);
    let drawn = lists(1);
    assert_eq!(drawn, lists(1));
    assert_ne!(drawn, lists(2));
    assert_eq!(drawn.len(), training.len());
    for (demonstration, example) in drawn.iter().zip(&training) {
        assert_eq!(&demonstration.example, example);
        assert_eq!(demonstration.list[0], example.ground_truth[0]);
        assert_eq!(demonstration.list.len(), 6);
        let mut distinct = demonstration.list.clone();
        distinct.sort();
        distinct.dedup();
        assert!(distinct.len() == 6 && !distinct.contains(&example.seen[0]));
    }
    // What is drawn second is what the scores say: nearly always one of the best.
    let among = |demonstration: &convrec_core::Demonstration| {
        let found = best(&retriever, &demonstration.example);
        let second = catalog.find(&demonstration.list[1]).unwrap();
        usize::from(found.contains(&second))
    };
    let anywhere = retriever.demonstrations(&training, 6, true, 1);
    let place = |demonstration: &convrec_core::Demonstration| {
        let right = &demonstration.example.ground_truth[0];
        demonstration.list.iter().position(|item| item == right)
    };
    let places: BTreeSet<usize> = anywhere.iter().map(|x| place(x).unwrap()).collect();
    assert_eq!(places, (0..6).collect());
    let share = drawn.iter().map(among).sum::<usize>() as f64 / drawn.len() as f64;
    assert!(share > 2.0 * 3.0 / FILMS as f64, "{share}");
}

/// On ReDial's validation part the learned weights find more than co-occurrence alone does.
#[test]
fn real_conversations_are_answered_better_than_by_counting_pairs() {
    let Some(data) = data_path("conversations/redial_validation.jsonl") else {
        return;
    };
    let read =
        |name: &str| -> Vec<Example> { jsonl::read_file(data.with_file_name(name)).unwrap() };
    let catalog = data.parent().unwrap().with_file_name("catalog");
    let catalog = Catalog::read(catalog.join("redial.jsonl")).unwrap();
    // A part of both, as the whole takes a minute on a busy machine.
    let training = &read("redial_train.jsonl")[..2000];
    let validation = read("redial_validation.jsonl").into_iter().step_by(3);
    let validation: Vec<Example> = validation.collect();
    let fitted = Fitted::fit(&catalog, training).unwrap();
    let retriever = fitted.over(&catalog);
    let together = CooccurrenceScorer::new(&catalog, training);
    let measured = |scorer: &dyn Scorer| {
        let judged: Vec<JudgedList> = validation
            .iter()
            .map(|example| {
                let mut scores = scorer.scores(example);
                for id in catalog.seen_ids(&example.seen) {
                    scores[id.index()] = f32::NEG_INFINITY;
                }
                let best = convrec_catalog::top_k(&scores, 20);
                let right = example
                    .ground_truth
                    .iter()
                    .filter_map(|x| catalog.meant(x).ok());
                JudgedList::from_ids(
                    &best.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
                    &right.collect(),
                )
            })
            .collect();
        (
            Measure::Recall(20).mean(&judged),
            Measure::Ndcg(20).mean(&judged),
        )
    };
    let (ours, theirs) = (measured(&retriever), measured(&together));
    println!("retriever {ours:?}, co-occurrence {theirs:?}");
    assert!(ours.0 > theirs.0 + 0.03 && ours.1 > theirs.1 + 0.015);
}
