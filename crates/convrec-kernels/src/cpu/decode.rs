//! Attention of one new token a row over a prompt that several rows share and over the row's own earlier tokens.

use std::ops::Range;

use rayon::prelude::*;

use super::columns::softmax;
use super::heads::Heads;
use super::matrix::{Matrix, MatrixMut, PARALLEL_WORK, Write, multiply};

/// Queries of a task: as many as the widest vector holds, which meet the prompt's keys together.
const QUERIES: usize = 16;

/// P prompts with G rows each, B = P G; rows of a prompt are adjacent.
#[derive(Clone, Copy)]
pub(crate) struct Cached<'a> {
    /// `[P, Hk, Tp, d]`
    pub(crate) prompt_k: Heads<'a>,
    pub(crate) prompt_v: Heads<'a>,
    /// Of each prompt, at most Tp.
    pub(crate) lengths: &'a [usize],
    /// `[B, Hk, capacity, d]`
    pub(crate) own_k: Heads<'a>,
    pub(crate) own_v: Heads<'a>,
    /// How many of the own tokens are there.
    pub(crate) filled: usize,
}

/// The new tokens' queries of one key/value head for some rows of one prompt.
struct Task {
    prompt: usize,
    rows: Range<usize>,
    head: usize,
}

impl Cached<'_> {
    /// q `[B, H, d]` to `[B, H, d]`.
    pub(crate) fn attend(&self, q: &[f32]) -> Vec<f32> {
        let (batch, kv_heads) = (self.own_k.batch, self.own_k.heads);
        // Elements of a row's queries that share a key/value head.
        let part = q.len() / (batch * kv_heads);
        let tasks = self.tasks(part / self.own_k.width);
        let work = q.len() * (self.prompt_k.length + self.filled) / tasks.len();
        let mixed: Vec<(Task, Vec<f32>)> = tasks
            .into_par_iter()
            .with_min_len((PARALLEL_WORK / work).max(1))
            .map(|task| {
                let row = |row: usize| &q[(row * kv_heads + task.head) * part..][..part];
                let queries = task.rows.clone().flat_map(row).copied().collect::<Vec<f32>>();
                let mixed = self.attend_together(&task, &queries);
                (task, mixed)
            })
            .collect();
        let mut out = vec![0.0; q.len()];
        for (task, mixed) in mixed {
            for (row, mixed) in task.rows.zip(mixed.chunks_exact(part)) {
                out[(row * kv_heads + task.head) * part..][..part].copy_from_slice(mixed);
            }
        }
        out
    }

    /// `group`: query heads per key/value head.
    fn tasks(&self, group: usize) -> Vec<Task> {
        let rows = self.own_k.batch / self.prompt_k.batch;
        let together = (QUERIES / group).max(1);
        let mut tasks = vec![];
        for prompt in 0..self.prompt_k.batch {
            for first in (prompt * rows..(prompt + 1) * rows).step_by(together) {
                let rows = first..(first + together).min((prompt + 1) * rows);
                tasks.extend((0..self.own_k.heads).map(|head| Task { prompt, rows: rows.clone(), head }));
            }
        }
        tasks
    }

    /// queries `[rows group, d]` to the same shape.
    fn attend_together(&self, task: &Task, queries: &[f32]) -> Vec<f32> {
        let d = self.own_k.width;
        let (n, group) = (queries.len() / d, queries.len() / d / task.rows.len());
        let (length, width) = (self.lengths[task.prompt], n.next_multiple_of(QUERIES));
        let view = Matrix::dense(queries, d);
        // A row of scores for every key, a column for every query.
        let mut scores = vec![0.0; (length + self.filled) * width];
        let (prompt, own) = scores.split_at_mut(length * width);
        let keys = self.prompt_k.first_rows(task.prompt, task.head, length);
        multiply(keys, view.transposed(), MatrixMut::strided(prompt, n, width), Write::Replace);
        for (m, row) in task.rows.clone().enumerate() {
            let keys = self.own_k.first_rows(row, task.head, self.filled);
            let queries = view.slice_rows(m * group..(m + 1) * group);
            let own = MatrixMut::strided(&mut own[m * group..], group, width);
            multiply(keys, queries.transposed(), own, Write::Replace);
        }
        softmax(&mut scores, width, 1.0 / (d as f32).sqrt(), &mut vec![0.0; n]);
        let (prompt, own) = scores.split_at(length * width);
        let mut out = vec![0.0; queries.len()];
        let weights = Matrix::strided(prompt, length, n, width);
        let values = self.prompt_v.first_rows(task.prompt, task.head, length);
        multiply(weights.transposed(), values, MatrixMut::dense(&mut out, d), Write::Replace);
        for ((m, row), out) in task.rows.clone().enumerate().zip(out.chunks_exact_mut(group * d)) {
            let weights = Matrix::strided(&own[m * group..], self.filled, group, width);
            let values = self.own_v.first_rows(row, task.head, self.filled);
            multiply(weights.transposed(), values, MatrixMut::dense(out, d), Write::Add);
        }
        out
    }
}
