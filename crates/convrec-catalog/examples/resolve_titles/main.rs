//! Measures how well inexact names are resolved. They are made from real catalogs by rule, or are
//! GPT-4's lines labelled by hand.
//!
//! ```sh
//! cargo run --release -p convrec-catalog --example resolve_titles              # the tables of the test half
//! cargo run --release -p convrec-catalog --example resolve_titles -- --fit     # the weights, from the training half
//! cargo run --release -p convrec-catalog --example resolve_titles -- --export FOLDER   # for rapidfuzz_ratios.py
//! cargo run --release -p convrec-catalog --example resolve_titles -- --wrong   # the wrong decisions, one a line
//! ```
//!
//! Data is read from `CONVREC_DATA`.

mod fit;
mod judge;
mod mutate;
mod queries;

use std::collections::BTreeMap;
use std::path::Path;

use convrec_catalog::{CONFIDENT, FEATURES};
use convrec_core::files::write_atomic;
use judge::{Counts, Judged};
use queries::QuerySet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sets = queries::all().ok_or("no data; set CONVREC_DATA to the data folder")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => tables(&judge::guesses(&sets)),
        ["--fit"] => {
            let weights = fit::fit(&sets);
            FEATURES
                .iter()
                .zip(weights)
                .for_each(|(name, weight)| println!("{weight:8.3}, // {name}"));
        }
        ["--export", folder] => export(&sets, Path::new(folder))?,
        ["--wrong"] => wrong(&sets),
        _ => return Err("expected nothing, --fit, --export FOLDER or --wrong".into()),
    }
    Ok(())
}

fn tables(judged: &[Judged<'_>]) {
    let test: Vec<&Judged> = judged
        .iter()
        .filter(|judged| !judged.query.training)
        .collect();
    println!("confidence of {CONFIDENT} or more, test half\n");
    println!(
        "| names | n | correct item | precision | abstained | false accepts \
         |\n|---|---|---|---|---|---|"
    );
    let mut groups: BTreeMap<(bool, &str), Vec<&Judged>> = BTreeMap::new();
    for &judged in &test {
        groups
            .entry((judged.query.answer.is_none(), judged.query.category))
            .or_default()
            .push(judged);
        groups
            .entry((true, judged.source))
            .or_default()
            .push(judged);
    }
    for ((_, name), group) in &groups {
        row(name, Counts::of(group.iter().copied(), CONFIDENT));
    }
    row("all", Counts::of(test.iter().copied(), CONFIDENT));

    println!("\n| confidence | names | correct in that range |\n|---|---|---|");
    for low in [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98] {
        let high = if low < 0.9 {
            low + 0.1
        } else if low < 0.95 {
            0.98
        } else {
            1.01
        };
        let inside: Vec<&&Judged> = test
            .iter()
            .filter(|j| j.guess.best.is_some() && (low..high).contains(&j.guess.confidence))
            .collect();
        let correct = inside
            .iter()
            .filter(|j| j.guess.best == j.query.answer)
            .count() as f64
            / inside.len() as f64;
        let mean = inside.iter().map(|j| j.guess.confidence).sum::<f64>() / inside.len() as f64;
        println!("| {mean:.3} | {} | {correct:.3} |", inside.len());
    }
    println!(
        "\n| threshold | training: correct decisions | test | recall | precision | false accepts \
         |\n|---|---|---|---|---|---|"
    );
    for threshold in [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9] {
        let of = |training| {
            Counts::of(
                judged.iter().filter(move |j| j.query.training == training),
                threshold,
            )
        };
        let (train, test) = (of(true), of(false));
        println!(
            "| {threshold} | {:.4} | {:.4} | {:.3} | {:.3} | {:.3} |",
            train.accuracy(),
            test.accuracy(),
            test.recall(),
            test.precision(),
            test.false_accept_rate()
        );
    }
}

fn row(name: &str, counts: Counts) {
    let share = |value: f64| {
        if value.is_nan() {
            "-".into()
        } else {
            format!("{value:.3}")
        }
    };
    println!(
        "| {name} | {} | {} | {} | {} | {} |",
        counts.n(),
        share(counts.recall()),
        share(counts.precision()),
        share(counts.abstained()),
        share(counts.false_accept_rate())
    );
}

fn wrong(sets: &[QuerySet]) {
    for set in sets {
        for judged in judge::guesses(std::slice::from_ref(set)) {
            let id = judged.guess.at_least(CONFIDENT);
            if id != judged.query.answer {
                let name = |id: Option<convrec_core::ItemId>| {
                    id.map_or("-".into(), |id| set.catalog[id].item().to_string())
                };
                let half = if judged.query.training {
                    "training"
                } else {
                    "test"
                };
                println!(
                    "{half}\t{}\t{}\t{}\tis {}\tguessed {} {:.2}",
                    set.source,
                    judged.query.category,
                    judged.query.name,
                    name(judged.query.answer),
                    name(judged.guess.best),
                    judged.guess.confidence
                );
            }
        }
    }
}

/// One file for each set: the catalog's items, then the queries.
fn export(sets: &[QuerySet], folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    for set in sets {
        let items: Vec<_> = set.catalog.iter().map(|(_, item)| item.item()).collect();
        let all = serde_json::json!({"source": set.source, "items": items, "queries": set.queries});
        let name = set.source.replace([' ', ',', '\''], "_");
        write_atomic(folder.join(format!("{name}.json")), |out| {
            Ok(write!(out, "{all}")?)
        })?;
    }
    Ok(())
}
