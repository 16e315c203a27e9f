//! Logits of some tokens a row. Only the rows of the output matrix that are asked for are read.
//! Where rows ask for nearly the same tokens, the logits are one product of matrices.

use std::borrow::Cow;

use rayon::prelude::*;

use super::head::Slopes;
use super::linear::four_dots;
use super::matrix::{Matrix, product};
use super::simd::simd_fn;

/// Rows from which one product is worth its preparation.
const SHARED_ROWS: usize = 8;

/// The inputs: hidden `[M, D]`, weight `[V, D]`, the allowed tokens of each row, a positive
/// temperature.
#[derive(Clone, Copy)]
pub(crate) struct SparseHead<'a> {
    pub(crate) hidden: &'a [f32],
    pub(crate) weight: &'a [f32],
    pub(crate) width: usize,
    pub(crate) allowed: &'a [Vec<u32>],
    /// What is added to the logits of the allowed tokens of each row; empty where nothing is.
    pub(crate) prior: &'a [Vec<f32>],
    pub(crate) temperature: f32,
}

/// The results of the forward pass: `[M]` each, and the probabilities of the allowed tokens of each
/// row.
pub(crate) struct SparseLogProbs {
    pub(crate) log_probs: Vec<f32>,
    pub(crate) entropies: Vec<f32>,
    pub(crate) probabilities: Vec<Vec<f32>>,
}

