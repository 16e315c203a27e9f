//! Generated conversations are seeded, sound and all different.

use std::collections::HashSet;
use std::time::Instant;

use convrec_core::jsonl::Check;
use convrec_core::{Example, Role};
use convrec_world::{Split, World, WorldConfig};

fn config(n_train: usize) -> WorldConfig {
    WorldConfig {
        seed: 3,
        n_train,
        n_validation: 200,
        n_test: 200,
    }
}

fn generate(n_train: usize) -> Split {
    World::embedded().generate(&config(n_train))
}

fn examples(split: &Split) -> Vec<&Example> {
    [&split.train, &split.validation, &split.test]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn the_same_config_gives_the_same_split_and_another_seed_another() {
    let split = generate(300);
    assert_eq!(split, generate(300));
    let other = World::embedded().generate(&WorldConfig {
        seed: 4,
        ..config(300)
    });
    let same = split
        .train
        .iter()
        .zip(&other.train)
        .filter(|(a, b)| a.dialog == b.dialog)
        .count();
    assert_eq!(same, 0);
}

#[test]
fn more_training_examples_change_nothing_else() {
    let (small, large) = (generate(100), generate(400));
    assert_eq!(small.train, large.train[..100]);
    assert_eq!(
        (small.validation, small.test),
        (large.validation, large.test)
    );
}

#[test]
fn examples_are_sound() {
    let world = World::embedded();
    let split = generate(3000);
    for example in examples(&split) {
        assert_eq!(example.check(), Ok(()));
        assert!(split.tastes.contains_key(&example.id));
        let all: HashSet<_> = example.seen.iter().chain(&example.ground_truth).collect();
        assert_eq!(
            all.len(),
            example.seen.len() + example.ground_truth.len(),
            "seen or named twice: {example:?}"
        );
        assert!(
            all.iter().all(|item| world.find(item).is_some()),
            "{example:?}"
        );
        assert!(
            (1..=3).contains(&example.seen.len()) && (3..=6).contains(&example.ground_truth.len())
        );

        let roles: Vec<Role> = example.dialog.iter().map(|turn| turn.role).collect();
        assert!(
            roles == [Role::User] || roles == [Role::User, Role::Assistant, Role::User],
            "{roles:?}"
        );
        let text: Vec<&str> = example
            .dialog
            .iter()
            .map(|turn| turn.content.as_str())
            .collect();
        assert!(
            text.iter()
                .all(|text| !text.trim().is_empty() && !text.contains("  ")),
            "{text:?}"
        );
        assert!(
            text.iter().flat_map(|text| text.split_whitespace()).count() <= 45,
            "{text:?}"
        );
        assert!(
            example
                .seen
                .iter()
                .all(|item| text.iter().any(|text| text.contains(&item.title))),
            "{example:?}"
        );
    }
    assert_eq!(split.train[16].id, "world-train-17-1");
    assert_eq!(split.train[16].dialog_id(), "world-train-17");
}

#[test]
fn twenty_thousand_examples_are_all_different_and_quick() {
    let start = Instant::now();
    let split = generate(20_000);
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("20,400 examples in {seconds:.1} s");
    assert!(seconds < 30.0, "{seconds} s");
    let examples = examples(&split);
    assert_eq!(examples.len(), 20_400);
    assert_eq!(
        examples
            .iter()
            .map(|example| &example.id)
            .collect::<HashSet<_>>()
            .len(),
        examples.len()
    );
    let said = |example: &&Example| {
        example
            .dialog
            .iter()
            .map(|turn| turn.content.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        examples.iter().map(said).collect::<HashSet<_>>().len(),
        examples.len()
    );
}

#[test]
fn every_film_is_right_for_someone() {
    let split = generate(20_000);
    let right: HashSet<_> = split
        .train
        .iter()
        .flat_map(|example| &example.ground_truth)
        .collect();
    let films = World::embedded().films();
    let never: Vec<_> = films
        .iter()
        .map(|film| film.name())
        .filter(|name| !right.contains(name))
        .collect();
    assert!(never.is_empty(), "{never:?}");
}

#[test]
fn tastes_are_read_back_from_json() {
    let tastes = generate(50).tastes;
    let text = serde_json::to_string(&tastes).unwrap();
    assert_eq!(tastes, serde_json::from_str(&text).unwrap());
    let error = serde_json::from_str::<convrec_world::Taste>("{\"heists\": 1.0}")
        .unwrap_err()
        .to_string();
    assert!(error.contains("`heists` is no feature"), "{error}");
}
