use std::ops::Range;

use convrec_core::ItemId;
use ndarray::{ArrayBase, Data, Ix2};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Scores over the catalog for many conversations, a row each, read one row at a time: held in memory, or made on demand.
pub trait ScoreRows: Sync {
    /// Number of conversations.
    fn n_rows(&self) -> usize;
    /// Number of catalog items C.
    fn n_items(&self) -> usize;
    /// Writes row `row` into `scores`. Shape `[C]`.
    fn read(&self, row: usize, scores: &mut [f64]);
}

/// A matrix `[conversations, C]` of f32 or f64.
impl<A: Copy + Into<f64> + Sync, S: Data<Elem = A> + Sync> ScoreRows for ArrayBase<S, Ix2> {
    fn n_rows(&self) -> usize {
        self.nrows()
    }

    fn n_items(&self) -> usize {
        self.ncols()
    }

    fn read(&self, row: usize, scores: &mut [f64]) {
        scores.iter_mut().zip(self.row(row)).for_each(|(to, &from)| *to = from.into());
    }
}

/// How the conversations' losses become one number. The paper does not say which it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// Their mean: the penalty weighs the same whatever the number of conversations.
    #[default]
    Mean,
    /// Their sum: the penalty fades as conversations are added.
    Sum,
}

/// What Adjust minimises: agg over conversations i of the mean over their ground truth j of
/// -log softmax(w * s_i + b)_j, plus reg (||w - 1||^2 + ||b||^2). Strictly convex for reg > 0.
pub struct Objective<'a, R> {
    rows: &'a R,
    groundtruth: &'a [Vec<ItemId>],
    reg: f64,
    scale: f64,
}

/// The rows are cut into this many chunks whatever the number of threads, so that sums come out the same everywhere.
const CHUNKS: usize = 64;

impl<'a, R: ScoreRows> Objective<'a, R> {
    /// The objective on `rows` with the ground truth of each row.
    ///
    /// # Panics
    /// When there are not as many lists of ground truth as rows, one is empty or names an item outside the catalog.
    pub fn new(rows: &'a R, groundtruth: &'a [Vec<ItemId>], reg: f64, aggregation: Aggregation) -> Self {
        assert_eq!(rows.n_rows(), groundtruth.len(), "as many lists of ground truth as rows");
        let in_catalog = |items: &Vec<ItemId>| !items.is_empty() && items.iter().all(|i| i.index() < rows.n_items());
        assert!(groundtruth.iter().all(in_catalog), "each row needs ground truth, and all of it in the catalog");
        let scale = match aggregation {
            Aggregation::Mean => 1.0 / rows.n_rows().max(1) as f64,
            Aggregation::Sum => 1.0,
        };
        Self { rows, groundtruth, reg, scale }
    }

    /// The objective at `x` and its gradient there.
    ///
    /// # Shapes
    /// `x` and the gradient `[2 C]`: first w, then b.
    ///
    /// # Panics
    /// When `x` has another length.
    pub fn value_and_gradient(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let (n_rows, n_items) = (self.rows.n_rows(), self.rows.n_items());
        assert_eq!(x.len(), 2 * n_items, "one w and one b for each item");
        let (w, b) = x.split_at(n_items);
        let chunk = n_rows.div_ceil(CHUNKS).max(1);
        let parts: Vec<(f64, Vec<f64>)> = (0..n_rows.div_ceil(chunk))
            .into_par_iter()
            .map(|c| self.chunk(w, b, c * chunk..((c + 1) * chunk).min(n_rows)))
            .collect();
        let (mut value, mut gradient) = (0.0, vec![0.0; x.len()]);
        for (part_value, part_gradient) in parts {
            value += self.scale * part_value;
            gradient.iter_mut().zip(part_gradient).for_each(|(sum, part)| *sum += self.scale * part);
        }
        for (i, (x, gradient)) in x.iter().zip(&mut gradient).enumerate() {
            let away = if i < n_items { x - 1.0 } else { *x };
            value += self.reg * away * away;
            *gradient += 2.0 * self.reg * away;
        }
        (value, gradient)
    }

    /// Sums of the loss and of its gradient over some rows.
    fn chunk(&self, w: &[f64], b: &[f64], rows: Range<usize>) -> (f64, Vec<f64>) {
        let n_items = w.len();
        let (mut loss, mut gradient) = (0.0, vec![0.0; 2 * n_items]);
        let (by_w, by_b) = gradient.split_at_mut(n_items);
        let (mut s, mut p) = (vec![0.0; n_items], vec![0.0; n_items]); // [C]
        for row in rows {
            self.rows.read(row, &mut s);
            for i in 0..n_items {
                p[i] = w[i] * s[i] + b[i];
            }
            let share = 1.0 / self.groundtruth[row].len() as f64;
            let items = || self.groundtruth[row].iter().map(|item| item.index());
            loss -= share * items().map(|i| p[i]).sum::<f64>();
            loss += softmax(&mut p);
            items().for_each(|i| p[i] -= share);
            for i in 0..n_items {
                by_w[i] += p[i] * s[i];
                by_b[i] += p[i];
            }
        }
        (loss, gradient)
    }
}

/// Replaces `z` by softmax(z) and returns log sum exp(z).
fn softmax(z: &mut [f64]) -> f64 {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    z.iter_mut().for_each(|z| *z = (*z - max).exp());
    let sum: f64 = z.iter().sum();
    z.iter_mut().for_each(|z| *z /= sum);
    max + sum.ln()
}