impl SparseHead<'_> {
    fn hidden(&self, row: usize) -> &[f32] {
        &self.hidden[row * self.width..][..self.width]
    }

    fn weight(&self, token: u32) -> &[f32] {
        &self.weight[token as usize * self.width..][..self.width]
    }

    /// The logits of each row's allowed tokens, without the prior and not divided by the
    /// temperature.
    pub(crate) fn logits(&self) -> Vec<Vec<f32>> {
        let Some(shared) = Shared::new(self) else {
            return self
                .allowed
                .par_iter()
                .enumerate()
                .map(|(row, tokens)| self.logits_of(row, tokens))
                .collect();
        };
        let weight = Matrix::dense(&shared.weight, self.width);
        let all = product(Matrix::dense(self.hidden, self.width), weight.transposed()); // [M, U]
        let rows = all.par_chunks(shared.tokens.len()).zip(self.allowed);
        rows.map(|(row, tokens)| {
            tokens
                .iter()
                .map(|token| row[shared.place[*token as usize]])
                .collect()
        })
        .collect()
    }

    fn logits_of(&self, row: usize, tokens: &[u32]) -> Vec<f32> {
        let mut logits = vec![0.0; tokens.len()];
        for (tokens, logits) in tokens.chunks(4).zip(logits.chunks_mut(4)) {
            // Tokens beyond the last are computed again rather than treated apart.
            let weights = [0, 1, 2, 3].map(|n| self.weight(tokens[n.min(tokens.len() - 1)]));
            let mut four = [0.0; 4];
            four_dots(self.hidden(row), weights, &mut four);
            logits
                .iter_mut()
                .zip(four)
                .for_each(|(logit, dot)| *logit = dot);
        }
        logits
    }

    /// `targets` are places in each row's allowed tokens.
    pub(crate) fn log_probs(&self, targets: &[usize]) -> SparseLogProbs {
        let rows = self.logits().into_par_iter().zip(targets).enumerate().map(
            |(row, (mut scores, target))| {
                if let Some(prior) = self.prior.get(row) {
                    scores
                        .iter_mut()
                        .zip(prior)
                        .for_each(|(score, x)| *score += x);
                }
                scores
                    .iter_mut()
                    .for_each(|score| *score /= self.temperature);
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exponentials: Vec<f32> =
                    scores.iter().map(|score| (score - max).exp()).collect();
                let sum: f64 = exponentials.iter().map(|e| f64::from(*e)).sum();
                let log_sum = sum.ln();
                let weighted: f64 = exponentials
                    .iter()
                    .zip(&scores)
                    .map(|(e, score)| f64::from(*e) * f64::from(score - max))
                    .sum();
                let log_prob = (f64::from(scores[*target] - max) - log_sum) as f32;
                let probabilities = exponentials
                    .iter()
                    .map(|e| (f64::from(*e) / sum) as f32)
                    .collect();
                (log_prob, (log_sum - weighted / sum) as f32, probabilities)
            },
        );
        let rows: Vec<(f32, f32, Vec<f32>)> = rows.collect();
        let mut result = SparseLogProbs {
            log_probs: vec![],
            entropies: vec![],
            probabilities: vec![],
        };
        for (log_prob, entropy, probabilities) in rows {
            result.log_probs.push(log_prob);
            result.entropies.push(entropy);
            result.probabilities.push(probabilities);
        }
        result
    }

    /// The gradients of hidden and weight, from those of log-probabilities and entropies, as
    /// [`Head`](super::Head) has them. The second is left out (empty) where the weight is
    /// frozen.
    pub(crate) fn backward(
        &self,
        targets: &[usize],
        probabilities: &[Vec<f32>],
        slopes: &Slopes<'_>,
        frozen: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let slope = |row: usize, n: usize| {
            let (hit, p) = (
                if targets[row] == n { 1.0 } else { 0.0 },
                probabilities[row][n],
            );
            ((hit - p) * slopes.of_log_prob(row) + slopes.through_entropy(row, p))
                / self.temperature
        };
        if let Some(shared) = Shared::new(self) {
            return self.shared_backward(&shared, slope, frozen);
        }
        let mut d_hidden = vec![0.0; self.hidden.len()];
        d_hidden
            .par_chunks_mut(self.width)
            .enumerate()
            .for_each(|(row, d_hidden)| {
                let terms = self.allowed[row].iter().enumerate();
                add_scaled(
                    d_hidden,
                    terms.map(|(n, token)| (slope(row, n), self.weight(*token))),
                );
            });
        if frozen {
            return (d_hidden, vec![]);
        }
        // The inverse: the rows that allow each token.
        let mut uses: Vec<(u32, u32, u32)> =
            Vec::with_capacity(self.allowed.iter().map(Vec::len).sum());
        for (row, tokens) in self.allowed.iter().enumerate() {
            uses.extend(
                tokens
                    .iter()
                    .enumerate()
                    .map(|(n, token)| (*token, row as u32, n as u32)),
            );
        }
        uses.par_sort_unstable();
        let mut d_weight = vec![0.0; self.weight.len()];
        let mut rest = d_weight.as_mut_slice();
        let mut passed = 0;
        let mut tasks = vec![];
        for uses in uses.chunk_by(|a, b| a.0 == b.0) {
            let token = uses[0].0 as usize;
            let (row, behind) = rest.split_at_mut((token + 1 - passed) * self.width);
            rest = behind;
            tasks.push((&mut row[(token - passed) * self.width..], uses));
            passed = token + 1;
        }
        tasks.into_par_iter().for_each(|(d_weight, uses)| {
            let term = |(_, row, n): &(u32, u32, u32)| {
                (
                    slope(*row as usize, *n as usize),
                    self.hidden(*row as usize),
                )
            };
            add_scaled(d_weight, uses.iter().map(term));
        });
        (d_hidden, d_weight)
    }

    /// [`backward`](Self::backward) by products of matrices.
    fn shared_backward(
        &self,
        shared: &Shared<'_>,
        slope: impl Fn(usize, usize) -> f32 + Sync,
        frozen: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let width = shared.tokens.len();
        let mut slopes = vec![0.0; self.allowed.len() * width]; // [M, U]
        slopes
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(row, slopes)| {
                let tokens = self.allowed[row].iter().enumerate();
                tokens.for_each(|(n, token)| slopes[shared.place[*token as usize]] = slope(row, n));
            });
        let slopes = Matrix::dense(&slopes, width);
        let d_hidden = product(slopes, Matrix::dense(&shared.weight, self.width));
        if frozen {
            return (d_hidden, vec![]);
        }
        let theirs = product(slopes.transposed(), Matrix::dense(self.hidden, self.width)); // [U, D]
        let mut d_weight = vec![0.0; self.weight.len()];
        for (token, row) in shared.tokens.iter().zip(theirs.chunks(self.width)) {
            d_weight[*token as usize * self.width..][..self.width].copy_from_slice(row);
        }
        (d_hidden, d_weight)
    }
}

