use std::ops::Range;

use convrec_core::ItemId;
use serde::{Deserialize, Serialize};

use super::softmax::accumulate;
use crate::ScoreRows;
use crate::score::block_rows;

/// The way in which the losses of conversations become one number. The paper does not say which it
/// uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// The mean. The penalty weighs the same for any number of conversations.
    #[default]
    Mean,
    /// The sum. The penalty fades as conversations are added.
    Sum,
}

/// The function that Adjust minimises. It is the mean or sum over conversations i of the mean over
/// their ground truth j of -log softmax(w * s_i + b)_j, plus reg (||w - 1||^2 + ||b||^2). It is
/// strictly convex for reg > 0.
#[derive(Debug)]
pub struct Objective<'a, R> {
    rows: &'a R,
    ground_truth: &'a [Vec<ItemId>],
    reg: f64,
    scale: f64,
}

/// The number of parts of the rows, about. It does not depend on the number of threads, so that
/// sums are the same everywhere.
const PARTS: usize = 64;

impl<'a, R: ScoreRows> Objective<'a, R> {
    /// The objective on `rows` with the ground truth of each row.
    ///
    /// # Panics
    /// When the number of lists of ground truth differs from that of rows, or a list is empty or
    /// names an item outside the catalog.
    pub fn new(
        rows: &'a R,
        ground_truth: &'a [Vec<ItemId>],
        reg: f64,
        reduction: Reduction,
    ) -> Self {
        assert_eq!(
            rows.n_rows(),
            ground_truth.len(),
            "as many lists of ground truth as rows"
        );
        let in_catalog = |items: &Vec<ItemId>| {
            !items.is_empty() && items.iter().all(|i| i.index() < rows.n_items())
        };
        assert!(
            ground_truth.iter().all(in_catalog),
            "each row needs ground truth, and all of it in the catalog"
        );
        let scale = match reduction {
            Reduction::Mean => 1.0 / rows.n_rows().max(1) as f64,
            Reduction::Sum => 1.0,
        };
        Self {
            rows,
            ground_truth,
            reg,
            scale,
        }
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
        let rows_per_part = n_rows
            .div_ceil(PARTS)
            .max(1)
            .next_multiple_of(block_rows(n_items));
        let (loss, mut gradient) = self.sum(x, 0..n_rows.div_ceil(rows_per_part), rows_per_part);
        let mut value = self.scale * loss;
        gradient
            .iter_mut()
            .for_each(|gradient| *gradient *= self.scale);
        for (i, (x, gradient)) in x.iter().zip(&mut gradient).enumerate() {
            let away = if i < n_items { x - 1.0 } else { *x };
            value += self.reg * away * away;
            *gradient += 2.0 * self.reg * away;
        }
        (value, gradient)
    }

    /// Loss and gradient summed over some parts, in halves of halves. The order of additions is the
    /// same on any number of threads, and each thread holds few gradients.
    fn sum(&self, x: &[f64], parts: Range<usize>, rows_per_part: usize) -> (f64, Vec<f64>) {
        if parts.len() <= 1 {
            return self.part(
                x,
                parts.start * rows_per_part..(parts.end * rows_per_part).min(self.rows.n_rows()),
            );
        }
        let middle = parts.start + parts.len() / 2;
        let ((loss, mut gradient), (more, right)) = rayon::join(
            || self.sum(x, parts.start..middle, rows_per_part),
            || self.sum(x, middle..parts.end, rows_per_part),
        );
        gradient
            .iter_mut()
            .zip(right)
            .for_each(|(sum, right)| *sum += right);
        (loss + more, gradient)
    }

    /// Loss and gradient summed over some rows.
    fn part(&self, x: &[f64], rows: Range<usize>) -> (f64, Vec<f64>) {
        let n_items = self.rows.n_items();
        let (w, b) = x.split_at(n_items);
        let (mut loss, mut gradient) = (0.0, vec![0.0; x.len()]);
        let (by_w, by_b) = gradient.split_at_mut(n_items);
        let per_block = block_rows(n_items).min(rows.len());
        let mut block = vec![R::Score::default(); per_block * n_items]; // [rows, C]
        let mut scratch = vec![0.0; n_items];
        for start in rows.clone().step_by(per_block.max(1)) {
            let range = start..(start + per_block).min(rows.end);
            let block = &mut block[..range.len() * n_items];
            self.rows.read(range.clone(), block);
            for (scores, items) in block.chunks_exact(n_items).zip(&self.ground_truth[range]) {
                loss += accumulate(scores, w, b, &mut scratch, by_w, by_b);
                let share = 1.0 / items.len() as f64;
                for i in items.iter().map(|item| item.index()) {
                    let score = scores[i].into();
                    loss -= share * (w[i] * score + b[i]);
                    by_w[i] -= share * score;
                    by_b[i] -= share;
                }
            }
        }
        (loss, gradient)
    }
}
