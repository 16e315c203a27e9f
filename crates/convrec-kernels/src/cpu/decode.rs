//! Attention of the new tokens of some rows over a prompt that several rows share and over each
//! row's own tokens.

use std::ops::Range;

use rayon::prelude::*;

use super::columns::softmax;
use super::heads::Heads;
use super::matrix::{Matrix, MatrixMut, PARALLEL_WORK, Write, multiply};
use crate::DecodeRow;

/// Queries of a task, as many as the widest vector holds. They meet the prompt's keys together.
const QUERIES: usize = 16;

#[derive(Clone, Copy)]
pub(crate) struct Cached<'a> {
    /// `[S, Hk, d]`
    pub(crate) k: Heads<'a>,
    pub(crate) v: Heads<'a>,
    pub(crate) rows: &'a [DecodeRow],
    /// The number of tokens that a token sees; none where it sees all.
    pub(crate) window: Option<usize>,
}

/// Adjacent rows of one prompt.
struct Task {
    rows: Range<usize>,
    /// Their queries' tokens.
    tokens: Range<usize>,
}

impl Cached<'_> {
    /// q `[M, H, d]` to `[M, H, d]`.
    pub(crate) fn attend(&self, q: Heads<'_>) -> Vec<f32> {
        let (kv_heads, group) = (self.k.heads, q.heads / self.k.heads);
        let tasks = self.tasks(group);
        // Elements of a token's queries that share a key/value head.
        let part = group * q.width;
        let keys = |row: &DecodeRow| row.prompt_length + row.filled;
        let work = q.data.len() * self.rows.iter().map(keys).max().unwrap_or(0)
            / (tasks.len() * kv_heads).max(1);
        let mixed: Vec<Vec<f32>> = (0..tasks.len() * kv_heads)
            .into_par_iter()
            .with_min_len((PARALLEL_WORK / work.max(1)).max(1))
            .map(|n| {
                let (task, kv) = (&tasks[n / kv_heads], n % kv_heads);
                let of_token = |t: usize| &q.data[(t * kv_heads + kv) * part..][..part];
                let queries = task
                    .tokens
                    .clone()
                    .flat_map(of_token)
                    .copied()
                    .collect::<Vec<f32>>();
                self.attend_together(task, kv, group, &queries)
            })
            .collect();
        let mut out = vec![0.0; q.data.len()];
        for (n, mixed) in mixed.into_iter().enumerate() {
            let (task, kv) = (&tasks[n / kv_heads], n % kv_heads);
            for (t, mixed) in task.tokens.clone().zip(mixed.chunks_exact(part)) {
                out[(t * kv_heads + kv) * part..][..part].copy_from_slice(mixed);
            }
        }
        out
    }

    /// The tasks of all rows; `group` is the number of query heads per key/value head.
    fn tasks(&self, group: usize) -> Vec<Task> {
        let mut tasks: Vec<Task> = vec![];
        let mut start = 0;
        for (n, row) in self.rows.iter().enumerate() {
            let tokens = start..start + row.new;
            start = tokens.end;
            match tasks.last_mut() {
                Some(task)
                    if self.rows[task.rows.start].shares_prompt(row)
                        && (tokens.end - task.tokens.start) * group <= QUERIES =>
                {
                    task.rows.end = n + 1;
                    task.tokens.end = tokens.end;
                }
                _ => tasks.push(Task {
                    rows: n..n + 1,
                    tokens,
                }),
            }
        }
        tasks
    }

    /// queries `[tokens group, d]` to the same shape.
    fn attend_together(&self, task: &Task, kv: usize, group: usize, queries: &[f32]) -> Vec<f32> {
        let d = self.k.width;
        let (n, rows) = (queries.len() / d, &self.rows[task.rows.clone()]);
        let (first, width) = (&rows[0], n.next_multiple_of(QUERIES));
        let view = Matrix::dense(queries, d);
        let prompt = first.prompt..first.prompt + first.prompt_length;
        // There is a row of scores for every key and a column for every query. A row's own keys
        // begin behind the prompt's.
        let filled = rows.iter().map(|row| row.filled).max().unwrap_or(0);
        let mut scores = vec![f32::NEG_INFINITY; (prompt.len() + filled) * width];
        let (of_prompt, of_own) = scores.split_at_mut(prompt.len() * width);
        if !prompt.is_empty() {
            let keys = self.k.head(kv, prompt.clone());
            multiply(
                keys,
                view.transposed(),
                MatrixMut::strided(of_prompt, n, width),
                Write::Replace,
            );
        }
        for (row, columns) in rows.iter().zip(columns_of(rows, group)) {
            let keys = self.k.head(kv, own_places(row));
            let own = &mut of_own[..row.filled * width];
            let out = MatrixMut::strided(&mut own[columns.start..], columns.len(), width);
            multiply(
                keys,
                view.slice_rows(columns.clone()).transposed(),
                out,
                Write::Replace,
            );
            hide(own, row, group, &columns, width, f32::NEG_INFINITY);
        }
        self.hide_early(&mut scores, rows, group, width, f32::NEG_INFINITY);
        softmax(
            &mut scores,
            width,
            1.0 / (d as f32).sqrt(),
            &mut vec![0.0; n],
        );
        self.hide_early(&mut scores, rows, group, width, 0.0);
        let (of_prompt, of_own) = scores.split_at_mut(prompt.len() * width);
        let mut out = vec![0.0; queries.len()];
        if !prompt.is_empty() {
            let weights = Matrix::strided(of_prompt, prompt.len(), n, width).transposed();
            multiply(
                weights,
                self.v.head(kv, prompt),
                MatrixMut::dense(&mut out, d),
                Write::Replace,
            );
        }
        for (row, columns) in rows.iter().zip(columns_of(rows, group)) {
            let own = &mut of_own[..row.filled * width];
            hide(own, row, group, &columns, width, 0.0);
            let weights = Matrix::strided(&own[columns.start..], row.filled, columns.len(), width)
                .transposed();
            let out = MatrixMut::dense(&mut out[columns.start * d..columns.end * d], d);
            multiply(weights, self.v.head(kv, own_places(row)), out, Write::Add);
        }
        out
    }

    /// Sets the scores before the window of a new token. The number of a row of scores is its key's
    /// position, as all rows have the same prompt.
    fn hide_early(
        &self,
        scores: &mut [f32],
        rows: &[DecodeRow],
        group: usize,
        width: usize,
        value: f32,
    ) {
        let Some(window) = self.window else {
            return;
        };
        for (row, columns) in rows.iter().zip(columns_of(rows, group)) {
            for (new, columns) in columns.step_by(group).enumerate() {
                let position = row.prompt_length + row.filled - row.new + new;
                let hidden = (position + 1).saturating_sub(window);
                for scores in scores.chunks_exact_mut(width).take(hidden) {
                    scores[columns..columns + group].fill(value);
                }
            }
        }
    }
}

fn own_places(row: &DecodeRow) -> Range<usize> {
    row.own..row.own + row.filled
}

/// The queries of each row, among those of their task.
fn columns_of(rows: &[DecodeRow], group: usize) -> impl Iterator<Item = Range<usize>> {
    rows.iter().scan(0, move |start, row| {
        let columns = *start..*start + row.new * group;
        *start = columns.end;
        Some(columns)
    })
}

/// Sets the scores that a row's new tokens must not see: those of later new tokens.
fn hide(
    own: &mut [f32],
    row: &DecodeRow,
    group: usize,
    columns: &Range<usize>,
    width: usize,
    value: f32,
) {
    let first = row.filled - row.new;
    for (ahead, scores) in own.chunks_exact_mut(width).skip(first).enumerate() {
        scores[columns.start..columns.start + ahead * group].fill(value);
    }
}
