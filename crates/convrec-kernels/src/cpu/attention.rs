//! Attention of grouped heads over a packed batch, block by block, and its gradients. No score
//! matrix outlives its block: the backward pass computes the probabilities again from the
//! log-sum-exps (Dao et al., arXiv 2205.14135).

use std::ops::Range;

use rayon::prelude::*;

use super::columns::{exponentials, per_column, softmax, softmax_backward};
use super::elementwise::{Product, sum};
use super::heads::{Heads, HeadsMut};
use super::matrix::{Matrix, MatrixMut, Write, multiply};
use crate::packing::{Packing, Segment};

/// Queries side by side in a block. The block is narrow, as half of its last keys are hidden from
/// its queries.
const COLUMNS: usize = 64;

/// Queries `[M, H, d]`, keys and values `[M, Hk, d]` of a packed batch of M tokens.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) q: Heads<'a>,
    pub(crate) k: Heads<'a>,
    pub(crate) v: Heads<'a>,
    pub(crate) packing: &'a Packing,
}

/// The gradients of queries, keys and values, in their shapes.
pub(crate) struct Gradients {
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    pub(crate) v: Vec<f32>,
}

/// Some adjacent queries of a segment and the keys that some of them see: the trunk's, and their
/// own segment's, all or up to the last query. Those before the window of the first query are left
/// out.
struct Block {
    queries: Range<usize>,
    trunk: Range<usize>,
    own: Range<usize>,
    both_ways: bool,
    /// The place of the first query in its segment.
    first: usize,
    /// The first query that does not see the first key. The query after it does not see the second
    /// key, and so on. None where there is no window.
    window_ends: Option<usize>,
}

impl Block {
    fn keys(&self) -> usize {
        self.trunk.len() + self.own.len()
    }

    /// Queries that stand before this many rows of scores see none of them.
    fn first_hidden(&self) -> usize {
        if self.both_ways {
            self.keys()
        } else {
            self.keys() - self.queries.len()
        }
    }

    /// The log-sum-exps of these queries among those of their segment.
    fn place(&self) -> Range<usize> {
        self.first..self.first + self.queries.len()
    }

    /// Sets the scores of keys that a query does not see: later ones, and those before its window.
    fn hide(&self, scores: &mut [f32], value: f32) {
        let rows = scores.chunks_exact_mut(COLUMNS);
        for (ahead, row) in rows.skip(self.first_hidden()).enumerate() {
            row[..ahead].fill(value);
        }
        if let Some(first) = self.window_ends {
            let queries = self.queries.len();
            let rows = scores.chunks_exact_mut(COLUMNS);
            for (first, row) in (first..queries).zip(rows) {
                row[first..queries].fill(value);
            }
        }
    }
}

