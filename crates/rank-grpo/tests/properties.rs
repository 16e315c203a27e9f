//! Random batches under every combination of choices, against the independent versions and the
//! family's identities.

mod common;

use common::{Case, assert_close, autodiff, forward, max_abs, oracle, oracle_precision};
use proptest::prelude::*;
use proptest::sample::select;
use rank_grpo::{
    Aggregation, BatchTotals, Clip, Correction, CorrectionMode, Kl, KlEstimator, LossConfig,
    LossInputs, RankCount, RatioLevel, Segments,
};

const N_RANKS: usize = 3;

fn clips() -> impl Strategy<Value = Clip> {
    let delta = prop_oneof![Just(None), Just(Some(1.1)), Just(Some(1.5))];
    let ppo = (0.01..1.2, 0.01..0.4, delta).prop_map(|(epsilon, epsilon_high, delta)| Clip::Ppo {
        epsilon,
        epsilon_high,
        delta,
    });
    let cispo = (0.0..0.9, 1.0..1.5).prop_map(|(lowest, epsilon_high)| Clip::Cispo {
        lowest,
        epsilon_high,
    });
    let sapo = (0.5..2.0, 0.5..2.0).prop_map(|(temperature_pos, temperature_neg)| Clip::Sapo {
        temperature_pos,
        temperature_neg,
    });
    let vespo = (0.5..3.0, 0.5..3.0, 0.5..3.0, 0.5..3.0).prop_map(
        |(k_pos, lambda_pos, k_neg, lambda_neg)| Clip::Vespo {
            k_pos,
            lambda_pos,
            k_neg,
            lambda_neg,
        },
    );
    prop_oneof![1 => Just(Clip::None), 3 => ppo, 2 => cispo, 1 => sapo, 2 => vespo]
}

fn aggregations() -> impl Strategy<Value = Aggregation> {
    select(vec![
        Aggregation::RowMean,
        Aggregation::TokenMean,
        Aggregation::ConstantLength(11),
        Aggregation::RankMean(RankCount::All),
        Aggregation::RankMean(RankCount::Present),
        Aggregation::RowSum,
    ])
}

fn kls() -> impl Strategy<Value = Option<Kl>> {
    let estimator = select(vec![KlEstimator::K1, KlEstimator::K3]);
    let kl = (
        0.0..0.5,
        estimator,
        any::<bool>(),
        proptest::option::of(aggregations()),
    );
    proptest::option::of(kl.prop_map(
        |(beta, estimator, use_bias_correction_kl, aggregation)| Kl {
            beta,
            estimator,
            use_bias_correction_kl,
            aggregation,
        },
    ))
}

fn levels() -> impl Strategy<Value = RatioLevel> {
    select(vec![
        RatioLevel::Token,
        RatioLevel::Rank,
        RatioLevel::Sequence,
    ])
}

fn corrections() -> impl Strategy<Value = Correction> {
    let truncate = (1.0..2.0, proptest::option::of(0.3..1.0))
        .prop_map(|(clip_max, clip_min)| CorrectionMode::Truncate { clip_max, clip_min });
    let mask = (1.0..2.0, proptest::option::of(0.3..1.0))
        .prop_map(|(clip_max, clip_min)| CorrectionMode::Mask { clip_max, clip_min });
    (levels(), prop_oneof![truncate, mask]).prop_map(|(level, mode)| Correction { level, mode })
}

/// VESPO takes corrections of tokens only.
fn fitting(clip: &Clip, correction: Correction) -> Correction {
    match clip {
        Clip::Vespo { .. } => Correction {
            level: RatioLevel::Token,
            ..correction
        },
        _ => correction,
    }
}

fn configs() -> impl Strategy<Value = LossConfig> {
    let correction = proptest::option::of(corrections());
    let top_entropy_quantile = prop_oneof![2 => Just(1.0), 1 => 0.1..1.0];
    let entropy_coef = prop_oneof![2 => Just(0.0), 1 => 0.01..1.0];
    let off_policy = proptest::option::of(0.0..0.3);
    (
        levels(),
        clips(),
        aggregations(),
        kls(),
        (top_entropy_quantile, entropy_coef, off_policy),
        correction,
    )
        .prop_map(
            |(importance_sampling_level, clip, aggregation, kl, tokens, correction)| LossConfig {
                importance_sampling_level,
                aggregation,
                kl,
                top_entropy_quantile: tokens.0,
                entropy_coef: tokens.1,
                off_policy_mask_threshold: tokens.2,
                correction: correction.map(|correction| fitting(&clip, correction)),
                clip,
            },
        )
}

/// Numbers of f32, so that the tensor function gets exactly what the oracle gets.
fn table(n: usize, range: std::ops::Range<f32>) -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(range.prop_map(f64::from), n)
}

