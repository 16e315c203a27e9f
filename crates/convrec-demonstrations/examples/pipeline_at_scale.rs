//! The time and memory of the whole pipeline at the size of Reddit-v2's training set.
//!
//! Conversations, teacher and judge are scripted and cheap, and embeddings are given (sums of fixed
//! vectors of words). The times are therefore those of the pipeline itself.
//!
//! ```sh
//! cargo run --release -p convrec-demonstrations --example pipeline_at_scale -- --conversations 96000 --items 7404
//! ```

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example, ItemId, Turn};
use convrec_demonstrations::{
    AdjustConfig, Embedder, Judge, Pipeline, PipelineConfig, Ratings, ServiceError, Services,
    Teacher,
};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Groups of items that are liked together.
const TASTES: usize = 200;
const WIDTH: usize = 384;

fn main() -> Result<(), Box<dyn Error>> {
    let number = |name: &str, default: usize| -> Result<usize, Box<dyn Error>> {
        let mut arguments = std::env::args()
            .skip_while(|argument| argument != name)
            .skip(1);
        arguments.next().map_or(Ok(default), |value| {
            value
                .parse()
                .map_err(|e| format!("{name} {value}: {e}").into())
        })
    };
    let (n_items, n_conversations) = (number("--items", 7404)?, number("--conversations", 96_000)?);
    let catalog = Catalog::new((0..n_items).map(item).collect())?;
    let examples: Vec<Example> = (0..n_conversations)
        .map(|place| conversation(&catalog, place))
        .collect();
    println!(
        "{n_conversations} conversations, {n_items} items, embeddings of {WIDTH} numbers; {}",
        memory("before")
    );

    let services = Services {
        teacher: &Forgetful(&catalog),
        embedder: &WordVectors,
        judge: Some(&Generous),
        describer: &(),
    };
    let config = PipelineConfig {
        fit: AdjustConfig::default(),
        ..PipelineConfig::default()
    };
    let started = Instant::now();
    let timed = |what: &str, since: Instant| {
        println!(
            "{what:>24} {:8.1} s; {}",
            since.elapsed().as_secs_f64(),
            memory("")
        )
    };
    let pipeline = Pipeline::new(config, &catalog, services)?;
    timed("catalog embedded", started);

    let start = Instant::now();
    let scored = pipeline.score(&examples, &|_| ())?;
    timed("remap and reflect", start);
    let start = Instant::now();
    let fit = pipeline.fit(&scored, &|_| ())?;
    timed("adjust fitted", start);
    println!("{:>24} {:?}", "", fit.report);
    let start = Instant::now();
    let output = black_box(pipeline.finish(&scored, Some(&fit.adjust)));
    timed("demonstrations", start);
    timed("all", started);
    println!("{:?}", output.counts);
    Ok(())
}

/// Prints the peak of the resident memory, where the system reports it.
fn memory(what: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let gigabytes = kilobytes
        .and_then(|kilobytes| kilobytes.parse::<f64>().ok())
        .map(|kilobytes| kilobytes / 1e6);
    gigabytes.map_or_else(String::new, |gigabytes| {
        format!("peak {what} {gigabytes:.2} GB")
    })
}

fn item(place: usize) -> CatalogItem {
    let taste = place % TASTES;
    let metadata = format!(
        "taste{taste} word{} word{} by person{}",
        place % 997,
        place % 1009,
        place % 3001
    );
    CatalogItem {
        title: format!("Item {place}"),
        year: Some(1950 + (place % 70) as i32),
        genres: vec![],
        metadata,
    }
}

/// An item of a taste; the first ones are the most popular, as 1 / rank.
fn of_taste(catalog: &Catalog, taste: usize, rng: &mut ChaCha8Rng) -> ItemId {
    let each = catalog.len().div_ceil(TASTES);
    let rank = (each as f64).powf(rng.random::<f64>()) as usize - 1;
    ItemId((rank * TASTES + taste).min(catalog.len() - 1) as u32)
}

fn conversation(catalog: &Catalog, place: usize) -> Example {
    let mut rng = ChaCha8Rng::seed_from_u64(place as u64);
    let taste = rng.random_range(0..TASTES);
    let [seen, right] = [0, 1].map(|_| catalog[of_taste(catalog, taste, &mut rng)].item());
    let said = format!(
        "I am looking for something of taste{taste}, like {}. What do you recommend?",
        seen.title
    );
    Example {
        id: format!("c{place}-0"),
        dialog: vec![Turn::user(said)],
        seen: vec![seen],
        ground_truth: vec![right],
    }
}

/// A teacher that knows the taste. Every third item that it names is not in the catalog.
struct Forgetful<'a>(&'a Catalog);

impl Teacher for Forgetful<'_> {
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError> {
        let mut rng = ChaCha8Rng::seed_from_u64(
            example.id.len() as u64 * 31 + example.dialog[0].content.len() as u64,
        );
        let text = &example.dialog[0].content;
        let taste = text
            .split("taste")
            .nth(1)
            .and_then(|rest| rest.split(',').next()?.parse().ok())
            .unwrap_or(0);
        let line = |rank: usize| {
            let named = self.0[of_taste(self.0, taste, &mut rng)].item();
            match rank % 3 {
                0 => format!("{rank}. {} of taste{taste} (1999)\n", named.title),
                _ => format!("{rank}. {named}\n"),
            }
        };
        Ok((1..=n).map(line).collect())
    }
}

/// A judge that rates by the year.
struct Generous;

impl Judge for Generous {
    fn rate(&self, _: &Example, candidates: &[&CatalogItem]) -> Result<Ratings, ServiceError> {
        Ok(candidates
            .iter()
            .map(|item| Some((item.year? % 5 - 2) as i8))
            .collect())
    }
}

/// An embedder that sums a fixed vector for each word.
struct WordVectors;

impl Embedder for WordVectors {
    fn id(&self) -> String {
        "word vectors".into()
    }

    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
        let mut rows = Array2::zeros((texts.len(), WIDTH)); // [texts, D]
        rows.outer_iter_mut()
            .into_par_iter()
            .zip(texts)
            .for_each(|(mut row, text)| {
                for word in text
                    .split(|c: char| !c.is_alphanumeric())
                    .filter(|word| !word.is_empty())
                {
                    let seed = word.bytes().fold(7_u64, |hash, byte| {
                        hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte)
                    });
                    let mut state = seed;
                    row.iter_mut().for_each(|x: &mut f32| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        *x += (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                    });
                }
                let length = row.dot(&row).sqrt();
                if length > 0.0 {
                    row /= length;
                }
            });
        Ok(rows)
    }
}