/// Scratch of one task, `[keys, COLUMNS]` each.
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

    fn blocks(&self, segment: &Segment) -> impl Iterator<Item = Block> + use<> {
        let (trunk, own, both_ways, window) = (
            self.packing.before(segment),
            segment.tokens.clone(),
            self.packing.is_both_ways(),
            self.packing.window(),
        );
        own.clone().step_by(COLUMNS).map(move |first| {
            let queries = first..(first + COLUMNS).min(own.end);
            let seen = if both_ways { own.end } else { queries.end };
            // The positions in the sequence of the first query and of the first key that it sees.
            let position = trunk.len() + first - own.start;
            let from = window.map_or(0, |window| (position + 1).saturating_sub(window));
            let of_trunk = from.min(trunk.len());
            Block {
                trunk: trunk.start + of_trunk..trunk.end,
                own: own.start + (from - of_trunk)..seen,
                queries,
                both_ways,
                first: first - own.start,
                window_ends: window.map(|window| from + window - position),
            }
        })
    }

    /// Room for the scores of any block.
    fn scratch(&self) -> Vec<f32> {
        let keys = |segment: &Segment| self.packing.before(segment).len() + segment.tokens.len();
        vec![0.0; self.packing.segments().iter().map(keys).max().unwrap_or(0) * COLUMNS]
    }

    /// The output `[M, H, d]` and, of each segment and head, the log-sum-exps of the scaled scores.
    pub(crate) fn forward(&self) -> (Vec<f32>, Vec<Vec<f32>>) {
        let (segments, Heads { heads, width, .. }) = (self.packing.segments(), self.q);
        let mut out = vec![0.0; self.q.data.len()];
        let parts = HeadsMut::new(&mut out, heads, width);
        let tasks = (0..segments.len() * heads).into_par_iter();
        let log_sum_exps = tasks.map_init(
            || self.scratch(),
            |scores, n| {
                let (segment, h) = (&segments[n / heads], n % heads);
                let mut log_sum_exps = vec![0.0; segment.tokens.len()];
                let (kv, v) = (h / self.group(), self.v);
                for block in self.blocks(segment) {
                    let scores = &mut scores[..block.keys() * COLUMNS];
                    products(
                        self.k,
                        kv,
                        self.q.head(h, block.queries.clone()),
                        &block,
                        scores,
                    );
                    block.hide(scores, f32::NEG_INFINITY);
                    softmax(
                        scores,
                        COLUMNS,
                        self.scale(),
                        &mut log_sum_exps[block.place()],
                    );
                    block.hide(scores, 0.0);
                    // SAFETY: every head of every segment is one task, whose blocks come one after
                    // the other.
                    let mut out = unsafe { parts.head(h, block.queries.clone()) };
                    let [of_trunk, of_own] = by_part(scores, &block).map(Matrix::transposed);
                    let n = block.queries.len();
                    multiply(
                        of_own,
                        v.head(kv, block.own.clone()),
                        out.slice_rows(0..n),
                        Write::Replace,
                    );
                    if !block.trunk.is_empty() {
                        multiply(of_trunk, v.head(kv, block.trunk.clone()), out, Write::Add);
                    }
                }
                log_sum_exps
            },
        );
        let log_sum_exps = log_sum_exps.collect();
        (out, log_sum_exps)
    }

    /// The gradients from that of the output `dy`, the output `y` and the log-sum-exps.
    pub(crate) fn backward(
        &self,
        dy: Heads<'_>,
        y: Heads<'_>,
        log_sum_exps: &[Vec<f32>],
    ) -> Gradients {
        let Heads { heads, width, .. } = self.q;
        let zeros = |heads: Heads<'_>| vec![0.0; heads.data.len()];
        let mut gradients = Gradients {
            q: zeros(self.q),
            k: zeros(self.k),
            v: zeros(self.v),
        };
        let dq = HeadsMut::new(&mut gradients.q, heads, width);
        let dk = HeadsMut::new(&mut gradients.k, self.k.heads, width);
        let dv = HeadsMut::new(&mut gradients.v, self.k.heads, width);
        let scratch = || Scratch {
            probabilities: self.scratch(),
            gradients: self.scratch(),
        };
        // A task writes the key and value gradients of a whole tree, as those of the trunk come
        // from all branches.
        let trees = self.trees();
        let tasks = (0..trees.len() * self.k.heads).into_par_iter();
        tasks.for_each_init(scratch, |scratch, n| {
            let (tree, kv) = (&trees[n / self.k.heads], n % self.k.heads);
            for &place in tree {
                for h in kv * self.group()..(kv + 1) * self.group() {
                    let log_sum_exps = &log_sum_exps[place * heads + h];
                    for block in self.blocks(&self.packing.segments()[place]) {
                        self.block_backward(
                            &block,
                            h,
                            dy,
                            y,
                            &log_sum_exps[block.place()],
                            scratch,
                        );
                        let queries = block.queries.clone();
                        let p = by_part(&scratch.probabilities[..block.keys() * COLUMNS], &block);
                        let ds = by_part(&scratch.gradients[..block.keys() * COLUMNS], &block);
                        for (part, keys) in [block.trunk, block.own].into_iter().enumerate() {
                            if keys.is_empty() {
                                continue;
                            }
                            // SAFETY: a key/value head of a tree is one task, and with it its query
                            // heads.
                            let [dq, dk, dv] = unsafe {
                                [
                                    dq.head(h, queries.clone()),
                                    dk.head(kv, keys.clone()),
                                    dv.head(kv, keys.clone()),
                                ]
                            };
                            multiply(p[part], dy.head(h, queries.clone()), dv, Write::Add);
                            multiply(ds[part], self.q.head(h, queries.clone()), dk, Write::Add);
                            multiply(ds[part].transposed(), self.k.head(kv, keys), dq, Write::Add);
                        }
                    }
                }
            }
        });
        gradients
    }

    /// The places of the segments of each tree, the trunk first; those without tokens are left out.
    fn trees(&self) -> Vec<Vec<usize>> {
        let segments = self.packing.segments();
        let mut trees = vec![vec![]; segments.len()];
        for (place, segment) in segments
            .iter()
            .enumerate()
            .filter(|(_, segment)| !segment.tokens.is_empty())
        {
            trees[segment.after.unwrap_or(place)].push(place);
        }
        trees.retain(|tree| !tree.is_empty());
        trees
    }

    /// Fills scratch with the probabilities of a block's queries and the gradients of their scores.
    fn block_backward(
        &self,
        block: &Block,
        h: usize,
        dy: Heads<'_>,
        y: Heads<'_>,
        log_sum_exps: &[f32],
        scratch: &mut Scratch,
    ) {
        let (kv, queries) = (h / self.group(), block.queries.clone());
        let p = &mut scratch.probabilities[..block.keys() * COLUMNS];
        let ds = &mut scratch.gradients[..block.keys() * COLUMNS];
        products(self.k, kv, self.q.head(h, queries.clone()), block, p);
        exponentials(
            p,
            COLUMNS,
            self.scale(),
            &per_column(log_sum_exps.iter().copied()),
            &[1.0; COLUMNS],
        );
        block.hide(p, 0.0);
        products(self.v, kv, dy.head(h, queries.clone()), block, ds);
        let deltas = per_column(queries.map(|t| sum(Product, [dy.row(t, h), y.row(t, h)])));
        softmax_backward(p, ds, COLUMNS, self.scale(), &deltas);
    }
}

/// The products of all keys of a block with its queries: out `[keys, COLUMNS]`.
fn products(keys: Heads<'_>, kv: usize, queries: Matrix<'_>, block: &Block, out: &mut [f32]) {
    let (trunk, own) = out.split_at_mut(block.trunk.len() * COLUMNS);
    let queries = queries.transposed();
    for (keys, out) in [
        (keys.head(kv, block.trunk.clone()), trunk),
        (keys.head(kv, block.own.clone()), own),
    ] {
        if !out.is_empty() {
            multiply(
                keys,
                queries,
                MatrixMut::strided(out, block.queries.len(), COLUMNS),
                Write::Replace,
            );
        }
    }
}

/// The rows `[keys, queries]` of the trunk's keys and of the own ones.
fn by_part<'a>(scores: &'a [f32], block: &Block) -> [Matrix<'a>; 2] {
    let (trunk, own) = scores.split_at(block.trunk.len() * COLUMNS);
    [(trunk, block.trunk.len()), (own, block.own.len())]
        .map(|(scores, keys)| Matrix::strided(scores, keys, block.queries.len(), COLUMNS))
}