/// The U tokens that some row allows, where most rows allow most of them.
struct Shared<'a> {
    tokens: Vec<u32>,
    /// The place of each of these tokens; other entries have no meaning. Shape `[V]`.
    place: Vec<usize>,
    /// Their rows of the output matrix. Shape `[U, D]`.
    weight: Cow<'a, [f32]>,
}

impl<'a> Shared<'a> {
    fn new(head: &SparseHead<'a>) -> Option<Self> {
        if head.allowed.len() < SHARED_ROWS {
            return None;
        }
        let vocabulary = head.weight.len() / head.width;
        let mut is_allowed = vec![false; vocabulary];
        head.allowed
            .iter()
            .flatten()
            .for_each(|token| is_allowed[*token as usize] = true);
        let mut tokens: Vec<u32> = (0..vocabulary as u32)
            .filter(|token| is_allowed[*token as usize])
            .collect();
        let asked: usize = head.allowed.iter().map(Vec::len).sum();
        if 2 * asked < tokens.len() * head.allowed.len() {
            return None;
        }
        let (first, last) = (*tokens.first()?, *tokens.last()?);
        // Tokens that lie together are not copied, and a few between them cost less than a copy.
        let span = (last - first) as usize + 1;
        let lie_together = span <= tokens.len() + tokens.len() / 4;
        if lie_together {
            tokens = (first..=last).collect();
        }
        let mut place = vec![0; vocabulary];
        tokens
            .iter()
            .enumerate()
            .for_each(|(n, token)| place[*token as usize] = n);
        let weight = if lie_together {
            Cow::Borrowed(&head.weight[first as usize * head.width..][..span * head.width])
        } else {
            let mut weight = Vec::with_capacity(tokens.len() * head.width);
            let rows = tokens.iter().map(|token| head.weight(*token));
            rows.for_each(|row| weight.extend_from_slice(row));
            Cow::Owned(weight)
        };
        Some(Self {
            tokens,
            place,
            weight,
        })
    }
}

/// Adds each vector times its factor to `out`, four at a time so that `out` is read and written a
/// quarter as often.
fn add_scaled<'a>(out: &mut [f32], terms: impl Iterator<Item = (f32, &'a [f32])>) {
    let mut four = [(0.0, &[][..]); 4];
    let mut n = 0;
    for term in terms {
        four[n] = term;
        n += 1;
        if n == 4 {
            add_four(
                out,
                four.map(|(_, vector)| vector),
                four.map(|(factor, _)| factor),
            );
            n = 0;
        }
    }
    for (factor, vector) in four.into_iter().take(n) {
        add_four(out, [vector; 4], [factor, 0.0, 0.0, 0.0]);
    }
}

simd_fn! {
    fn add_four(simd: S, out: &mut [f32], vectors: [&[f32]; 4], factors: [f32; 4]) {
        let (whole, rest) = S::as_mut_simd_f32s(out);
        let vectors = [0, 1, 2, 3].map(|n| S::as_simd_f32s(vectors[n]));
        let factors = [0, 1, 2, 3].map(|n| simd.splat_f32s(factors[n]));
        for (n, out) in whole.iter_mut().enumerate() {
            for (vector, factor) in vectors.iter().zip(&factors) {
                *out = simd.mul_add_e_f32s(vector.0[n], *factor, *out);
            }
        }
        let mut last = simd.partial_load_f32s(rest);
        for (vector, factor) in vectors.iter().zip(&factors) {
            last = simd.mul_add_e_f32s(simd.partial_load_f32s(vector.1), *factor, last);
        }
        simd.partial_store_f32s(rest, last);
    }
}
