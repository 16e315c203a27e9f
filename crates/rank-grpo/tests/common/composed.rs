//! The family once more as plain tensor operations, which burn's autodiff differentiates. It is for
//! clean numbers only.
//!
//! It multiplies by 1/n instead of dividing by n: burn's backward of a division by a number rounds
//! to f32.

use burn::tensor::{Tensor, activation};
use rank_grpo::{
    Aggregation, Clip, CorrectionMode, Kl, KlEstimator, LossConfig, LossInputs, RankCount,
    RatioLevel,
};

use burn::tensor::TensorData;

pub fn loss(config: &LossConfig, inputs: &LossInputs, new: Tensor<2>) -> Tensor<1> {
    let host = |values: &[f64]| table(values, inputs.shape, &new);
    let ranks = one_hot(
        inputs,
        |t| inputs.segments.get(t),
        inputs.segments.count(),
        &new,
    ); // [B, S, T]
    let mut mask = host(
        &inputs
            .mask
            .iter()
            .map(|m| f64::from(*m))
            .collect::<Vec<_>>(),
    ); // [B, T]
    if uses_ranks(config) {
        mask = mask * ranks.clone().sum_dim(1).squeeze_dim::<2>(1);
    }
    let [_, n_tokens] = inputs.shape;
    let segments_of = |level: RatioLevel| match level {
        RatioLevel::Token => one_hot(inputs, |t| Some(t % n_tokens), n_tokens, &new),
        RatioLevel::Rank => ranks.clone(),
        RatioLevel::Sequence => one_hot(inputs, |_| Some(0), 1, &new),
    };
    let segments = segments_of(config.importance_sampling_level);
    let old = inputs
        .old_log_probs
        .as_ref()
        .map_or_else(|| new.clone().detach(), |old| host(old));
    let ratio = spread(
        &segments,
        segment_means(&segments, &mask, new.clone() - old.clone()),
    )
    .exp();

    let corrections = config.correction.as_ref().map(|correction| {
        let segments = segments_of(correction.level);
        let sampler = host(inputs.sampler_log_probs.as_ref().unwrap());
        let mut logs = segment_means(&segments, &mask, old.clone() - sampler);
        if correction.level == RatioLevel::Sequence {
            logs = logs * sizes(&segments, &mask); // the sum of what the mean is of
        }
        let weights = spread(&segments, logs).exp();
        match correction.mode {
            CorrectionMode::Truncate { clip_max, clip_min } => {
                weights.clamp(clip_min.unwrap_or(0.0), clip_max)
            }
            CorrectionMode::Mask { clip_max, clip_min } => {
                let low = weights.clone().lower_elem(clip_min.unwrap_or(0.0));
                let out = weights.clone().greater_elem(clip_max).bool_or(low);
                weights.mask_fill(out, 0.0)
            }
        }
    });
    let advantages = host(&inputs.advantages);
    let mut policy = match config.clip {
        Clip::Vespo {
            k_pos,
            lambda_pos,
            k_neg,
            lambda_neg,
        } => {
            let mut logs = (new.clone().detach() - old.clone()).clamp(-20.0, 20.0);
            if let Some(weights) = &corrections {
                logs = logs + weights.clone().clamp(1e-8, 20f64.exp()).log();
            }
            let logs = segment_means(&segments, &mask, logs) * sizes(&segments, &mask);
            let logs = spread(&segments, logs.clamp(1e-8f64.ln(), 20.0));
            let negative = advantages
                .clone()
                .lower_elem(0.0)
                .float()
                .cast(logs.dtype());
            let by_sign = |pos: f64, neg: f64| negative.clone() * (neg - pos) + pos;
            let (k, lambda) = (by_sign(k_pos, k_neg), by_sign(lambda_pos, lambda_neg));
            let phi = (lambda.clone() + k * logs.clone() - lambda * logs.exp()).exp();
            -(phi * advantages.clone() * new.clone())
        }
        _ => surrogate(&config.clip, ratio.clone(), advantages.clone(), new.clone()),
    };
    if config.top_entropy_quantile < 1.0 {
        policy = policy * host(&entropy_mask(config, inputs, &mask));
    }
    if let (Some(weights), false) = (corrections, matches!(config.clip, Clip::Vespo { .. })) {
        policy = policy * weights;
    }
    let sampler = inputs
        .sampler_log_probs
        .as_ref()
        .or(inputs.old_log_probs.as_ref());
    if let (Some(threshold), Some(sampler)) = (config.off_policy_mask_threshold, sampler) {
        let rows = segments_of(RatioLevel::Sequence);
        let far = segment_means(&rows, &mask, host(sampler) - new.clone().detach());
        let far = spread(&rows, far).greater_elem(threshold);
        policy = policy.mask_fill(far.bool_and(advantages.lower_elem(0.0)), 0.0);
    }
    let policy = aggregate(&config.aggregation, inputs, &mask, &ranks, policy);
    let mut policy = policy;
    if let (true, Some(entropies)) = (config.entropy_coef > 0.0, &inputs.entropies) {
        let chosen = host(&entropy_mask(config, inputs, &mask)) * mask.clone();
        let count = chosen.clone().sum().clamp_min(1.0);
        let mean = (host(entropies) * chosen).sum() / count;
        let share = match inputs.whole_batch {
            Some(whole) => mask.clone().sum() * (1.0 / whole.tokens.max(1) as f64),
            None => mean.ones_like(),
        };
        policy = policy - mean * share * config.entropy_coef;
    }
    let Some(kl) = &config.kl else { return policy };
    let penalty = divergence(
        kl,
        new.clone(),
        host(inputs.ref_log_probs.as_ref().unwrap()),
        ratio,
    );
    let aggregation = kl.aggregation.as_ref().unwrap_or(&config.aggregation);
    policy + aggregate(aggregation, inputs, &mask, &ranks, penalty) * kl.beta
}

