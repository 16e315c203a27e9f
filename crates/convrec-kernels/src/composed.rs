//! The operations, composed of ordinary burn operations. They run on every device, with burn's own
//! gradients, and define what the fused kernels must compute.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation};

use crate::packing::{Packing, Segment};
use crate::parts::{attention_part, attention_parts};
use crate::{AdamW, DecodeCache, DecodeRow};

/// See [`crate::linear`].
pub fn linear<const N: usize>(x: Tensor<N>, weight: Tensor<2>) -> Tensor<N> {
    crate::with_rows(x, weight.dims()[0], |x| x.matmul(weight.transpose()))
}

/// See [`crate::rms_norm`].
pub fn rms_norm<const N: usize>(x: Tensor<N>, weight: Tensor<1>, epsilon: f64) -> Tensor<N> {
    let scale = (x.clone().square().mean_dim(N - 1) + epsilon)
        .sqrt()
        .recip();
    x * scale * weight.unsqueeze()
}

/// See [`crate::swiglu`].
pub fn swiglu<const N: usize>(gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    activation::silu(gate) * up
}

/// See [`crate::bias_gelu`].
pub fn bias_gelu(x: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    activation::gelu(x + bias.unsqueeze())
}

/// See [`crate::rotate`].
pub fn rotate(x: Tensor<3>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<3> {
    let halves = x.chunk(2, 2);
    let (a, b) = (halves[0].clone(), halves[1].clone());
    let (cos, sin) = (cos.unsqueeze_dim::<3>(1), sin.unsqueeze_dim::<3>(1)); // [M, 1, d/2]
    Tensor::cat(
        vec![
            a.clone() * cos.clone() - b.clone() * sin.clone(),
            b * cos + a * sin,
        ],
        2,
    )
}

/// A score that softmax turns into exactly 0.
pub(crate) const HIDDEN: f32 = -1e30;

/// Scores that exist at once where nothing is kept for gradients: 64 MB in f32.
const MOST_SCORES: usize = 1 << 24;

/// See [`crate::attention`].
pub fn attention(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, packing: &Packing) -> Tensor<3> {
    // Under autodiff all scores are kept, so that parts would save nothing.
    if !q.device().is_autodiff() {
        let parts = attention_parts(packing, q.dims()[1], MOST_SCORES);
        if parts.len() > 1 {
            let part = |part| attention_part(q.clone(), k.clone(), v.clone(), packing, part);
            return Tensor::cat(parts.iter().map(part).collect(), 0);
        }
    }
    let (trunks, branches): (Vec<&Segment>, Vec<&Segment>) = packing
        .segments()
        .iter()
        .filter(|s| !s.tokens.is_empty())
        .partition(|segment| segment.after.is_none());
    // Trunks and branches are computed apart. Branches have two sets of keys, and padding both
    // kinds to one rectangle would waste a trunk's worth of work on every branch.
    let mut parts = vec![];
    let mut order: Vec<usize> = vec![];
    for segments in [trunks, branches]
        .into_iter()
        .filter(|segments| !segments.is_empty())
    {
        order.extend(segments.iter().flat_map(|segment| segment.tokens.clone()));
        parts.push(attention_of(&segments, packing, [&q, &k, &v]));
    }
    // The rows go back from "trunks, then branches" to the order of the tokens.
    let mut places = vec![0; order.len()];
    order
        .into_iter()
        .enumerate()
        .for_each(|(place, token)| places[token] = place);
    Tensor::cat(parts, 0).select(0, indices(places, &q.device()))
}

/// The output for the tokens of some segments, one after the other. The segments are padded to rows
/// of one length.
pub(crate) fn attention_of(
    segments: &[&Segment],
    packing: &Packing,
    [q, k, v]: [&Tensor<3>; 3],
) -> Tensor<3> {
    let ([_, h, d], hk, device) = (q.dims(), k.dims()[1], q.device());
    let (n, group) = (segments.len(), h / hk);
    let (own, trunks): (Vec<_>, Vec<_>) = segments
        .iter()
        .map(|s| (s.tokens.clone(), packing.before(s)))
        .unzip();
    let rows = |x: &Tensor<3>, of: &[std::ops::Range<usize>]| {
        let (length, heads) = (longest(of), x.dims()[1]);
        // Padding repeats the first token of the batch. Any token would do, as no score of it
        // counts.
        let padded = of.iter().flat_map(|tokens| {
            (0..length).map(|t| {
                if t < tokens.len() {
                    tokens.start + t
                } else {
                    0
                }
            })
        });
        x.clone()
            .select(0, indices(padded.collect(), &device))
            .reshape([n, length, heads, d])
            .swap_dims(1, 2)
    };
    let (t, tp) = (longest(&own), longest(&trunks));
    // The queries that share a key/value head lie along one axis.
    let q = rows(q, &own)
        .mul_scalar(1.0 / (d as f64).sqrt())
        .reshape([n, hk, group * t, d]);
    // A causal mask hides later keys; both ways only the padding is hidden.
    let unseen = if packing.is_both_ways() {
        let padding = own
            .iter()
            .flat_map(|tokens| (0..t).map(|place| place >= tokens.len()))
            .collect();
        Tensor::<4, Bool>::from_data(TensorData::new::<bool, _>(padding, [n, 1, 1, t]), &device)
    } else {
        match packing.window() {
            None => Tensor::<2, Bool>::tril_mask([t, t], 0, &device).unsqueeze::<4>(),
            Some(window) => {
                let unseen = (0..t).flat_map(|i| (0..t).map(move |j| j > i || i - j >= window));
                let unseen = unseen.collect();
                Tensor::from_data(TensorData::new::<bool, _>(unseen, [1, 1, t, t]), &device)
            }
        }
    };
    let scores = q
        .clone()
        .matmul(rows(k, &own).swap_dims(2, 3))
        .reshape([n, h, t, t]);
    // The score is finite, not minus infinity. Where everything is hidden, as for padding, softmax
    // would give NaN, which gradients carry on.
    let scores = scores.mask_fill(unseen.expand([n, h, t, t]), HIDDEN);
    let out = if tp == 0 {
        let weights = activation::softmax(scores, 3).reshape([n, hk, group * t, t]);
        weights.matmul(rows(v, &own))
    } else {
        // A key is hidden beyond the end of the trunk, or before the window of the query at
        // position `first + i`.
        let beyond = |first: usize, queries: usize| {
            let window = packing.window().unwrap_or(usize::MAX);
            (0..queries).flat_map(move |i| {
                (0..tp).map(move |j| j >= first || j.saturating_add(window) <= first + i)
            })
        };
        // Without a window all queries see the same of the trunk.
        let queries = packing.window().map_or(1, |_| t);
        let beyond: Vec<bool> = trunks
            .iter()
            .flat_map(|trunk| beyond(trunk.len(), queries))
            .collect();
        let beyond = TensorData::new(beyond, [n, 1, queries, tp]);
        let beyond = Tensor::<4, Bool>::from_data(beyond, &device);
        let of_trunk = q
            .matmul(rows(k, &trunks).swap_dims(2, 3))
            .reshape([n, h, t, tp]);
        let of_trunk = of_trunk.mask_fill(beyond.expand([n, h, t, tp]), HIDDEN);
        // One softmax goes over both sets of keys, as a query must weigh them together. The
        // products with their values are apart again.
        let weights = activation::softmax(Tensor::cat(vec![of_trunk, scores], 3), 3);
        let part = |first, length| {
            weights
                .clone()
                .narrow(3, first, length)
                .reshape([n, hk, group * t, length])
        };
        part(0, tp).matmul(rows(v, &trunks)) + part(tp, t).matmul(rows(v, &own))
    };
    let real = own
        .iter()
        .enumerate()
        .flat_map(|(row, tokens)| (0..tokens.len()).map(move |place| row * t + place));
    out.reshape([n, h, t, d])
        .swap_dims(1, 2)
        .reshape([n * t, h, d])
        .select(0, indices(real.collect(), &device))
}

fn longest(ranges: &[std::ops::Range<usize>]) -> usize {
    ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(0)
}

fn indices(values: Vec<usize>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// See [`crate::decode_attention`].
pub fn decode_attention(q: Tensor<3>, cache: &DecodeCache, rows: &[DecodeRow]) -> Tensor<3> {
    let ([_, h, d], hk, device) = (q.dims(), cache.k.dims()[1], q.device());
    // Queries are a rectangle of prompts by their rows by new tokens, padded with copies of the
    // first.
    let groups: Vec<&[DecodeRow]> = rows.chunk_by(DecodeRow::shares_prompt).collect();
    let most = |of: fn(&DecodeRow) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (p, r) = (
        groups.len(),
        groups.iter().map(|group| group.len()).max().unwrap_or(0),
    );
    let (new, filled, tp, group) = (
        most(|row| row.new),
        most(|row| row.filled),
        most(|row| row.prompt_length),
        h / hk,
    );
    let (mut token, mut own, mut real) = (vec![0; p * r * new], vec![(0, 0); p * r], vec![]);
    let mut hidden = vec![true; p * r * new * filled];
    for (g, group) in groups.iter().enumerate() {
        for (place, row) in group.iter().enumerate() {
            let place = g * r + place;
            own[place] = (row.own, row.filled);
            for j in 0..row.new {
                token[place * new + j] = real.len();
                real.push(place * new + j);
                let seen = row.filled - row.new + j + 1;
                let from = first_seen(cache.window, row.prompt_length + seen);
                let from = from.saturating_sub(row.prompt_length);
                hidden[(place * new + j) * filled..][from..seen].fill(false);
            }
        }
    }
    // From tokens at the places of some ranges, each filled up to `length` with its last token, to
    // [ranges, Hk, length, d].
    let gather = |x: &Tensor<3>, ranges: &[(usize, usize)], length: usize| {
        let places = ranges
            .iter()
            .flat_map(|(first, n)| (0..length).map(move |t| first + t.min(n.saturating_sub(1))));
        x.clone()
            .select(0, indices(places.collect(), &device))
            .reshape([ranges.len(), length, hk, d])
            .swap_dims(1, 2)
    };
    let prompts: Vec<(usize, usize)> = groups
        .iter()
        .map(|group| (group[0].prompt, group[0].prompt_length))
        .collect();
    let of_prompt = |x: &Tensor<3>| gather(x, &prompts, tp);
    let of_row = |x: &Tensor<3>| gather(x, &own, filled);
    // From [P R, Hk, g new, x] to [P, Hk, R g new, x], and back, so that all queries of a prompt
    // meet its keys in one product.
    let by_prompt = |x: Tensor<4>, last| {
        x.reshape([p, r, hk, group * new * last])
            .swap_dims(1, 2)
            .reshape([p, hk, r * group * new, last])
    };
    let by_row = |x: Tensor<4>, last| {
        x.reshape([p, hk, r, group * new * last])
            .swap_dims(1, 2)
            .reshape([p * r, hk, group * new, last])
    };
    let q = q
        .select(0, indices(token, &device))
        .mul_scalar(1.0 / (d as f64).sqrt());
    let q = q
        .reshape([p * r, new, h, d])
        .swap_dims(1, 2)
        .reshape([p * r, hk, group * new, d]);
    // A key is hidden beyond the prompt's end and, where there is a window, before the window of
    // the query. The output of padding is dropped, so it may see any key.
    let queries = cache.window.map_or(1, |_| r * group * new);
    let beyond = groups.iter().flat_map(|rows| {
        (0..queries).flat_map(move |query| {
            let row = rows.get(query / (group * new)).unwrap_or(&rows[0]);
            let seen = row.prompt_length + row.filled - row.new + query % new + 1;
            let from = first_seen(cache.window, seen);
            (0..tp).map(move |t| t >= row.prompt_length || t < from)
        })
    });
    let beyond = TensorData::new::<bool, _>(beyond.collect(), [p, 1, queries, tp]);
    let beyond = Tensor::<4, Bool>::from_data(beyond, &device);
    let hidden =
        Tensor::<4, Bool>::from_data(TensorData::new(hidden, [p * r, 1, new, filled]), &device);
    let prompt_scores = by_prompt(q.clone(), d).matmul(of_prompt(&cache.k).swap_dims(2, 3));
    let prompt_scores =
        prompt_scores.mask_fill(beyond.expand([p, hk, r * group * new, tp]), HIDDEN);
    let own_scores = q
        .matmul(of_row(&cache.k).swap_dims(2, 3))
        .reshape([p * r, h, new, filled]);
    let own_scores = own_scores.mask_fill(hidden.expand([p * r, h, new, filled]), HIDDEN);
    let own_scores = own_scores.reshape([p * r, hk, group * new, filled]);
    let weights = activation::softmax(
        Tensor::cat(vec![by_row(prompt_scores, tp), own_scores], 3),
        3,
    );
    let prompt_weights = by_prompt(weights.clone().narrow(3, 0, tp), tp);
    let mixed = by_row(prompt_weights.matmul(of_prompt(&cache.v)), d)
        + weights.narrow(3, tp, filled).matmul(of_row(&cache.v));
    let mixed = mixed
        .reshape([p * r, h, new, d])
        .swap_dims(1, 2)
        .reshape([p * r * new, h, d]);
    mixed.select(0, indices(real, &device))
}

/// The first position that a token sees. Without a window it would see `seen` positions.
fn first_seen(window: Option<usize>, seen: usize) -> usize {
    window.map_or(0, |window| seen.saturating_sub(window))
}

/// See [`AdamW::update`].
pub fn adamw<const N: usize>(
    weight: Tensor<N>,
    gradient: Tensor<N>,
    [first, second]: [Tensor<N>; 2],
    config: &AdamW,
) -> (Tensor<N>, [Tensor<N>; 2]) {
    let [
        beta_1,
        new_1,
        beta_2,
        new_2,
        inverse_1,
        inverse_2,
        epsilon,
        rate,
        keep,
    ] = config.constants();
    let first = first.mul_scalar(beta_1) + gradient.clone().mul_scalar(new_1);
    let second = second.mul_scalar(beta_2) + gradient.square().mul_scalar(new_2);
    let root = second
        .clone()
        .mul_scalar(inverse_2)
        .sqrt()
        .add_scalar(epsilon);
    let step = first.clone().mul_scalar(inverse_1) / root;
    (
        weight.mul_scalar(keep) - step.mul_scalar(rate),
        [first, second],
    )
}

/// See [`crate::token_log_probs`].
pub fn token_log_probs(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let logits = linear(hidden, weight).div_scalar(temperature); // [M, V]
    log_probs_of(logits, targets)
}

/// See [`crate::logits_constrained`].
pub fn logits_constrained(hidden: Tensor<2>, weight: Tensor<2>, allowed: &[&[u32]]) -> Tensor<1> {
    // One product serves all rows. It computes logits that a row does not ask for, but rows under
    // one trie mostly ask for the same tokens.
    let (m, device, union) = (allowed.len(), hidden.device(), union(allowed));
    let logits = linear(hidden, rows_of(weight, &union)); // [M, U]
    let wanted = allowed
        .iter()
        .enumerate()
        .flat_map(|(row, tokens)| tokens.iter().map(move |token| (row, *token)));
    let flat = wanted
        .map(|(row, token)| row * union.len() + place(&union, token))
        .collect();
    logits
        .reshape([m * union.len()])
        .select(0, indices(flat, &device))
}

/// See [`crate::token_log_probs_constrained`].
pub fn token_log_probs_constrained(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    allowed: &[&[u32]],
    prior: &[&[f32]],
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let (m, device, union) = (allowed.len(), hidden.device(), union(allowed));
    // Not minus infinity: the entropy multiplies the probability 0 of a hidden token with its
    // log-probability, which would then be NaN.
    let mut scores = vec![HIDDEN; m * union.len()];
    for (row, tokens) in allowed.iter().enumerate() {
        for (n, token) in tokens.iter().enumerate() {
            let prior = prior.get(row).map_or(0.0, |logits| logits[n] / temperature);
            scores[row * union.len() + place(&union, *token)] = prior;
        }
    }
    let places = crate::target_places(targets, allowed);
    let targets = places
        .into_iter()
        .zip(allowed)
        .map(|(n, tokens)| place(&union, tokens[n]))
        .collect();
    let logits = linear(hidden, rows_of(weight, &union)).div_scalar(temperature); // [M, U]
    let scores = Tensor::from_data(TensorData::new(scores, [m, union.len()]), &device);
    log_probs_of(logits + scores, indices(targets, &device))
}

/// All tokens that some row allows, ascending.
fn union(allowed: &[&[u32]]) -> Vec<u32> {
    let mut union: Vec<u32> = allowed.concat();
    union.sort_unstable();
    union.dedup();
    union
}

fn place(union: &[u32], token: u32) -> usize {
    union
        .binary_search(&token)
        .expect("the union holds every allowed token")
}

fn rows_of(weight: Tensor<2>, tokens: &[u32]) -> Tensor<2> {
    let device = weight.device();
    weight.select(
        0,
        indices(
            tokens.iter().map(|token| *token as usize).collect(),
            &device,
        ),
    )
}

fn log_probs_of(logits: Tensor<2>, targets: Tensor<1, Int>) -> (Tensor<1>, Tensor<1>) {
    let all = activation::log_softmax(logits, 1);
    let entropies = (all.clone().exp() * all.clone()).sum_dim(1).neg();
    (
        all.gather(1, targets.unsqueeze_dim(1)).squeeze_dim(1),
        entropies.squeeze_dim(1),
    )
}
