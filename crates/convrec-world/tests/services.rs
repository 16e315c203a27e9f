//! The scripted teacher and judge make the intended mistakes, always the same ones.

mod common;

use std::collections::BTreeMap;

use common::{Mean, in_catalog};
use convrec_core::{CatalogItem, Item, ItemId};
use convrec_services::{Describer, Judge, Mistakes, Teacher};
use convrec_text::ListFormat;
use convrec_world::{Film, Split, World, WorldConfig, WorldJudge, WorldTeacher};

fn split(n_train: usize) -> Split {
    World::embedded().generate(&WorldConfig {
        seed: 5,
        n_train,
        n_validation: 0,
        n_test: 0,
    })
}

fn fame(films: &[Film], items: &[Item]) -> f64 {
    let known = items
        .iter()
        .filter_map(|item| films.iter().find(|film| film.name() == *item));
    let values: Vec<f64> = known.map(|film| film.fame).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn the_teacher_errs_as_real_ones_do() {
    let (world, teacher) = (World::embedded(), WorldTeacher::new(1));
    let split = split(2000);
    let (mut raw, mut lines, mut inside, mut elsewhere, mut broken) =
        (Mean::at(10), 0.0, 0.0, 0.0, 0.0);
    let (mut liked, mut named) = (Vec::new(), Vec::new());
    for example in &split.train {
        let answer = ListFormat::default().parse(&teacher.recommend(example, 20).unwrap());
        let items: Vec<Item> = answer.entries.into_iter().map(|entry| entry.item).collect();
        lines += 20.0;
        broken += 20.0 - items.len() as f64;
        inside += items
            .iter()
            .filter(|item| world.find(item).is_some())
            .count() as f64;
        elsewhere += items
            .iter()
            .filter(|item| world.elsewhere().iter().any(|film| film.name() == **item))
            .count() as f64;
        raw.add(&in_catalog(items.iter().cloned(), example), example);
        liked.push(fame(world.films(), &example.ground_truth));
        named.push(fame(world.films(), &items));
    }
    let (inside, elsewhere, broken) = (inside / lines, elsewhere / lines, broken / lines);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (liked, named) = (mean(&liked), mean(&named));
    eprintln!(
        "teacher: NDCG@10 {:.3} Recall@10 {:.3}",
        raw.ndcg(),
        raw.recall()
    );
    eprintln!(
        "lines in the catalog {inside:.3}, films elsewhere {elsewhere:.3}, not to be read \
         {broken:.3}"
    );
    eprintln!("mean fame of what it names {named:.2}, of what users like {liked:.2}");
    assert!((0.16..0.24).contains(&raw.ndcg()));
    assert!((0.65..0.75).contains(&inside));
    assert!((0.15..0.25).contains(&elsewhere));
    assert!((0.01..0.05).contains(&broken));
    assert!(named > liked + 0.1);
}

#[test]
fn the_teacher_answers_an_example_always_alike() {
    let example = &split(2).train[1];
    let answer = |seed| WorldTeacher::new(seed).recommend(example, 20).unwrap();
    assert_eq!(answer(1), answer(1));
    assert_ne!(answer(1), answer(2));
}

#[test]
fn without_mistakes_the_teacher_names_films_that_exist_and_were_not_seen() {
    let teacher = WorldTeacher {
        mistakes: Mistakes::NONE,
        ..WorldTeacher::new(1)
    };
    for example in &split(50).train {
        let answer = ListFormat::default().parse(&teacher.recommend(example, 20).unwrap());
        let items: Vec<Item> = answer.entries.into_iter().map(|entry| entry.item).collect();
        assert_eq!(items.len(), 20);
        for (rank, item) in items.iter().enumerate() {
            let world = World::embedded();
            assert!(
                world
                    .films()
                    .iter()
                    .chain(world.elsewhere())
                    .any(|film| film.name() == *item),
                "{item}"
            );
            assert!(
                !example.seen.contains(item) && !items[..rank].contains(item),
                "{item}"
            );
        }
    }
}

#[test]
fn the_teacher_describes_films_it_knows_and_titles_made_up_from_them() {
    let teacher = WorldTeacher::new(1);
    let text = |title: &str, year: i32| {
        teacher
            .describe(&Item::new(title, year))
            .unwrap()
            .unwrap_or_default()
    };
    assert_eq!(
        text("Glory", 1989),
        "Glory (1989), War, Drama, Edward Zwick, racism, true story"
    );
    assert!(
        text("Heat", 1994).starts_with("Heat (1994), Crime, Action, Thriller, Michael Mann, heist")
    );
    assert!(
        text("Scarface", 1984).contains("drugs") && text("Scarface", 1933).contains("Howard Hawks")
    );
    assert!(text("Spotlight Heat", 2001).starts_with("Spotlight Heat (2001), "));
    assert_eq!(teacher.describe(&Item::new("Xyzzy", 2001)), Ok(None));
    for film in World::embedded().elsewhere() {
        assert_eq!(teacher.describe(&film.name()), Ok(Some(film.item.text())));
    }
}

#[test]
fn the_judge_prefers_what_is_right() {
    let world = World::embedded();
    let split = split(500);
    let judge = WorldJudge::new(split.tastes.clone(), 1);
    let catalog = world.catalog();
    let candidates: Vec<&CatalogItem> = catalog.iter().collect();
    let (mut all, mut right) = (BTreeMap::<_, f64>::new(), BTreeMap::<_, f64>::new());
    for example in &split.train {
        let ratings = judge.rate(example, &candidates).unwrap();
        assert_eq!(ratings.len(), catalog.len());
        ratings.iter().for_each(|rating| {
            *all.entry(*rating).or_default() += 1.0 / 500.0 / catalog.len() as f64
        });
        let of = |item: &Item| ratings[world.find(item).unwrap().index()];
        let share = 1.0 / 500.0 / example.ground_truth.len() as f64;
        example
            .ground_truth
            .iter()
            .for_each(|item| *right.entry(of(item)).or_default() += share);
    }
    eprintln!("ratings of all films {all:.2?}\nratings of right films {right:.2?}");
    for (rating, share) in [
        (None, 0.05),
        (Some(2), 0.03),
        (Some(1), 0.07),
        (Some(0), 0.24),
        (Some(-1), 0.29),
    ] {
        assert!(
            (all[&rating] - share).abs() < 0.01,
            "{rating:?}: {}",
            all[&rating]
        );
    }
    let good = right[&Some(2)] + right[&Some(1)];
    assert!(
        (0.5..0.9).contains(&good),
        "neither blind nor all-knowing: {good}"
    );
}

#[test]
fn a_rating_depends_on_the_film_and_not_on_its_place() {
    let world = World::embedded();
    let split = split(3);
    let judge = WorldJudge::new(split.tastes.clone(), 1);
    let catalog = world.catalog();
    let forwards: Vec<&CatalogItem> = catalog.iter().collect();
    let backwards: Vec<&CatalogItem> = catalog.iter().rev().collect();
    let mut ratings = judge.rate(&split.train[0], &backwards).unwrap();
    ratings.reverse();
    assert_eq!(judge.rate(&split.train[0], &forwards).unwrap(), ratings);

    let outside = world.elsewhere()[0].item.clone();
    assert_eq!(judge.rate(&split.train[0], &[&outside]).unwrap(), [None]);
    assert_eq!(world.find(&world.name(ItemId(9))), Some(ItemId(9)));
}

#[test]
fn the_judge_says_which_conversation_it_does_not_know() {
    let example = &split(1).train[0];
    let error = WorldJudge::new(Default::default(), 1)
        .rate(example, &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("`world-train-1-1` is not known"), "{error}");
}

#[test]
fn every_title_is_read_back_from_a_list() {
    let world = World::embedded();
    let names: Vec<Item> = world
        .films()
        .iter()
        .chain(world.elsewhere())
        .map(Film::name)
        .collect();
    let list = ListFormat::default().parse(&ListFormat::default().render(&names));
    let items: Vec<Item> = list.entries.into_iter().map(|entry| entry.item).collect();
    assert_eq!(items, names);
}
