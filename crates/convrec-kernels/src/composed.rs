//! The operations in ordinary burn operations: they run on every device, with burn's own gradients, and say what the
//! fused kernels must compute.

use burn::tensor::{Bool, Int, Tensor, TensorData, activation};

use crate::DecodeCache;

/// See [`crate::linear`].
pub fn linear<const N: usize>(x: Tensor<N>, weight: Tensor<2>) -> Tensor<N> {
    crate::with_rows(x, weight.dims()[0], |x| x.matmul(weight.transpose()))
}

/// See [`crate::rms_norm`].
pub fn rms_norm<const N: usize>(x: Tensor<N>, weight: Tensor<1>, epsilon: f64) -> Tensor<N> {
    let scale = (x.clone().square().mean_dim(N - 1) + epsilon).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// See [`crate::swiglu`].
pub fn swiglu<const N: usize>(gate: Tensor<N>, up: Tensor<N>) -> Tensor<N> {
    activation::silu(gate) * up
}

/// See [`crate::rotate`].
pub fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let halves = x.chunk(2, 3);
    let (a, b) = (halves[0].clone(), halves[1].clone());
    Tensor::cat(vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin], 3)
}

/// A score that softmax turns into exactly 0.
const HIDDEN: f32 = -1e30;

/// See [`crate::causal_attention`].
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let ([b, h, t, d], hk) = (q.dims(), k.dims()[1]);
    let hidden = Tensor::<2, Bool>::tril_mask([t, t], 0, &q.device()).unsqueeze::<4>().expand([b, h, t, t]);
    // The queries that share a key/value head lie along one axis.
    let q = q.mul_scalar(1.0 / (d as f64).sqrt()).reshape([b, hk, h / hk * t, d]);
    let scores = q.matmul(k.swap_dims(2, 3)).reshape([b, h, t, t]).mask_fill(hidden, HIDDEN);
    let weights = activation::softmax(scores, 3).reshape([b, hk, h / hk * t, t]);
    weights.matmul(v).reshape([b, h, t, d])
}

/// See [`crate::decode_attention`].
pub fn decode_attention(q: Tensor<4>, cache: DecodeCache<'_>) -> Tensor<4> {
    let DecodeCache { prompt_k, prompt_v, prompt_lengths, own_k, own_v, filled } = cache;
    let ([b, h, _, d], [p, hk, tp, _]) = (q.dims(), prompt_k.dims());
    let (rows, group) = (b / p, h / hk);
    // [B, Hk, g, x] with the rows of a prompt beside its heads, [P, Hk, rows g, x], and back: the queries of all rows
    // of a prompt meet its keys in one product.
    let by_prompt = |x: Tensor<4>, last| {
        x.reshape([p, rows, hk, group * last]).swap_dims(1, 2).reshape([p, hk, rows * group, last])
    };
    let by_row =
        |x: Tensor<4>, last| x.reshape([p, hk, rows, group * last]).swap_dims(1, 2).reshape([b, hk, group, last]);
    let of_own = |x: Tensor<4>| x.slice([0..b, 0..hk, 0..filled, 0..d]);
    let q = q.mul_scalar(1.0 / (d as f64).sqrt()).reshape([b, hk, group, d]);
    let hidden: Vec<bool> = prompt_lengths.iter().flat_map(|length| (0..tp).map(move |t| t >= *length)).collect();
    let hidden = Tensor::<4, Bool>::from_data(TensorData::new(hidden, [p, 1, 1, tp]), &q.device());
    let prompt_scores = by_prompt(q.clone(), d).matmul(prompt_k.swap_dims(2, 3));
    let prompt_scores = prompt_scores.mask_fill(hidden.expand([p, hk, rows * group, tp]), HIDDEN);
    let own_scores = q.matmul(of_own(own_k).swap_dims(2, 3));
    let weights = activation::softmax(Tensor::cat(vec![by_row(prompt_scores, tp), own_scores], 3), 3);
    let prompt_weights = by_prompt(weights.clone().narrow(3, 0, tp), tp);
    let own_weights = weights.narrow(3, tp, filled);
    (by_row(prompt_weights.matmul(prompt_v), d) + own_weights.matmul(of_own(own_v))).reshape([b, h, 1, d])
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

/// See [`crate::token_log_probs_within`].
pub fn token_log_probs_within(
    hidden: Tensor<2>,
    weight: Tensor<2>,
    targets: Tensor<1, Int>,
    allowed: &[&[u32]],
    temperature: f32,
) -> (Tensor<1>, Tensor<1>) {
    let (m, device) = (allowed.len(), hidden.device());
    let mut union: Vec<u32> = allowed.concat();
    union.sort_unstable();
    union.dedup();
    let u = union.len();
    let place = |token: u32| union.binary_search(&token).expect("the union holds every allowed token");
    let mut scores = vec![HIDDEN; m * u];
    for (row, tokens) in allowed.iter().enumerate() {
        tokens.iter().for_each(|token| scores[row * u + place(*token)] = 0.0);
    }
    let target = |(row, token): (usize, i64)| {
        assert!(allowed[row].contains(&(token as u32)), "target {token} of row {row} is not allowed there");
        place(token as u32) as i64
    };
    let targets = targets.into_data().iter::<i64>().enumerate().map(target).collect::<Vec<_>>();
    let targets = Tensor::from_data(TensorData::new(targets, [m]), &device);
    let columns: Vec<i64> = union.into_iter().map(i64::from).collect();
    let columns = Tensor::<1, Int>::from_data(TensorData::new(columns, [u]), &device);
    let logits = linear(hidden, weight.select(0, columns)).div_scalar(temperature); // [M, U]
    log_probs_of(logits + Tensor::from_data(TensorData::new(scores, [m, u]), &device), targets)
}

fn log_probs_of(logits: Tensor<2>, targets: Tensor<1, Int>) -> (Tensor<1>, Tensor<1>) {
    let all = activation::log_softmax(logits, 1);
    let entropies = all.clone().detach();
    let entropies = (entropies.clone().exp() * entropies).sum_dim(1).neg();
    (all.gather(1, targets.unsqueeze_dim(1)).squeeze_dim(1), entropies.squeeze_dim(1))
}