fn cases() -> impl Strategy<Value = Case> {
    (1usize..4, 1usize..8, configs()).prop_flat_map(|(b, t, config)| {
        let n = b * t;
        let masks = proptest::collection::vec(prop_oneof![3 => Just(true), 1 => Just(false)], n);
        let ids = proptest::collection::vec(-1i64..N_RANKS as i64 + 2, n);
        let moves = || table(n, -0.8..0.8);
        let log_probs = (
            table(n, -3.0..0.0),
            moves(),
            moves(),
            moves(),
            any::<bool>(),
        );
        (
            Just(config),
            masks,
            ids,
            any::<bool>(),
            log_probs,
            table(n, -2.0..2.0),
            table(n, 0.0..4.0),
        )
            .prop_map(
                move |(
                    config,
                    mask,
                    ids,
                    overflow,
                    (new, from_old, from_sampler, from_ref, on_policy),
                    advantages,
                    entropies,
                )| {
                    let plus = |by: &[f64]| {
                        new.iter()
                            .zip(by)
                            .map(|(x, d)| f64::from((x + d) as f32))
                            .collect()
                    };
                    let segments = if overflow {
                        Segments::ranks_and_overflow
                    } else {
                        Segments::ranks
                    };
                    let inputs = LossInputs {
                        old_log_probs: (!on_policy).then(|| plus(&from_old)),
                        sampler_log_probs: Some(plus(&from_sampler)),
                        ref_log_probs: Some(plus(&from_ref)),
                        entropies: Some(entropies),
                        ..LossInputs::new([b, t], mask, segments(&ids, N_RANKS), advantages)
                    };
                    Case {
                        id: "random".into(),
                        config,
                        log_probs: new,
                        inputs,
                    }
                },
            )
    })
}

fn evaluate(case: &Case) -> (f64, Vec<f64>) {
    let found = case.loss().evaluate(&case.log_probs, &case.inputs).unwrap();
    (found.loss, found.gradient)
}

