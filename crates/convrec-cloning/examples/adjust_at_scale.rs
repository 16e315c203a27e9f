//! What fitting Adjust costs at a size of your choice: seconds, passes, resident memory.
//!
//! The data are made: items lie in clusters and are as popular as Zipf says; a teacher of limited taste names items near the
//! right one and likes what is popular; a judge rates the best. The scores are what Remap and Reflect make of these.
//!
//! ```sh
//! cargo run --release -p convrec-cloning --example adjust_at_scale -- --conversations 96000 --items 7404 --width 384
//! ```

use std::time::Instant;

use clap::Parser;
use convrec_cloning::{AdjustConfig, Aggregation, FactoredScores, Objective, ScoreRows, fit};
use convrec_core::ItemId;
use ndarray::{Array1, Array2, ArrayViewMut1, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 96_000)]
    conversations: usize,
    #[arg(long, default_value_t = 7_404)]
    items: usize,
    /// Numbers of an embedding.
    #[arg(long, default_value_t = 384)]
    width: usize,
    #[arg(long, default_value_t = 0.01)]
    reg: f64,
    #[arg(long, default_value_t = 1e-6)]
    tolerance: f64,
    /// The sum over conversations instead of their mean.
    #[arg(long)]
    sum: bool,
    /// Hold all scores in memory as f32 instead of making them at every pass.
    #[arg(long)]
    dense: bool,
    /// Threads; all cores where 0.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Clusters of items.
const CLUSTERS: usize = 200;
/// Items that the teacher names, and items that the judge rates.
const NAMED: usize = 20;
const RATED: usize = 100;
const GAMMA: f32 = 0.5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global()?;
    let Arguments { conversations, items, width, seed, .. } = arguments;
    println!("{conversations} conversations, {items} items, width {width}, {} threads", rayon::current_num_threads());

    let start = Instant::now();
    let world = World::new(items, width, seed);
    let (queries, additions, groundtruth) = world.conversations(conversations, seed);
    stage("data made", start);

    let scores = FactoredScores::new(world.items.view(), queries.view(), &additions);
    if arguments.dense {
        let start = Instant::now();
        let mut dense = Array2::zeros((conversations, items)); // [conversations, C]
        let rows = 128.min(conversations);
        dense.axis_chunks_iter_mut(Axis(0), rows).into_par_iter().enumerate().for_each(|(n, mut block)| {
            let range = n * rows..n * rows + block.nrows();
            scores.read(range, block.as_slice_mut().expect("rows lie in order"));
        });
        stage("scores made", start);
        return adjust(&dense, &groundtruth, &arguments);
    }
    adjust(&scores, &groundtruth, &arguments)
}

fn adjust(
    scores: &impl ScoreRows,
    groundtruth: &[Vec<ItemId>],
    arguments: &Arguments,
) -> Result<(), Box<dyn std::error::Error>> {
    let aggregation = if arguments.sum { Aggregation::Sum } else { Aggregation::Mean };
    let x = [vec![1.0; arguments.items], vec![0.0; arguments.items]].concat();
    let start = Instant::now();
    Objective::new(scores, groundtruth, arguments.reg, aggregation).value_and_gradient(&x);
    stage("one pass", start);

    let config =
        AdjustConfig { reg: arguments.reg, aggregation, tolerance: arguments.tolerance, ..AdjustConfig::default() };
    let start = Instant::now();
    let fitted = fit(scores, groundtruth, &config, &|step| {
        println!("  {:>4} objective {:.12e} gradient {:.2e}", step.iteration, step.objective, step.gradient_norm);
    })?;
    stage("fitted", start);
    println!("{:#?}", fitted.report);
    let hash = fitted.adjust.w.iter().chain(&fitted.adjust.b).fold(0, |hash: u64, x| hash.rotate_left(5) ^ x.to_bits());
    println!("hash of the solution's bits: {hash:016x}");
    Ok(())
}

fn stage(what: &str, start: Instant) {
    println!("{what}: {:.1} s; {}", start.elapsed().as_secs_f64(), peak_memory());
}

/// The most that was resident so far, as the system tells; only on Linux.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or("peak memory unknown".into(), |peak| format!("peak resident {}", peak.trim()))
}

struct World {
    /// Of unit length. Shape `[C, D]`.
    items: Array2<f32>,
    /// Cumulated popularity. Shape `[C]`.
    popularity: Vec<f64>,
    /// The items of each cluster.
    clusters: Vec<Vec<usize>>,
}

