//! Log-probabilities of target tokens under `softmax(hidden W^T / temperature)`, without ever
//! holding all logits: they are computed block by block (vocabulary x rows) and, for the gradients,
//! once more.

use std::ops::Range;

use rayon::prelude::*;

use super::columns::{Summary, exponentials, per_column, summarize};
use super::matrix::{Matrix, MatrixMut, Write, multiply};

/// Vocabulary entries in a block: its logits and weights fit the second cache level together.
const ENTRIES: usize = 512;

/// Rows of hidden states side by side in a block.
const COLUMNS: usize = 128;

/// The inputs: hidden `[M, D]`, weight `[V, D]`, targets `[M]` below V, a positive temperature.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) hidden: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) targets: &'a [usize],
    pub(crate) width: usize,
    pub(crate) temperature: f32,
}

/// The outputs, `[M]` each.
pub(crate) struct TokenLogProbs {
    pub(crate) log_probs: Vec<f32>,
    pub(crate) entropies: Vec<f32>,
    pub(crate) log_sum_exps: Vec<f32>,
}

/// Gradients of the log-probabilities and entropies of M rows.
pub(crate) struct Slopes<'a> {
    of_log_probs: &'a [f32],
    /// None where they are all 0, as they are without an entropy bonus.
    of_entropies: Option<&'a [f32]>,
    entropies: &'a [f32],
}

impl<'a> Slopes<'a> {
    /// The slopes from `[2, M]`: log-probabilities and then entropies.
    pub(crate) fn new(both: &'a [f32], entropies: &'a [f32]) -> Self {
        let (of_log_probs, of_entropies) = both.split_at(entropies.len());
        let of_entropies = of_entropies
            .iter()
            .any(|slope| *slope != 0.0)
            .then_some(of_entropies);
        Self {
            of_log_probs,
            of_entropies,
            entropies,
        }
    }

    pub(crate) fn of_log_prob(&self, row: usize) -> f32 {
        self.of_log_probs[row]
    }

    /// The part of the entropy's gradient in a row's logit with this probability:
    /// `dH/dz = -p (log p + H)`.
    pub(crate) fn through_entropy(&self, row: usize, probability: f32) -> f32 {
        match self.of_entropies {
            Some(slopes) if probability > 0.0 => {
                -slopes[row] * probability * (probability.ln() + self.entropies[row])
            }
            _ => 0.0,
        }
    }
}

