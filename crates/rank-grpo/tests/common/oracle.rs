//! The family once more in f64: formula by formula, in loops over rows and ranks, with derivatives
//! by dual numbers.
//!
//! `stopped` has the log-probabilities wherever a formula has a stop-gradient. Finite differences
//! of `loss` in `new` are therefore its gradient, also for CISPO and on-policy.

use rank_grpo::{
    Aggregation, Clip, CorrectionMode, Kl, KlEstimator, LossConfig, LossInputs, RankCount,
    RatioLevel,
};

use super::Case;
use super::dual::{Dual, constant};

/// Loss and gradient.
pub fn gradient(case: &Case) -> (f64, Vec<f64>) {
    let x = &case.log_probs;
    let direction = |i: usize| {
        x.iter()
            .enumerate()
            .map(|(t, &v)| Dual {
                v,
                d: f64::from(t == i),
            })
            .collect::<Vec<_>>()
    };
    let along = |i: usize| loss(&case.config, &case.inputs, &direction(i), x);
    let value = loss(
        &case.config,
        &case.inputs,
        &x.iter().map(|&v| constant(v)).collect::<Vec<_>>(),
        x,
    )
    .v;
    (value, (0..x.len()).map(|i| along(i).d).collect())
}

/// Central differences of the loss.
pub fn differences(case: &Case, step: f64) -> Vec<f64> {
    let x = &case.log_probs;
    let at = |i: usize, by: f64| {
        let mut moved: Vec<Dual> = x.iter().map(|&v| constant(v)).collect();
        moved[i].v += by;
        loss(&case.config, &case.inputs, &moved, x).v
    };
    (0..x.len())
        .map(|i| (at(i, step) - at(i, -step)) / (2.0 * step))
        .collect()
}

/// A row's tokens that count: (token, its rank).
type Row = Vec<(usize, Option<usize>)>;

pub fn loss(config: &LossConfig, inputs: &LossInputs, new: &[Dual], stopped: &[f64]) -> Dual {
    let rows = rows(config, inputs, stopped);
    let ratio = |x: &[Dual], row: &Row, t: usize, rank: Option<usize>| {
        let mates = row
            .iter()
            .filter(|(u, r)| match config.importance_sampling_level {
                RatioLevel::Token => *u == t,
                RatioLevel::Rank => *r == rank,
                RatioLevel::Sequence => true,
            });
        let old = |u: usize| {
            inputs
                .old_log_probs
                .as_ref()
                .map_or(stopped[u], |old| old[u])
        };
        let logs: Vec<Dual> = mates.map(|(u, _)| x[*u] - constant(old(*u))).collect();
        let mean = logs.iter().copied().sum::<Dual>() / logs.len() as f64;
        mean.clamp(f64::NEG_INFINITY, rank_grpo::MAX_LOG_RATIO)
            .exp()
    };
    let frozen: Vec<Dual> = stopped.iter().map(|&v| constant(v)).collect();
    let threshold = entropy_threshold(config, inputs, &rows);
    let mut policy: Vec<Dual> = vec![constant(0.0); new.len()];
    let mut kl = policy.clone();
    for row in &rows {
        for &(t, rank) in row {
            let w = ratio(new, row, t, rank);
            if threshold.is_none_or(|h| inputs.entropies.as_ref().unwrap()[t] >= h) {
                let a = inputs.advantages[t];
                policy[t] = match config.clip {
                    Clip::Vespo { .. } => {
                        let phi = vespo(config, inputs, stopped, row, t, rank);
                        -(new[t] * (phi * a))
                    }
                    _ => {
                        let frozen = ratio(&frozen, row, t, rank);
                        surrogate(&config.clip, w, frozen, a, new[t])
                            * correction(config, inputs, stopped, row, t, rank)
                    }
                } * off_policy(config, inputs, stopped, row, a);
            }
            if let Some(penalty) = &config.kl {
                kl[t] = divergence(
                    penalty,
                    new[t],
                    inputs.ref_log_probs.as_ref().unwrap()[t],
                    w,
                ) * penalty.beta;
            }
        }
    }
    let kl_aggregation = config.kl.as_ref().and_then(|kl| kl.aggregation.clone());
    let bonus = bonus(config, inputs, &rows, threshold);
    aggregate(&config.aggregation, inputs, &rows, &policy) - constant(bonus)
        + aggregate(
            &kl_aggregation.unwrap_or(config.aggregation.clone()),
            inputs,
            &rows,
            &kl,
        )
}

