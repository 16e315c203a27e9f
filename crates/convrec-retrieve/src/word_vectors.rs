//! Which item vector the words of a conversation point to.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use convrec_catalog::Catalog;
use convrec_core::{Example, ItemId};

use crate::cooccurrence::ids;
use crate::vectors::{PARTS, VectorScorer, WIDTH, dot};
use crate::words::{words_in, words_of};

/// The fewest training samples in which a word must have been said.
const LEAST_SAMPLES: u32 = 8;
/// The strength of the pull of the map towards 0, as that of so many samples.
const PULL: f64 = 3.0;
/// Steps of conjugate gradients at most.
const MOST_STEPS: usize = 100;
/// The search ends when the residual has become so much smaller.
const TOLERANCE: f64 = 1e-3;

/// A row of numbers, one for each number of a vector.
type Row = [f64; WIDTH];

/// A source of scores by what was accepted where similar words were said. Other than
/// [`WordScorer`](crate::WordScorer) it finds items that were never accepted there, if their
/// neighbours were.
///
/// A linear map takes a conversation's words, each by its inverse frequency, in a vector of unit
/// length, to the mean vector of the items that were accepted. It is learned by ridge regression.
/// The score of an item is the product of its vector and the one that the words point to, or 0
/// where that is negative. Vectors and map leave the same part of the training dialogs out.
#[derive(Debug)]
pub(crate) struct WordVectors {
    /// The places of all words that were said in training.
    places: HashMap<String, usize>,
    samples: Vec<Sample>,
    /// Maps from all samples, then from those outside of each part.
    maps: [OnceLock<Map>; PARTS + 1],
}

/// The words and the relevant items of a training sample.
#[derive(Debug)]
struct Sample {
    part: Option<usize>,
    words: Vec<usize>,
    right: Vec<ItemId>,
}

/// Rows of weights, by word, and the one of a conversation without words.
#[derive(Debug)]
struct Map {
    /// The logarithm of the inverse share of samples that say a word; 0 for rare words.
    weights: Vec<f64>,
    rows: Vec<Row>,
}