/// A table on the device and of the type of another tensor.
fn table<const D: usize>(values: &[f64], shape: [usize; D], like: &Tensor<2>) -> Tensor<D> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), shape),
        (&like.device(), like.dtype()),
    )
}

fn uses_ranks(config: &LossConfig) -> bool {
    let by_rank = |a: &Aggregation| matches!(a, Aggregation::RankMean(_));
    let kl = config.kl.as_ref().and_then(|kl| kl.aggregation.as_ref());
    let corrected = config
        .correction
        .as_ref()
        .is_some_and(|correction| correction.level == RatioLevel::Rank);
    config.importance_sampling_level == RatioLevel::Rank
        || corrected
        || by_rank(&config.aggregation)
        || kl.is_some_and(by_rank)
}

fn one_hot(
    inputs: &LossInputs,
    id: impl Fn(usize) -> Option<usize>,
    count: usize,
    like: &Tensor<2>,
) -> Tensor<3> {
    let [b, n] = inputs.shape;
    let mut ones = vec![0.0; b * count * n];
    for t in 0..b * n {
        if let Some(s) = id(t) {
            ones[(t / n * count + s) * n + t % n] = 1.0;
        }
    }
    table(&ones, [b, count, n], like)
}

/// `[B, S, 1]`
fn sizes(segments: &Tensor<3>, mask: &Tensor<2>) -> Tensor<3> {
    segments.clone().matmul(mask.clone().unsqueeze_dim(2))
}

/// `[B, S, 1]`
fn segment_means(segments: &Tensor<3>, mask: &Tensor<2>, x: Tensor<2>) -> Tensor<3> {
    let sums = segments.clone().matmul((x * mask.clone()).unsqueeze_dim(2));
    sums / sizes(segments, mask).clamp_min(1.0)
}

fn spread(segments: &Tensor<3>, values: Tensor<3>) -> Tensor<2> {
    segments
        .clone()
        .swap_dims(1, 2)
        .matmul(values)
        .squeeze_dim(2)
}

