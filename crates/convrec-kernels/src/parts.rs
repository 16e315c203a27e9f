//! Attention in parts, where scores exist in memory: on devices without a fused body.

use std::ops::Range;

use burn::tensor::{Bool, Tensor, TensorData, activation};

use crate::composed::{HIDDEN, attention_of};
use crate::packing::{Packing, Segment};

/// Some queries of a packed batch and all keys that they may see. [`attention_parts`] makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionPart {
    /// The segments of the queries, in the order of the batch.
    segments: Range<usize>,
    queries: Range<usize>,
}

impl AttentionPart {
    /// The tokens whose output the part computes.
    #[must_use]
    pub fn queries(&self) -> Range<usize> {
        self.queries.clone()
    }
}

/// Parts that cover all tokens of a packing, in their order, with at most `scores` scores of
/// `heads` heads each. One query's scores are the least.
///
/// Short segments are put together. A long one is cut into ranges of queries, whose later keys are
/// left out.
#[must_use]
pub fn attention_parts(packing: &Packing, heads: usize, scores: usize) -> Vec<AttentionPart> {
    let segments = packing.segments();
    let mut parts: Vec<AttentionPart> = vec![];
    // The longest segment and the longest trunk of the last part, which segments are padded to.
    let (mut own, mut trunk) = (0, 0);
    for (n, segment) in segments.iter().enumerate() {
        let (length, before) = (segment.tokens.len(), packing.before(segment).len());
        if length == 0 {
            continue;
        }
        (own, trunk) = (own.max(length), trunk.max(before));
        if let Some(last) = parts.last_mut() {
            let count = n + 1 - last.segments.start;
            let is_whole = segments[last.segments.start].tokens.start == last.queries.start;
            if is_whole && count * heads * own * (own + trunk) <= scores {
                last.segments.end = n + 1;
                last.queries.end = segment.tokens.end;
                continue;
            }
        }
        (own, trunk) = (length, before);
        let step = match heads * length * (length + before) <= scores {
            true => length,
            false => (scores / (heads * (length + before))).clamp(1, length),
        };
        let cut = segment.tokens.clone().step_by(step);
        parts.extend(cut.map(|first| AttentionPart {
            segments: n..n + 1,
            queries: first..segment.tokens.end.min(first + step),
        }));
    }
    parts
}

/// The output of [`attention`](crate::attention) for a part, `[queries, H, d]`, composed of burn's
/// operations.
///
/// # Panics
/// When the part is of another packing, or the shapes do not agree.
pub fn attention_part(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    packing: &Packing,
    part: &AttentionPart,
) -> Tensor<3> {
    let segments = &packing.segments()[part.segments.clone()];
    let first = &segments[0];
    let is_whole = first.tokens.start == part.queries.start
        && segments[segments.len() - 1].tokens.end == part.queries.end;
    if is_whole {
        let segments: Vec<&Segment> = segments.iter().filter(|s| !s.tokens.is_empty()).collect();
        return attention_of(&segments, packing, [&q, &k, &v]);
    }
    let ([_, h, d], hk, device) = (q.dims(), k.dims()[1], q.device());
    let (queries, trunk) = (part.queries.clone(), packing.before(first));
    let at = trunk.len() + queries.start - first.tokens.start; // the first query's position
    let from = packing
        .window()
        .map_or(0, |window| (at + 1).saturating_sub(window));
    let own_end = match packing.is_both_ways() {
        true => first.tokens.end,
        false => queries.end,
    };
    let keys = [
        (trunk.start + from).min(trunk.end)..trunk.end,
        first.tokens.start + from.saturating_sub(trunk.len())..own_end,
    ];
    let keys: Vec<Range<usize>> = keys.into_iter().filter(|keys| !keys.is_empty()).collect();
    let (tq, tk) = (queries.len(), keys.iter().map(ExactSizeIterator::len).sum());
    // [Hk, tk, d]
    let seen = |x: &Tensor<3>| {
        let parts = keys.iter().map(|keys| x.clone().slice([keys.clone()]));
        Tensor::cat(parts.collect(), 0).swap_dims(0, 1)
    };
    let q = q
        .slice([queries])
        .mul_scalar(1.0 / (d as f64).sqrt())
        .swap_dims(0, 1)
        .reshape([hk, h / hk * tq, d]);
    let scores = q.matmul(seen(&k).swap_dims(1, 2)).reshape([h, tq, tk]);
    let hidden = |query: usize, key: usize| {
        let (query, key) = (at + query, from + key);
        let is_later = key > query && !packing.is_both_ways();
        is_later || packing.window().is_some_and(|window| query >= key + window)
    };
    let hidden = (0..tq).flat_map(|query| (0..tk).map(move |key| hidden(query, key)));
    let hidden = TensorData::new::<bool, _>(hidden.collect(), [1, tq, tk]);
    let hidden = Tensor::<3, Bool>::from_data(hidden, &device).expand([h, tq, tk]);
    let weights = activation::softmax(scores.mask_fill(hidden, HIDDEN), 2);
    weights
        .reshape([hk, h / hk * tq, tk])
        .matmul(seen(&v))
        .reshape([h, tq, d])
        .swap_dims(0, 1)
}
