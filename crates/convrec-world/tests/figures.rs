//! The scores that the front page states: of the best list, of the conversation's text, of
//! popularity.

mod common;

use std::collections::HashSet;

use common::Mean;
use convrec_world::{World, WorldConfig};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[test]
fn there_is_room_between_popularity_and_the_best_possible() {
    let world = World::embedded();
    let split = world.generate(&WorldConfig {
        seed: 1,
        n_train: 0,
        n_validation: 0,
        n_test: 4000,
    });
    let (mut oracle, mut shown, mut popular) = (Mean::at(10), Mean::at(10), Mean::at(10));
    for example in &split.test {
        let seen = &example.seen;
        oracle.add(
            &world.oracle_ranking(&split.tastes[&example.id], seen, 10),
            example,
        );
        shown.add(
            &world.oracle_ranking(&world.shown_taste(example), seen, 10),
            example,
        );
        popular.add(&world.popularity_ranking(seen, 10), example);
    }
    for (name, mean) in [
        ("oracle", &oracle),
        ("shown", &shown),
        ("popularity", &popular),
    ] {
        eprintln!(
            "{name}: NDCG@10 {:.3} Recall@10 {:.3}",
            mean.ndcg(),
            mean.recall()
        );
    }
    assert!((0.60..0.70).contains(&oracle.ndcg()));
    assert!((0.48..0.58).contains(&shown.ndcg()));
    assert!((0.05..0.12).contains(&popular.ndcg()));
}

#[test]
fn no_other_list_is_expected_to_score_higher() {
    let world = World::embedded();
    let split = world.generate(&WorldConfig {
        seed: 2,
        n_train: 0,
        n_validation: 0,
        n_test: 20,
    });
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for example in &split.test {
        let taste = &split.tastes[&example.id];
        let shares = world.inclusion(taste, &example.seen, 4, 5000, &mut rng);
        let expected = |list: Vec<convrec_core::ItemId>| -> f64 {
            list.iter()
                .zip(2..)
                .map(|(id, place)| shares[id.index()] / f64::from(place).log2())
                .sum()
        };
        let best = expected(world.oracle_ranking(taste, &example.seen, 10));
        for _ in 0..50 {
            assert!(expected(world.choose(taste, &example.seen, 10, &mut rng)) < best + 0.02);
        }
    }
}

#[test]
fn conversations_are_short_and_plain() {
    let split = World::embedded().generate(&WorldConfig {
        seed: 1,
        n_train: 4000,
        n_validation: 0,
        n_test: 0,
    });
    let turns = || split.train.iter().flat_map(|example| &example.dialog);
    let words = || turns().flat_map(|turn| turn.content.split_whitespace());
    let mean = words().count() as f64 / split.train.len() as f64;
    let all: HashSet<&str> = words().collect();
    // The films are given without their titles.
    let frames: HashSet<String> = (split.train.iter())
        .flat_map(|example| {
            let text = example
                .dialog
                .iter()
                .map(|turn| turn.content.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            let text = example
                .seen
                .iter()
                .fold(text, |text, item| text.replace(&item.title, ""));
            text.split_whitespace()
                .map(str::to_lowercase)
                .collect::<Vec<_>>()
        })
        .map(|word| {
            word.trim_matches(|c: char| !c.is_alphanumeric())
                .to_string()
        })
        .collect();
    eprintln!(
        "{mean:.1} words a conversation; {} different ones, {} besides the titles",
        all.len(),
        frames.len()
    );
    assert!((20.0..32.0).contains(&mean));
    assert!(frames.len() < 350);
}