/// The weight of VESPO: the Gamma function of the product of the ratios of a token's segment.
fn vespo(
    config: &LossConfig,
    inputs: &LossInputs,
    stopped: &[f64],
    row: &Row,
    token: usize,
    rank: Option<usize>,
) -> f64 {
    let Clip::Vespo {
        k_pos,
        lambda_pos,
        k_neg,
        lambda_neg,
    } = config.clip
    else {
        return 0.0;
    };
    let mut w = 1.0;
    for &(t, r) in row {
        let together = match config.importance_sampling_level {
            RatioLevel::Token => t == token,
            RatioLevel::Rank => r == rank,
            RatioLevel::Sequence => true,
        };
        if together {
            let old = inputs
                .old_log_probs
                .as_ref()
                .map_or(stopped[t], |old| old[t]);
            w *= (stopped[t] - old).clamp(-20.0, 20.0).exp();
            w *= correction(config, inputs, stopped, row, t, r).clamp(1e-8, 20.0_f64.exp());
        }
    }
    let w = w.clamp(1e-8, 20.0_f64.exp());
    let (k, lambda) = match inputs.advantages[token] < 0.0 {
        true => (k_neg, lambda_neg),
        false => (k_pos, lambda_pos),
    };
    f64::exp(lambda) * w.powf(k) * f64::exp(-lambda * w)
}

/// 0 where a completion is too far from its sampler for a negative advantage.
fn off_policy(
    config: &LossConfig,
    inputs: &LossInputs,
    stopped: &[f64],
    row: &Row,
    advantage: f64,
) -> f64 {
    let Some(threshold) = config.off_policy_mask_threshold else {
        return 1.0;
    };
    let sampler = inputs
        .sampler_log_probs
        .as_ref()
        .or(inputs.old_log_probs.as_ref());
    let Some(sampler) = sampler else { return 1.0 };
    let far: f64 = row.iter().map(|(t, _)| sampler[*t] - stopped[*t]).sum();
    let far = far / row.len() as f64;
    f64::from(advantage >= 0.0 || far <= threshold)
}

/// The coefficient times the mean entropy of the tokens that are trained on, times this part's
/// share of the whole batch.
fn bonus(config: &LossConfig, inputs: &LossInputs, rows: &[Row], threshold: Option<f64>) -> f64 {
    let Some(entropies) = inputs
        .entropies
        .as_ref()
        .filter(|_| config.entropy_coef > 0.0)
    else {
        return 0.0;
    };
    let all: Vec<f64> = rows.iter().flatten().map(|(t, _)| entropies[*t]).collect();
    let chosen: Vec<f64> = all
        .iter()
        .copied()
        .filter(|h| threshold.is_none_or(|x| *h >= x))
        .collect();
    if chosen.is_empty() {
        return 0.0;
    }
    let whole = inputs.whole_batch.map_or(all.len(), |whole| whole.tokens) as f64;
    let mean = chosen.iter().sum::<f64>() / chosen.len() as f64;
    config.entropy_coef * mean * all.len() as f64 / whole
}

/// A weight is the product of the ratios of the trainer's policy to the sampler's; at rank level,
/// its n-th root.
fn correction(
    config: &LossConfig,
    inputs: &LossInputs,
    stopped: &[f64],
    row: &Row,
    token: usize,
    rank: Option<usize>,
) -> f64 {
    let Some(correction) = &config.correction else {
        return 1.0;
    };
    let old = inputs.old_log_probs.as_deref().unwrap_or(stopped);
    let sampler = inputs.sampler_log_probs.as_ref().unwrap();
    let (mut product, mut n) = (1.0, 0);
    for &(t, r) in row {
        let together = match correction.level {
            RatioLevel::Token => t == token,
            RatioLevel::Rank => r == rank,
            RatioLevel::Sequence => true,
        };
        if together {
            product *= old[t].exp() / sampler[t].exp();
            n += 1;
        }
    }
    let weight = if correction.level == RatioLevel::Rank {
        f64::powf(product, 1.0 / f64::from(n))
    } else {
        product
    };
    match correction.mode {
        CorrectionMode::Truncate { clip_max, .. } if weight > clip_max => clip_max,
        CorrectionMode::Truncate {
            clip_min: Some(clip_min),
            ..
        } if weight < clip_min => clip_min,
        CorrectionMode::Mask {
            clip_max: above, ..
        } if weight > above => 0.0,
        CorrectionMode::Mask {
            clip_min: Some(below),
            ..
        } if weight < below => 0.0,
        _ => weight,
    }
}

fn rows(config: &LossConfig, inputs: &LossInputs, new: &[f64]) -> Vec<Row> {
    let by_rank = |a: &Aggregation| matches!(a, Aggregation::RankMean(_));
    let kl_by_rank = config
        .kl
        .as_ref()
        .is_some_and(|kl| kl.aggregation.as_ref().is_some_and(by_rank));
    let corrected = config
        .correction
        .as_ref()
        .is_some_and(|correction| correction.level == RatioLevel::Rank);
    let ranks_only = config.importance_sampling_level == RatioLevel::Rank
        || corrected
        || by_rank(&config.aggregation)
        || kl_by_rank;
    let fine = |x: f64| x.is_finite() && (-1e6..=1e6).contains(&x);
    let counts = |t: usize| {
        let tables = [
            &inputs.old_log_probs,
            &inputs.sampler_log_probs,
            &inputs.ref_log_probs,
            &inputs.entropies,
        ];
        inputs.mask[t]
            && fine(new[t])
            && fine(inputs.advantages[t])
            && tables
                .iter()
                .all(|table| table.as_ref().is_none_or(|table| fine(table[t])))
            && (!ranks_only || inputs.segments.get(t).is_some())
    };
    let [b, n] = inputs.shape;
    let row = |i: usize| {
        (i * n..(i + 1) * n)
            .filter(|&t| counts(t))
            .map(|t| (t, inputs.segments.get(t)))
            .collect()
    };
    (0..b).map(row).collect()
}