impl Head<'_> {
    fn rows(&self) -> usize {
        self.targets.len()
    }

    fn vocabulary(&self) -> usize {
        self.weight.len() / self.width
    }

    fn block(&self, n: usize) -> Range<usize> {
        n * ENTRIES..(n * ENTRIES + ENTRIES).min(self.vocabulary())
    }

    fn chunks(&self) -> impl Iterator<Item = Range<usize>> {
        (0..self.rows())
            .step_by(COLUMNS)
            .map(|first| first..(first + COLUMNS).min(self.rows()))
    }

    /// Logits times temperature of some entries for some rows, into `out` `[entries, COLUMNS]`.
    fn scores(&self, entries: Range<usize>, rows: Range<usize>, out: &mut [f32]) {
        let weight = Matrix::dense(self.weight, self.width).slice_rows(entries);
        let hidden = Matrix::dense(self.hidden, self.width).slice_rows(rows.clone());
        multiply(
            weight,
            hidden.transposed(),
            MatrixMut::strided(out, rows.len(), COLUMNS),
            Write::Replace,
        );
    }

    /// The targets in these ranges, as (row - first row, entry - first entry).
    fn hits(
        &self,
        entries: Range<usize>,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (usize, usize)> {
        let targets = self.targets[rows].iter().enumerate();
        let entry = move |target: &usize| {
            target
                .checked_sub(entries.start)
                .filter(|entry| *entry < entries.len())
        };
        targets.filter_map(move |(row, target)| Some((row, entry(target)?)))
    }

    pub(crate) fn log_probs(&self) -> TokenLogProbs {
        let blocks: Vec<Vec<(Summary, f32)>> = (0..self.vocabulary().div_ceil(ENTRIES))
            .into_par_iter()
            .map(|n| self.summarize_block(self.block(n)))
            .collect();
        let mut result = TokenLogProbs {
            log_probs: vec![],
            entropies: vec![],
            log_sum_exps: vec![],
        };
        for (row, target) in self.targets.iter().enumerate() {
            let all = blocks
                .iter()
                .fold(Summary::EMPTY, |all, block| all.merge(block[row].0));
            let log_sum_exp = all.log_sum_exp();
            result
                .log_probs
                .push(blocks[target / ENTRIES][row].1 / self.temperature - log_sum_exp);
            result.entropies.push(all.entropy());
            result.log_sum_exps.push(log_sum_exp);
        }
        result
    }

    /// For every row the summary of a block of entries, and the target's score where it is one of
    /// them.
    fn summarize_block(&self, entries: Range<usize>) -> Vec<(Summary, f32)> {
        let mut scores = vec![0.0; entries.len() * COLUMNS];
        let mut result = Vec::with_capacity(self.rows());
        let mut summaries = [Summary::EMPTY; COLUMNS];
        for rows in self.chunks() {
            self.scores(entries.clone(), rows.clone(), &mut scores);
            summarize(
                &scores,
                COLUMNS,
                1.0 / self.temperature,
                &mut summaries[..rows.len()],
            );
            result.extend(
                summaries[..rows.len()]
                    .iter()
                    .map(|summary| (*summary, 0.0)),
            );
            for (row, entry) in self.hits(entries.clone(), rows.clone()) {
                result[rows.start + row].1 = scores[entry * COLUMNS + row];
            }
        }
        result
    }

    /// The gradients of hidden and weight, from those of log-probabilities (dy) and entropies (de):
    /// with `g = (dy (1[target] - p) - de p (log p + H)) / temperature`, `[M, V]`, they are `g
    /// W` and `g^T hidden`. The second is left out (empty) where the weight is frozen.
    pub(crate) fn backward(
        &self,
        log_sum_exps: &[f32],
        slopes: &Slopes<'_>,
        frozen: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let mut d_weight = if frozen {
            vec![]
        } else {
            vec![0.0; self.weight.len()]
        };
        let blocks = self.vocabulary().div_ceil(ENTRIES);
        // A task adds up the hidden gradients of its share of the vocabulary in a buffer of its
        // own.
        let share = blocks.div_ceil(rayon::current_num_threads()) * ENTRIES;
        let mut shares: Vec<Option<&mut [f32]>> =
            d_weight.chunks_mut(share * self.width).map(Some).collect();
        shares.resize_with(self.vocabulary().div_ceil(share), || None);
        let parts: Vec<Vec<f32>> = shares
            .into_par_iter()
            .enumerate()
            .map(|(n, d_weight)| {
                let entries = n * share..(n * share + share).min(self.vocabulary());
                self.backward_share(entries, log_sum_exps, slopes, d_weight)
            })
            .collect();
        let mut parts = parts.into_iter();
        let mut d_hidden = parts.next().unwrap_or_default();
        for part in parts {
            d_hidden
                .par_iter_mut()
                .zip(part)
                .for_each(|(sum, part)| *sum += part);
        }
        (d_hidden, d_weight)
    }

    /// The backward pass of some entries: fills in `d_weight` and returns this share of the hidden
    /// gradient.
    fn backward_share(
        &self,
        share: Range<usize>,
        log_sum_exps: &[f32],
        slopes: &Slopes<'_>,
        mut d_weight: Option<&mut [f32]>,
    ) -> Vec<f32> {
        let mut d_hidden = vec![0.0; self.hidden.len()];
        let mut scores = vec![0.0; ENTRIES * COLUMNS];
        for start in share.clone().step_by(ENTRIES) {
            let entries = start..(start + ENTRIES).min(share.end);
            let scores = &mut scores[..entries.len() * COLUMNS];
            for rows in self.chunks() {
                self.gradient_block(entries.clone(), rows.clone(), log_sum_exps, slopes, scores);
                let gradient = Matrix::strided(scores, entries.len(), rows.len(), COLUMNS); // [entries, rows]
                let hidden = Matrix::dense(self.hidden, self.width).slice_rows(rows.clone());
                if let Some(d_weight) = &mut d_weight {
                    let place = (start - share.start) * self.width
                        ..(entries.end - share.start) * self.width;
                    multiply(
                        gradient,
                        hidden,
                        MatrixMut::dense(&mut d_weight[place], self.width),
                        Write::Add,
                    );
                }
                let weight = Matrix::dense(self.weight, self.width).slice_rows(entries.clone());
                let d_hidden = &mut d_hidden[rows.start * self.width..rows.end * self.width];
                multiply(
                    gradient.transposed(),
                    weight,
                    MatrixMut::dense(d_hidden, self.width),
                    Write::Add,
                );
            }
        }
        d_hidden
    }

    /// g of some entries for some rows, transposed, into `out` `[entries, COLUMNS]`.
    fn gradient_block(
        &self,
        entries: Range<usize>,
        rows: Range<usize>,
        log_sum_exps: &[f32],
        slopes: &Slopes<'_>,
        out: &mut [f32],
    ) {
        let shift = per_column(log_sum_exps[rows.clone()].iter().copied());
        let factor = per_column(
            slopes.of_log_probs[rows.clone()]
                .iter()
                .map(|dy| -dy / self.temperature),
        );
        self.scores(entries.clone(), rows.clone(), out);
        if slopes.of_entropies.is_some() {
            let ones = [1.0; COLUMNS];
            exponentials(out, COLUMNS, 1.0 / self.temperature, &shift, &ones);
            for column in out.chunks_mut(COLUMNS) {
                for (row, p) in column[..rows.len()].iter_mut().enumerate() {
                    *p = factor[row] * *p
                        + slopes.through_entropy(rows.start + row, *p) / self.temperature;
                }
            }
        } else {
            exponentials(out, COLUMNS, 1.0 / self.temperature, &shift, &factor);
        }
        for (row, entry) in self.hits(entries, rows) {
            out[entry * COLUMNS + row] -= factor[row];
        }
    }
}