impl WordVectors {
    pub(crate) fn new(catalog: &Catalog, training: &[Example], vectors: &VectorScorer) -> Self {
        let mut places = HashMap::new();
        let mut sample = |example: &Example| {
            let place = |word| {
                let next = places.len();
                *places.entry(word).or_insert(next)
            };
            Sample {
                part: vectors.part(example),
                words: said(example).into_iter().map(place).collect(),
                right: ids(catalog, &example.ground_truth),
            }
        };
        let samples = training.iter().map(&mut sample).collect();
        Self {
            places,
            samples,
            maps: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// Shape `[C]`.
    pub(crate) fn scores(&self, example: &Example, vectors: &VectorScorer) -> Vec<f32> {
        let part = vectors.part(example);
        let table = vectors.table_without(part);
        let map = self.maps[part.map_or(0, |part| part + 1)].get_or_init(|| self.map(part, table));
        let known = said(example).into_iter();
        let known: Vec<usize> = known.filter_map(|w| self.places.get(&w).copied()).collect();
        let mut sum = [0.0; WIDTH];
        for (row, x) in unit(&known, &map.weights) {
            add(&mut sum, x, &map.rows[row]);
        }
        let sum = sum.map(|x| x as f32);
        table.iter().map(|row| dot(row, &sum).max(0.0)).collect()
    }

    /// The map from the samples outside of a part, from all of them where there is no part.
    fn map(&self, part: Option<usize>, table: &[[f32; WIDTH]]) -> Map {
        let others = self.samples.iter().filter(|sample| {
            let is_own = part.is_some() && sample.part == part;
            !is_own && !sample.right.is_empty()
        });
        let others: Vec<&Sample> = others.collect();
        let mut counts = vec![0; self.places.len()];
        let words = others.iter().flat_map(|sample| &sample.words);
        words.for_each(|word| counts[*word] += 1);
        let weight = |count: &u32| match *count >= LEAST_SAMPLES {
            true => (others.len() as f64 / f64::from(*count)).ln(),
            false => 0.0,
        };
        let weights: Vec<f64> = counts.iter().map(weight).collect();
        let inputs = others.iter().map(|sample| unit(&sample.words, &weights));
        let inputs: Vec<Vec<(usize, f64)>> = inputs.collect();
        let mut targets = vec![[0.0; WIDTH]; others.len()];
        for (target, sample) in targets.iter_mut().zip(&others) {
            for id in &sample.right {
                let vector = table[id.index()].map(f64::from);
                add(target, 1.0 / sample.right.len() as f64, &vector);
            }
        }
        let rows = ridge(&inputs, &targets, weights.len() + 1);
        Map { weights, rows }
    }
}

/// The words of a conversation but those of seen items' titles, which other sources know better.
fn said(example: &Example) -> BTreeSet<String> {
    let mut words = words_of(example);
    for word in example.seen.iter().flat_map(|item| words_in(&item.title)) {
        words.remove(&word);
    }
    words
}

/// The numbers of a conversation's words, of unit length, and a 1 at the place after all words.
fn unit(words: &[usize], weights: &[f64]) -> Vec<(usize, f64)> {
    let known = words.iter().copied().filter(|word| weights[*word] > 0.0);
    let known: Vec<usize> = known.collect();
    let squares = known.iter().map(|word| weights[*word] * weights[*word]);
    let norm = squares.sum::<f64>().sqrt();
    let numbers = known.iter().map(|word| (*word, weights[*word] / norm));
    numbers.chain([(weights.len(), 1.0)]).collect()
}

fn add(sum: &mut Row, factor: f64, row: &Row) {
    sum.iter_mut()
        .zip(row)
        .for_each(|(sum, x)| *sum += factor * x);
}

/// W that makes |X W - Y|^2 + PULL |W|^2 least, by conjugate gradients for all columns of Y side by
/// side. X is given by the entries of its rows that are not 0, and has `n` columns.
fn ridge(inputs: &[Vec<(usize, f64)>], targets: &[Row], n: usize) -> Vec<Row> {
    let back = |rows: &[Row]| {
        let mut sums = vec![[0.0; WIDTH]; n];
        for (entries, row) in inputs.iter().zip(rows) {
            entries
                .iter()
                .for_each(|(at, x)| add(&mut sums[*at], *x, row));
        }
        sums
    };
    let mut found = vec![[0.0; WIDTH]; n];
    let mut residual = back(targets);
    let mut direction = residual.clone();
    let mut squares = products(&residual, &residual);
    let enough = squares.map(|x| x * TOLERANCE * TOLERANCE);
    for _ in 0..MOST_STEPS {
        let forth = |entries: &Vec<(usize, f64)>| {
            let mut sum = [0.0; WIDTH];
            entries
                .iter()
                .for_each(|(at, x)| add(&mut sum, *x, &direction[*at]));
            sum
        };
        let mut curved = back(&inputs.iter().map(forth).collect::<Vec<_>>());
        for (curved, row) in curved.iter_mut().zip(&direction) {
            add(curved, PULL, row);
        }
        let along = products(&direction, &curved);
        let step = ratio(&squares, &along);
        step_along(&mut found, &step, &direction);
        step_along(&mut residual, &step.map(|x| -x), &curved);
        let left = products(&residual, &residual);
        if left
            .iter()
            .zip(&enough)
            .all(|(left, enough)| left <= enough)
        {
            break;
        }
        let keep = ratio(&left, &squares);
        for (direction, residual) in direction.iter_mut().zip(&residual) {
            for k in 0..WIDTH {
                direction[k] = residual[k] + keep[k] * direction[k];
            }
        }
        squares = left;
    }
    found
}

/// Column by column, the products of two tables.
fn products(a: &[Row], b: &[Row]) -> Row {
    let mut sums = [0.0; WIDTH];
    for (a, b) in a.iter().zip(b) {
        (0..WIDTH).for_each(|k| sums[k] += a[k] * b[k]);
    }
    sums
}

/// 0 where nothing is to be divided.
fn ratio(a: &Row, b: &Row) -> Row {
    std::array::from_fn(|k| if b[k] > 0.0 { a[k] / b[k] } else { 0.0 })
}

fn step_along(rows: &mut [Row], step: &Row, along: &[Row]) {
    for (row, along) in rows.iter_mut().zip(along) {
        (0..WIDTH).for_each(|k| row[k] += step[k] * along[k]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use convrec_core::{CatalogItem, Turn};

    use super::*;

    /// One column against the solution by hand: X = [[1, 0], [1, 1]], y = (1, 2), pull 3. The
    /// equations are 5a + b = 3, a + 4b = 2.
    #[test]
    fn the_map_solves_its_equations() {
        let inputs = [vec![(0, 1.0)], vec![(0, 1.0), (1, 1.0)]];
        let row = |x: f64| std::array::from_fn(|k| if k == 0 { x } else { 0.0 });
        let found = ridge(&inputs, &[row(1.0), row(2.0)], 2);
        let (a, b) = (found[0][0], found[1][0]);
        assert!((a - 10.0 / 19.0).abs() < 1e-9, "{a}");
        assert!((b - 7.0 / 19.0).abs() < 1e-9, "{b}");
        assert!(found.iter().flatten().all(|x| x.is_finite()));
    }

    /// Nobody who said `space` was given film 2. Others were, beside what those were given.
    #[test]
    fn words_point_to_neighbours_of_what_was_accepted() {
        let film = |n: usize| CatalogItem {
            title: format!("Film {n}"),
            year: Some(1980),
            genres: vec![],
            metadata: String::new(),
        };
        let catalog = Arc::new(Catalog::new((0..6).map(film).collect()).unwrap());
        let item = |n: u32| catalog[ItemId(n)].item();
        let sample = |n: usize, said: &str, seen: u32, right: u32| Example {
            id: format!("d{n}-1"),
            dialog: vec![Turn::user(said)],
            seen: vec![item(seen)],
            ground_truth: vec![item(right)],
        };
        let kinds = [
            ("rockets in space", 0, 1),
            ("anything", 0, 2),
            ("anything", 1, 2),
            ("lovers in paris", 3, 4),
            ("anything", 3, 5),
            ("anything", 4, 5),
        ];
        let training = (0..120).map(|n| {
            let (said, seen, right) = kinds[n % kinds.len()];
            sample(n, said, seen, right)
        });
        let training: Vec<Example> = training.collect();
        let vectors = VectorScorer::of(&catalog, &training);
        let source = WordVectors::new(&catalog, &training, &vectors);
        let asked = Example {
            id: "new-1".into(),
            dialog: vec![Turn::user("space, please")],
            seen: vec![],
            ground_truth: vec![],
        };
        let scores = source.scores(&asked, &vectors);
        assert!(scores[2] > 2.0 * scores[5] && scores[2] > 0.1, "{scores:?}");
    }
}