fn surrogate(clip: &Clip, w: Tensor<2>, a: Tensor<2>, log_probs: Tensor<2>) -> Tensor<2> {
    match *clip {
        Clip::None => -(w * a),
        Clip::Ppo {
            epsilon: low,
            epsilon_high: high,
            delta,
        } => {
            let free = delta.map_or(w.clone(), |delta| w.clone().clamp_max(delta));
            -(free * a.clone()).min_pair(w.clamp(1.0 - low, 1.0 + high) * a)
        }
        Clip::Cispo {
            lowest,
            epsilon_high: highest,
        } => -(w.detach().clamp(lowest, highest) * a * log_probs),
        Clip::Sapo {
            temperature_pos: positive,
            temperature_neg: negative,
        } => {
            let up = a.clone().greater_elem(0.0).float().cast(a.dtype());
            let tau = up.clone() * positive + (up * -1.0 + 1.0) * negative;
            -(activation::sigmoid(tau.clone() * (w - 1.0)) / tau * 4.0 * a)
        }
        _ => unreachable!("weighed elsewhere, or unknown to this oracle"),
    }
}

fn divergence(kl: &Kl, new: Tensor<2>, reference: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    let d = reference - new;
    let estimate = match kl.estimator {
        KlEstimator::K1 => -d,
        KlEstimator::K3 => d.clone().exp() - d - 1.0,
    };
    if kl.use_bias_correction_kl {
        estimate * w
    } else {
        estimate
    }
}

fn entropy_mask(config: &LossConfig, inputs: &LossInputs, mask: &Tensor<2>) -> Vec<f64> {
    let mask = mask.clone().try_into_vec_as::<f64>().unwrap();
    let entropies = inputs.entropies.as_ref().unwrap();
    let mut sorted: Vec<f64> = entropies
        .iter()
        .zip(&mask)
        .filter(|(_, m)| **m > 0.0)
        .map(|(h, _)| *h)
        .collect();
    sorted.sort_by(f64::total_cmp);
    let place = (1.0 - config.top_entropy_quantile) * (sorted.len() as f64 - 1.0);
    let at = |i: f64| sorted.get(i as usize).copied().unwrap_or(0.0);
    let threshold = at(place.floor()) * (1.0 - place.fract()) + at(place.ceil()) * place.fract();
    entropies
        .iter()
        .map(|h| f64::from(*h >= threshold))
        .collect()
}

fn aggregate(
    aggregation: &Aggregation,
    inputs: &LossInputs,
    mask: &Tensor<2>,
    ranks: &Tensor<3>,
    l: Tensor<2>,
) -> Tensor<1> {
    let count = mask.clone().sum().try_into_vec_as::<f64>().unwrap()[0];
    let rows = inputs
        .whole_batch
        .map_or(inputs.shape[0], |whole| whole.rows) as f64;
    let tokens = inputs
        .whole_batch
        .map_or(count, |whole| whole.tokens as f64)
        .max(1.0);
    let l = l * mask.clone();
    match aggregation {
        Aggregation::RowMean => {
            (l.sum_dim(1) / mask.clone().sum_dim(1).clamp_min(1.0)).sum() * (1.0 / rows)
        }
        Aggregation::TokenMean => l.sum() * (1.0 / tokens),
        Aggregation::ConstantLength(length) => l.sum() * (1.0 / (rows * *length as f64)),
        Aggregation::RowSum => l.sum() * (1.0 / rows),
        Aggregation::RankMean(count) => {
            let means = segment_means(ranks, mask, l).squeeze_dim::<2>(2).sum_dim(1); // [B, 1]
            let present = ranks
                .clone()
                .matmul(mask.clone().unsqueeze_dim(2))
                .squeeze_dim::<2>(2)
                .greater_elem(0.0);
            let counts = match count {
                RankCount::All => means.ones_like() * inputs.segments.n_ranks() as f64,
                RankCount::Present => present
                    .float()
                    .cast(means.dtype())
                    .sum_dim(1)
                    .clamp_min(1.0),
            };
            (means / counts).sum() * (1.0 / rows)
        }
        other => unreachable!("{other:?} is unknown to this oracle"),
    }
}