fn same(found: &(f64, Vec<f64>), expected: &(f64, Vec<f64>), tolerance: f64) {
    assert_close(
        "loss",
        &[found.0],
        &[expected.0],
        tolerance * expected.0.abs().max(1.0),
    );
    assert_close(
        "gradient",
        &found.1,
        &expected.1,
        tolerance * max_abs(&expected.1).max(1e-3),
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_host_loss_is_the_dual_number_oracle(case in cases()) {
        same(&evaluate(&case), &oracle::gradient(&case), 1e-12);
    }

    /// A loss of a batch does not depend on how its rows are laid out: order, padding on either
    /// side.
    #[test]
    fn padding_changes_nothing(case in cases(), left in 0usize..3, right in 0usize..3) {
        let (loss, gradient) = evaluate(&case);
        let [b, t] = case.inputs.shape;
        let wide = left + t + right;
        let pad = |table: &[f64], junk: f64| {
            (0..b * wide)
                .map(|i| {
                    let place = (i % wide).wrapping_sub(left);
                    if place < t {
                        table[i / wide * t + place]
                    } else {
                        junk
                    }
                })
                .collect::<Vec<f64>>()
        };
        let id = |t: usize| case.inputs.segments.get(t).map_or(-1.0, |s| s as f64);
        let ids: Vec<f64> = (0..b * t).map(id).collect();
        let ids: Vec<i64> = pad(&ids, 0.0).into_iter().map(|s| s as i64).collect();
        let mask: Vec<f64> = case.inputs.mask.iter().map(|m| f64::from(*m)).collect();
        let overflow = case.inputs.segments.count() > N_RANKS;
        let segments = if overflow {
            Segments::ranks_and_overflow
        } else {
            Segments::ranks
        };
        let mask = pad(&mask, 0.0).into_iter().map(|m| m == 1.0).collect();
        let inputs = LossInputs {
            old_log_probs: case.inputs.old_log_probs.as_ref().map(|x| pad(x, f64::NAN)),
            sampler_log_probs: case
                .inputs
                .sampler_log_probs
                .as_ref()
                .map(|x| pad(x, f64::NEG_INFINITY)),
            ref_log_probs: case
                .inputs
                .ref_log_probs
                .as_ref()
                .map(|x| pad(x, f64::INFINITY)),
            entropies: case.inputs.entropies.as_ref().map(|x| pad(x, 1e30)),
            ..LossInputs::new(
                [b, wide],
                mask,
                segments(&ids, N_RANKS),
                pad(&case.inputs.advantages, 7.0),
            )
        };
        let found = case
            .loss()
            .evaluate(&pad(&case.log_probs, f64::NEG_INFINITY), &inputs)
            .unwrap();
        same(
            &(found.loss, found.gradient),
            &(loss, pad(&gradient, 0.0)),
            1e-12,
        );
    }

    /// Micro-batches sum to their batch, for every average.
    #[test]
    fn gradient_accumulation_changes_nothing(case in cases(), at in 0usize..4) {
        let config = LossConfig {
            top_entropy_quantile: 1.0,
            ..case.config.clone()
        };
        // All tokens have ranks, so that the totals of the masks are the totals of the loss.
        let [b, t] = case.inputs.shape;
        let ids: Vec<i64> = (0..b * t)
            .map(|i| case.inputs.segments.get(i).unwrap_or(0) as i64)
            .collect();
        let segments = |ids: &[i64]| Segments::ranks_and_overflow(ids, N_RANKS);
        let whole = Case {
            config,
            inputs: LossInputs {
                segments: segments(&ids),
                ..case.inputs.clone()
            },
            ..case
        };
        let at = at.min(b) * t;
        let part = |range: std::ops::Range<usize>, whole_batch: Option<BatchTotals>| LossInputs {
            shape: [range.len() / t, t],
            mask: whole.inputs.mask[range.clone()].to_vec(),
            segments: segments(&ids[range.clone()]),
            advantages: whole.inputs.advantages[range.clone()].to_vec(),
            old_log_probs: whole
                .inputs
                .old_log_probs
                .as_ref()
                .map(|x| x[range.clone()].to_vec()),
            sampler_log_probs: whole
                .inputs
                .sampler_log_probs
                .as_ref()
                .map(|x| x[range.clone()].to_vec()),
            ref_log_probs: whole
                .inputs
                .ref_log_probs
                .as_ref()
                .map(|x| x[range.clone()].to_vec()),
            entropies: whole
                .inputs
                .entropies
                .as_ref()
                .map(|x| x[range.clone()].to_vec()),
            whole_batch,
        };
        let totals = BatchTotals::of(&[part(0..at, None), part(at..b * t, None)]);
        let loss = whole.loss();
        let [first, second] = [0..at, at..b * t].map(|range| {
            loss.evaluate(&whole.log_probs[range.clone()], &part(range, Some(totals)))
                .unwrap()
        });
        let sum = (
            first.loss + second.loss,
            [first.gradient, second.gradient].concat(),
        );
        same(&sum, &evaluate(&whole), 1e-12);
    }

    /// An invariant of the family: levels differ only in the segments.
    #[test]
    fn token_and_sequence_ratios_are_rank_ratios_of_other_segments(case in cases()) {
        let [b, t] = case.inputs.shape;
        // Means over ranks would be over other ranks.
        let tokens = |a: Aggregation| {
            if matches!(a, Aggregation::RankMean(_)) {
                Aggregation::TokenMean
            } else {
                a
            }
        };
        let kl = case.config.kl.clone().map(|kl| Kl {
            aggregation: kl.aggregation.map(tokens),
            ..kl
        });
        // And so would a correction by rank.
        let correction = case
            .config
            .correction
            .clone()
            .filter(|correction| correction.level != RatioLevel::Rank);
        let aggregation = tokens(case.config.aggregation.clone());
        let config = LossConfig {
            kl,
            aggregation,
            correction,
            ..case.config.clone()
        };
        let columns: Vec<i64> = (0..b * t).map(|i| (i % t) as i64).collect();
        for (level, segments) in [
            (RatioLevel::Token, Segments::ranks(&columns, t)),
            (RatioLevel::Sequence, Segments::sequences(b * t)),
        ] {
            let with = |importance_sampling_level, inputs: LossInputs| Case {
                id: String::new(),
                config: LossConfig {
                    importance_sampling_level,
                    ..config.clone()
                },
                log_probs: case.log_probs.clone(),
                inputs,
            };
            let direct = with(level, case.inputs.clone());
            let by_rank = with(
                RatioLevel::Rank,
                LossInputs {
                    segments,
                    ..case.inputs.clone()
                },
            );
            same(&evaluate(&by_rank), &evaluate(&direct), 1e-12);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A sampler whose numbers are the trainer's changes no bit, at every level and in every mode.
    #[test]
    fn a_sampler_that_is_the_trainer_is_not_corrected(
        case in cases(),
        correction in corrections(),
    ) {
        let [b, t] = case.inputs.shape;
        let ids: Vec<i64> = (0..b * t)
            .map(|i| case.inputs.segments.get(i).unwrap_or(0) as i64)
            .collect();
        let sampler = case
            .inputs
            .old_log_probs
            .clone()
            .unwrap_or(case.log_probs.clone());
        let inputs = LossInputs {
            segments: Segments::ranks_and_overflow(&ids, N_RANKS),
            sampler_log_probs: Some(sampler),
            ..case.inputs
        };
        let correction = fitting(&case.config.clip, correction);
        let with = |correction| {
            let loss = LossConfig {
                correction,
                ..case.config.clone()
            }
            .check()
            .unwrap();
            loss.evaluate(&case.log_probs, &inputs).unwrap()
        };
        let (corrected, plain) = (with(Some(correction)), with(None));
        prop_assert_eq!(corrected.loss.to_bits(), plain.loss.to_bits());
        prop_assert_eq!(corrected.gradient, plain.gradient);
        let found = corrected.metrics.correction.unwrap();
        prop_assert_eq!(
            (found.mean, found.min, found.max, found.cut),
            (1.0, 1.0, 1.0, 0.0)
        );
        prop_assert_eq!(plain.metrics.correction, None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_tensor_loss_is_the_dual_number_oracle(case in cases()) {
        same(&forward(&case), &oracle::gradient(&case), 1e-6);
    }

    /// Automatic differentiation agrees, except for ratios within rounding of a corner of the loss.
    #[test]
    fn the_host_loss_is_what_autodiff_makes_of_tensor_operations(case in cases()) {
        prop_assume!(!near_a_corner(&case));
        same(&evaluate(&case), &autodiff(&case), oracle_precision().1);
    }

    #[test]
    fn finite_differences_agree(case in cases()) {
        prop_assume!(!near_a_corner(&case));
        let (_, gradient) = evaluate(&case);
        let differences = oracle::differences(&case, 1e-6);
        assert_close(
            "gradient",
            &gradient,
            &differences,
            1e-7 * max_abs(&gradient).max(1.0),
        );
    }
}

/// Whether rounding of a log-probability could move a ratio over a bound of its clip rule. The loss
/// is not smooth there.
fn near_a_corner(case: &Case) -> bool {
    let clip = &case.config.clip;
    let moved = |by: f64| match *clip {
        Clip::Ppo {
            epsilon: low,
            epsilon_high: high,
            delta,
        } => Clip::Ppo {
            epsilon: (low + by).max(0.0),
            epsilon_high: (high + by).max(0.0),
            delta: delta.map(|d| d + by),
        },
        _ => clip.clone(),
    };
    // On-policy every ratio is 1, exactly inside.
    let metrics = |clip: Clip| {
        let config = LossConfig {
            clip,
            ..case.config.clone()
        };
        evaluate(&Case {
            id: String::new(),
            config,
            log_probs: case.log_probs.clone(),
            inputs: case.inputs.clone(),
        })
        .1
    };
    let (narrow, wide) = (metrics(moved(-1e-4)), metrics(moved(1e-4)));
    narrow.iter().zip(&wide).any(|(a, b)| (a - b).abs() > 1e-9)
}

/// One case per variant that a reader may look for by name; the random ones above mix them.
#[test]
fn every_preset_has_the_gradient_of_its_finite_differences() {
    let presets = [
        LossConfig::paper(),
        LossConfig::authors(),
        LossConfig::grpo(),
        LossConfig::bnpo(),
        LossConfig::gspo(),
        LossConfig::luspo(),
        LossConfig::dr_grpo(6),
        LossConfig::dapo(),
        LossConfig::cispo(),
        LossConfig::sapo(),
        LossConfig::vespo(),
        LossConfig::two_sided(1.5),
        LossConfig::sibling_grpo(),
        LossConfig {
            off_policy_mask_threshold: Some(0.05),
            ..LossConfig::dapo()
        },
    ];
    let log_probs = vec![-0.31, -1.27, -0.44, -2.05, -0.92, -0.18, -1.63, -0.57];
    let moves = [0.11, -0.23, 0.04, 0.31, -0.07, 0.19, -0.13, 0.02];
    let old = log_probs.iter().zip(moves).map(|(x, d)| x + d).collect();
    let reference = log_probs
        .iter()
        .zip(moves)
        .map(|(x, d)| x - 2.0 * d)
        .collect();
    let segments = Segments::ranks(&[0, 0, 1, 2, 0, 1, 1, 2], N_RANKS);
    let mask = vec![true, true, true, true, true, true, true, false];
    let advantages = vec![0.7, 0.7, -1.1, 0.4, -0.7, 1.1, 1.1, -0.4];
    let inputs = LossInputs {
        old_log_probs: Some(old),
        ref_log_probs: Some(reference),
        ..LossInputs::new([2, 4], mask, segments, advantages)
    };
    for config in presets {
        let case = Case {
            id: format!("{config:?}"),
            config,
            log_probs: log_probs.clone(),
            inputs: inputs.clone(),
        };
        let gradient = evaluate(&case).1;
        assert!(max_abs(&gradient) > 1e-3, "{}", case.id);
        assert_close(&case.id, &gradient, &oracle::differences(&case, 1e-6), 1e-8);
    }
}
