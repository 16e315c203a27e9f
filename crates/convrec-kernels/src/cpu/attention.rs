//! Causal attention of grouped heads, block by block, and its gradients. No score matrix outlives its block: the
//! backward pass computes the probabilities again from the log-sum-exps (Dao et al., arXiv 2205.14135).

use std::ops::Range;

use rayon::prelude::*;

use super::columns::{exponentials, per_column, softmax, softmax_backward};
use super::elementwise::{Product, sum};
use super::heads::{Heads, HeadsMut};
use super::matrix::{Matrix, MatrixMut, Write, multiply};

/// Queries side by side in a block; narrow, as half of the last keys of a block are hidden from its queries.
const COLUMNS: usize = 64;

/// Queries `[B, H, T, d]`, keys and values `[B, Hk, T, d]`.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) q: Heads<'a>,
    pub(crate) k: Heads<'a>,
    pub(crate) v: Heads<'a>,
}

/// Gradients, each in the memory order `[B, T, heads, d]`.
pub(crate) struct Gradients {
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
}

/// Scratch of one task, `[T, COLUMNS]` each.
struct Scratch {
    probabilities: Vec<f32>,
    gradients: Vec<f32>,
}

impl Attention<'_> {
    fn scale(&self) -> f32 {
        1.0 / (self.q.width as f32).sqrt()
    }

    /// Query heads per key/value head.
    fn group(&self) -> usize {
        self.q.heads / self.k.heads
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let length = self.q.length;
        (0..length).step_by(COLUMNS).map(move |first| first..(first + COLUMNS).min(length))
    }

    /// The output in the memory order `[B, T, H, d]` and the log-sum-exps of the scaled scores `[B, H, T]`.
    pub(crate) fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let Heads { batch, heads, length, width, .. } = self.q;
        let mut out = vec![0.0; batch * length * heads * width];
        let mut log_sum_exps = vec![0.0; batch * heads * length];
        let parts = HeadsMut::new(&mut out, heads, length, width);
        log_sum_exps.par_chunks_mut(length.max(1)).enumerate().for_each_init(
            || vec![0.0; length * COLUMNS],
            |scores, (n, log_sum_exps)| {
                let (b, h) = (n / heads, n % heads);
                // SAFETY: every (b, h) is one task, and there is one view of it.
                let mut out = unsafe { parts.head(b, h) };
                let [q, k, v] = [self.q.head(b, h), self.k.head(b, h / self.group()), self.v.head(b, h / self.group())];
                for rows in self.blocks() {
                    let scores = &mut scores[..rows.end * COLUMNS];
                    multiply_queries(k, q, &rows, scores);
                    hide(scores, rows.start, f32::NEG_INFINITY);
                    softmax(scores, COLUMNS, self.scale(), &mut log_sum_exps[rows.clone()]);
                    hide(scores, rows.start, 0.0);
                    let probabilities = Matrix::strided(scores, rows.end, rows.len(), COLUMNS).transposed();
                    multiply(probabilities, v.slice_rows(0..rows.end), out.slice_rows(rows), Write::Replace);
                }
            },
        );
        (out, log_sum_exps)
    }

    /// From the gradient of the output `dy`, the output `y` and the log-sum-exps.
    pub(crate) fn backward(&self, dy: Heads<'_>, y: Heads<'_>, log_sum_exps: &[f32]) -> Gradients {
        let Heads { batch, heads, length, width, .. } = self.q;
        let zeros = |heads| vec![0.0; batch * length * heads * width];
        let mut gradients = Gradients { q: zeros(heads), k: zeros(self.k.heads), v: zeros(self.k.heads) };
        let dq = HeadsMut::new(&mut gradients.q, heads, length, width);
        let dk = HeadsMut::new(&mut gradients.k, self.k.heads, length, width);
        let dv = HeadsMut::new(&mut gradients.v, self.k.heads, length, width);
        let scratch = || Scratch { probabilities: vec![0.0; length * COLUMNS], gradients: vec![0.0; length * COLUMNS] };
        (0..batch * self.k.heads).into_par_iter().for_each_init(scratch, |scratch, n| {
            let (b, kv) = (n / self.k.heads, n % self.k.heads);
            // SAFETY: every (b, key/value head) is one task, and there is one view of it.
            let (mut dk, mut dv) = unsafe { (dk.head(b, kv), dv.head(b, kv)) };
            for h in kv * self.group()..(kv + 1) * self.group() {
                // SAFETY: a query head belongs to one key/value head, hence to one task.
                let mut dq = unsafe { dq.head(b, h) };
                let log_sum_exps = &log_sum_exps[(b * heads + h) * length..][..length];
                for rows in self.blocks() {
                    self.block_backward(b, h, rows.clone(), dy, y, &log_sum_exps[rows.clone()], scratch);
                    let part = |values| Matrix::strided(values, rows.end, rows.len(), COLUMNS);
                    let (p, ds) = (part(&scratch.probabilities), part(&scratch.gradients));
                    let (q, k) = (self.q.head(b, h), self.k.head(b, kv));
                    let dy = dy.head(b, h).slice_rows(rows.clone());
                    multiply(p, dy, dv.slice_rows(0..rows.end), Write::Add);
                    multiply(ds, q.slice_rows(rows.clone()), dk.slice_rows(0..rows.end), Write::Add);
                    multiply(ds.transposed(), k.slice_rows(0..rows.end), dq.slice_rows(rows), Write::Replace);
                }
            }
        });
        gradients
    }

    /// Fills scratch with the probabilities of the queries `rows` and the gradients of their scores.
    #[expect(clippy::too_many_arguments, reason = "one block is named by (b, h, rows); the rest is what it needs")]
    fn block_backward(
        &self,
        b: usize,
        h: usize,
        rows: Range<usize>,
        dy: Heads<'_>,
        y: Heads<'_>,
        log_sum_exps: &[f32],
        scratch: &mut Scratch,
    ) {
        let kv = h / self.group();
        let p = &mut scratch.probabilities[..rows.end * COLUMNS];
        let ds = &mut scratch.gradients[..rows.end * COLUMNS];
        multiply_queries(self.k.head(b, kv), self.q.head(b, h), &rows, p);
        exponentials(p, COLUMNS, self.scale(), &per_column(log_sum_exps.iter().copied()), &[1.0; COLUMNS]);
        hide(p, rows.start, 0.0);
        multiply_queries(self.v.head(b, kv), dy.head(b, h), &rows, ds);
        let deltas = per_column(rows.map(|t| sum(Product, [dy.row(b, h, t), y.row(b, h, t)])));
        softmax_backward(p, ds, COLUMNS, self.scale(), &deltas);
    }
}

/// The products of the first `rows.end` rows of `keys` with the given rows of `queries`: out `[rows.end, COLUMNS]`.
fn multiply_queries(keys: Matrix<'_>, queries: Matrix<'_>, rows: &Range<usize>, out: &mut [f32]) {
    let queries = queries.slice_rows(rows.clone());
    multiply(
        keys.slice_rows(0..rows.end),
        queries.transposed(),
        MatrixMut::strided(out, rows.len(), COLUMNS),
        Write::Replace,
    );
}

/// Sets what the queries from `first` on must not see: their later keys.
fn hide(scores: &mut [f32], first: usize, value: f32) {
    for (ahead, row) in scores.chunks_exact_mut(COLUMNS).skip(first).enumerate() {
        row[..ahead].fill(value);
    }
}