fn entropy_threshold(config: &LossConfig, inputs: &LossInputs, rows: &[Row]) -> Option<f64> {
    let entropies = inputs
        .entropies
        .as_ref()
        .filter(|_| config.top_entropy_quantile < 1.0)?;
    let mut sorted: Vec<f64> = rows.iter().flatten().map(|(t, _)| entropies[*t]).collect();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let place = (1.0 - config.top_entropy_quantile) * (sorted.len() as f64 - 1.0);
    let low = *sorted.get(place as usize)?;
    let high = *sorted.get(place as usize + 1).unwrap_or(&low);
    Some(low + (high - low) * (place - place.floor()))
}

fn surrogate(clip: &Clip, w: Dual, frozen: Dual, a: f64, log_prob: Dual) -> Dual {
    match *clip {
        Clip::None => -(w * a),
        Clip::Ppo {
            epsilon: low,
            epsilon_high: high,
            delta,
        } => {
            let first = delta.map_or(w, |delta| w.clamp(f64::NEG_INFINITY, delta));
            -((first * a).min(w.clamp(1.0 - low, 1.0 + high) * a))
        }
        Clip::Cispo {
            lowest,
            epsilon_high: highest,
        } => -(log_prob * (frozen.v.max(lowest).min(highest) * a)),
        Clip::Sapo {
            temperature_pos: positive,
            temperature_neg: negative,
        } => {
            let tau = if a > 0.0 { positive } else { negative };
            let gate = constant(1.0) / (constant(1.0) + (-((w - constant(1.0)) * tau)).exp());
            -(gate * (4.0 / tau * a))
        }
        _ => unreachable!("weighed elsewhere, or unknown to this oracle"),
    }
}

fn divergence(kl: &Kl, new: Dual, reference: f64, w: Dual) -> Dual {
    let d = (constant(reference) - new).clamp(f64::NEG_INFINITY, rank_grpo::MAX_LOG_RATIO);
    let estimate = match kl.estimator {
        KlEstimator::K1 => new - constant(reference),
        KlEstimator::K3 => d.exp() - d - constant(1.0),
    };
    if kl.use_bias_correction_kl {
        estimate * w
    } else {
        estimate
    }
}

fn aggregate(aggregation: &Aggregation, inputs: &LossInputs, rows: &[Row], l: &[Dual]) -> Dual {
    let count: usize = rows.iter().map(Vec::len).sum();
    let n_rows = inputs.whole_batch.map_or(rows.len(), |whole| whole.rows) as f64;
    let n_tokens = inputs
        .whole_batch
        .map_or(count, |whole| whole.tokens)
        .max(1) as f64;
    let total = |row: &Row| row.iter().map(|(t, _)| l[*t]).sum::<Dual>();
    let all = || rows.iter().map(total).sum::<Dual>();
    match aggregation {
        Aggregation::RowMean => {
            rows.iter()
                .map(|row| total(row) / row.len().max(1) as f64)
                .sum::<Dual>()
                / n_rows
        }
        Aggregation::TokenMean => all() / n_tokens,
        Aggregation::ConstantLength(length) => all() / (n_rows * *length as f64),
        Aggregation::RowSum => all() / n_rows,
        Aggregation::RankMean(count) => {
            rows.iter()
                .map(|row| ranks_mean(*count, inputs, row, l))
                .sum::<Dual>()
                / n_rows
        }
        other => unreachable!("{other:?} is unknown to this oracle"),
    }
}

fn ranks_mean(count: RankCount, inputs: &LossInputs, row: &Row, l: &[Dual]) -> Dual {
    let mut present = 0;
    let mut sum = constant(0.0);
    for rank in 0..inputs.segments.count() {
        let tokens: Vec<Dual> = row
            .iter()
            .filter(|(_, r)| *r == Some(rank))
            .map(|(t, _)| l[*t])
            .collect();
        if !tokens.is_empty() {
            present += 1;
            sum = sum + tokens.iter().copied().sum::<Dual>() / tokens.len() as f64;
        }
    }
    match count {
        RankCount::All => sum / inputs.segments.n_ranks() as f64,
        RankCount::Present => sum / present.max(1) as f64,
    }
}