impl World {
    fn new(items: usize, width: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let centres: Array2<f32> = Array2::from_shape_simple_fn((CLUSTERS, width), || normal(&mut rng));
        let cluster_of: Vec<usize> = (0..items).map(|_| rng.random_range(0..CLUSTERS)).collect();
        let mut embeddings = Array2::zeros((items, width));
        embeddings.outer_iter_mut().into_par_iter().zip(&cluster_of).enumerate().for_each(|(i, (row, &cluster))| {
            noisy(row, &centres.row(cluster).to_owned(), 1.0, &mut stream(seed, i));
        });
        let mut clusters = vec![Vec::new(); CLUSTERS];
        cluster_of.iter().enumerate().for_each(|(item, &cluster)| clusters[cluster].push(item));
        let popularity = (1..=items).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        Self { items: embeddings, popularity: popularity.collect(), clusters }
    }

    /// Queries `[conversations, D]`, additions and ground truth.
    #[allow(clippy::type_complexity)]
    fn conversations(&self, n: usize, seed: u64) -> (Array2<f32>, Vec<Vec<(ItemId, f32)>>, Vec<Vec<ItemId>>) {
        let mut queries = Array2::zeros((n, self.items.ncols()));
        let rest: Vec<_> = queries
            .outer_iter_mut()
            .into_par_iter()
            .enumerate()
            .map(|(i, query)| self.conversation(query, &mut stream(seed ^ 0xc0ffee, i)))
            .collect();
        let (additions, groundtruth) = rest.into_iter().unzip();
        (queries, additions, groundtruth)
    }

    fn conversation(
        &self,
        mut query: ArrayViewMut1<'_, f32>,
        rng: &mut ChaCha8Rng,
    ) -> (Vec<(ItemId, f32)>, Vec<ItemId>) {
        let right: Vec<usize> = (0..rng.random_range(1..3)).map(|_| self.popular(rng)).collect();
        // The conversation is like what is right, but not very.
        noisy(query.view_mut(), &self.items.row(right[0]).to_owned(), 1.5, rng);
        let cluster = &self.clusters[self.cluster_of(right[0])];
        let mut additions = Vec::with_capacity(NAMED + RATED);
        for k in 0..NAMED {
            let named = match rng.random_range(0..10) {
                0 => right[rng.random_range(0..right.len())],
                1..=5 => cluster[(cluster.len() as f64 * rng.random::<f64>().powi(2)) as usize],
                _ => self.popular(rng),
            };
            let weight = 1.0 / ((k + 1) as f32).sqrt();
            query.scaled_add(weight, &self.items.row(named));
            if rng.random_bool(0.5) {
                additions.push((ItemId(named as u32), weight));
            }
        }
        for _ in 0..RATED {
            let item = cluster[rng.random_range(0..cluster.len())];
            let rating = if right.contains(&item) { 2.0 } else { rng.random_range(-2..2) as f32 };
            additions.push((ItemId(item as u32), GAMMA * rating));
        }
        (additions, right.into_iter().map(|item| ItemId(item as u32)).collect())
    }

    fn popular(&self, rng: &mut ChaCha8Rng) -> usize {
        let drawn = rng.random::<f64>() * self.popularity[self.popularity.len() - 1];
        self.popularity.partition_point(|&sum| sum < drawn)
    }

    fn cluster_of(&self, item: usize) -> usize {
        self.clusters.iter().position(|items| items.binary_search(&item).is_ok()).expect("each item has a cluster")
    }
}

/// Writes `centre`, brought to unit length, plus noise of length about `noise`, brought to unit length.
fn noisy(mut row: ArrayViewMut1<'_, f32>, centre: &Array1<f32>, noise: f32, rng: &mut ChaCha8Rng) {
    let scale = noise / (row.len() as f32).sqrt();
    let length = centre.dot(centre).sqrt();
    row.iter_mut().zip(centre).for_each(|(x, centre)| *x = centre / length + scale * normal(rng));
    let length = row.dot(&row).sqrt();
    row.mapv_inplace(|x| x / length);
}

/// About normal: the sum of uniform numbers.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..4).map(|_| rng.random_range(-0.866..0.866_f32)).sum()
}

/// A stream of its own for each thing, so that threads do not matter.
fn stream(seed: u64, index: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index as u64 + 1);
    rng
}
