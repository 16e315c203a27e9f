//! Broken, empty and extreme inputs have defined results, and never a NaN update.

mod common;

use common::{Case, assert_close, forward};
#[cfg(feature = "burn")]
use common::{device, tensor};
use proptest::prelude::*;
use rank_grpo::{
    AdvantageError, Aggregation, BatchTotals, Clip, Correction, CorrectionMode, Kl, KlEstimator,
    LengthShaping, ListEnd, LossConfig, LossInputs, RankCount, RatioLevel, ScaleRewards, Segments,
    group_advantages, spread, sum_rewards,
};

const BAD: [f64; 6] = [
    f64::NAN,
    f64::NEG_INFINITY,
    f64::INFINITY,
    -1e9,
    f32::MIN as f64,
    f64::MAX,
];

fn inputs(shape: [usize; 2], ids: &[i64], advantages: &[f64]) -> LossInputs {
    LossInputs::new(
        shape,
        vec![true; ids.len()],
        Segments::ranks(ids, 2),
        advantages.to_vec(),
    )
}

fn case(config: LossConfig, log_probs: &[f64], inputs: LossInputs) -> Case {
    Case {
        id: format!("{config:?}"),
        config,
        log_probs: log_probs.to_vec(),
        inputs,
    }
}

fn off_policy() -> LossInputs {
    LossInputs {
        old_log_probs: Some(vec![-1.1, -0.7, -0.4, -1.3, -0.9, -0.2]),
        sampler_log_probs: Some(vec![-1.0, -0.7, -0.5, -1.2, -0.8, -0.3]),
        ref_log_probs: Some(vec![-0.9, -0.8, -0.6, -1.1, -0.8, -0.3]),
        ..inputs(
            [2, 3],
            &[0, 0, 1, 0, 1, 1],
            &[1.0, 1.0, -0.5, -1.0, 0.5, 0.5],
        )
    }
}

#[test]
fn a_token_with_an_unusable_number_is_as_if_masked_out() {
    let log_probs = vec![-1.0, -0.5, -0.3, -1.2, -0.8, -0.1];
    for bad in BAD {
        for config in [
            LossConfig::paper(),
            LossConfig::authors(),
            LossConfig::grpo(),
        ] {
            let mut masked = case(config.clone(), &log_probs, off_policy());
            masked.inputs.mask[1] = false;
            let expected = masked
                .loss()
                .evaluate(&masked.log_probs, &masked.inputs)
                .unwrap();
            for field in 0..5 {
                let mut broken = case(config.clone(), &log_probs, off_policy());
                match field {
                    0 => broken.log_probs[1] = bad,
                    1 => broken.inputs.old_log_probs.as_mut().unwrap()[1] = bad,
                    2 => broken.inputs.sampler_log_probs.as_mut().unwrap()[1] = bad,
                    3 => broken.inputs.ref_log_probs.as_mut().unwrap()[1] = bad,
                    _ => broken.inputs.advantages[1] = bad,
                }
                let found = broken
                    .loss()
                    .evaluate(&broken.log_probs, &broken.inputs)
                    .unwrap();
                assert_eq!(
                    (found.loss, &found.gradient),
                    (expected.loss, &expected.gradient),
                    "{bad} in {field}"
                );
                assert_eq!(found.metrics.dropped, 1.0 / 6.0);
                assert_eq!(found.metrics.tokens, 5);
                let (loss, gradient) = forward(&broken);
                assert_close("loss", &[loss], &[expected.loss], 1e-6);
                assert_close("gradient", &gradient, &expected.gradient, 1e-6);
            }
        }
    }
}

#[test]
fn a_batch_without_tokens_has_loss_and_gradient_zero() {
    for aggregation in [
        Aggregation::RowMean,
        Aggregation::TokenMean,
        Aggregation::ConstantLength(3),
        Aggregation::RankMean(RankCount::All),
        Aggregation::RankMean(RankCount::Present),
        Aggregation::RowSum,
    ] {
        let mut empty = case(
            LossConfig {
                aggregation,
                ..LossConfig::paper()
            },
            &[-1.0; 6],
            off_policy(),
        );
        empty.inputs.mask = vec![false; 6];
        assert_eq!(forward(&empty), (0.0, vec![0.0; 6]));
        let metrics = empty
            .loss()
            .evaluate(&empty.log_probs, &empty.inputs)
            .unwrap()
            .metrics;
        assert_eq!(
            (
                metrics.kl,
                metrics.ratio_mean,
                metrics.tokens,
                metrics.dropped
            ),
            (Some(0.0), 1.0, 0, 0.0)
        );
    }
}

#[test]
fn an_empty_row_counts_as_a_completion_of_loss_zero() {
    let config = LossConfig {
        kl: None,
        ..LossConfig::grpo()
    };
    let one = case(
        config.clone(),
        &[-1.0, -0.5],
        inputs([1, 2], &[0, 1], &[1.0, 3.0]),
    );
    let mut two = case(
        config,
        &[-1.0, -0.5, -1.0, -1.0],
        inputs([2, 2], &[0, 1, 0, 1], &[1.0, 3.0, 9.0, 9.0]),
    );
    two.inputs.mask = vec![true, true, false, false];
    assert_close("loss", &[forward(&two).0], &[forward(&one).0 / 2.0], 1e-7);
}

#[test]
fn ranks_without_tokens_add_nothing_and_tokens_without_ranks_take_no_part() {
    // Rank 1 is missing, and a remark has no rank.
    let inputs = inputs([1, 3], &[0, 0, -1], &[2.0, 2.0, 8.0]);
    let config = LossConfig {
        kl: None,
        ..LossConfig::paper()
    };
    let (loss, gradient) = forward(&case(config.clone(), &[-1.0; 3], inputs.clone()));
    assert_close("all ranks", &[loss], &[-1.0], 1e-7);
    assert_close("all ranks", &gradient, &[-0.5, -0.5, 0.0], 1e-7);
    let aggregation = Aggregation::RankMean(RankCount::Present);
    let (loss, _) = forward(&case(
        LossConfig {
            aggregation,
            ..config
        },
        &[-1.0; 3],
        inputs,
    ));
    assert_close("present ranks", &[loss], &[-2.0], 1e-7);
}

#[test]
fn on_policy_ratios_are_exactly_one_and_have_a_gradient() {
    let on_policy = LossInputs {
        old_log_probs: None,
        ..off_policy()
    };
    let case = case(
        LossConfig {
            kl: None,
            ..LossConfig::authors()
        },
        &[-1.0; 6],
        on_policy,
    );
    let metrics = case
        .loss()
        .evaluate(&case.log_probs, &case.inputs)
        .unwrap()
        .metrics;
    assert_eq!(
        (
            metrics.ratio_min,
            metrics.ratio_max,
            metrics.clip_ratio_region
        ),
        (1.0, 1.0, 0.0)
    );
    // Each rank's mean advantage, shared by its tokens: -A / M.
    let expected = [1.0, 1.0, -0.5, -1.0, 0.5, 0.5].map(|a| -a / 6.0);
    assert_close("gradient", &forward(&case).1, &expected, 1e-7);
}

#[cfg(feature = "burn")]
#[test]
fn the_loss_works_without_autodiff_and_keeps_the_log_probs_on_their_tape() {
    let loss = LossConfig::paper().check().unwrap();
    let values = [-1.0, -0.5, -0.3, -1.2, -0.8, -0.1];
    let plain = loss
        .forward(tensor(&values, [2, 3], &device()), &off_policy())
        .unwrap()
        .loss;
    let expected = loss
        .evaluate(&values.map(|x| f64::from(x as f32)), &off_policy())
        .unwrap();
    assert_eq!(
        plain.into_scalar::<f32>(),
        expected.loss as f32,
        "the value is exact"
    );

    // The gradient goes through an operation before the loss: d loss / d x = 2 d loss / d
    // log_probs.
    let halves = tensor(&values.map(|x| x / 2.0), [2, 3], &device().autodiff());
    let (_, gradient) = common::differentiate(halves, |x| {
        loss.forward(x * 2.0, &off_policy()).unwrap().loss
    });
    let doubled: Vec<f64> = expected.gradient.iter().map(|g| 2.0 * g).collect();
    assert_close("gradient", &gradient, &doubled, 1e-6);
}

fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![
        -3.0..0.0,
        Just(0.0),
        -1e6..1e6,
        -100.0..100.0,
        proptest::sample::select(BAD.to_vec())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_input_makes_an_update_that_f32_cannot_hold(
        numbers in proptest::collection::vec(wild(), 36),
        ids in proptest::collection::vec(-1i64..4, 6),
        level in 0..3,
        clip in 0..5,
        use_bias_correction_kl in any::<bool>(),
        k1 in any::<bool>(),
        aggregation in 0..6,
        correction in 0..7,
        off_policy in any::<bool>(),
    ) {
        let levels = [RatioLevel::Token, RatioLevel::Rank, RatioLevel::Sequence];
        let importance_sampling_level = levels[level as usize];
        let mode = [
            CorrectionMode::Truncate {
                clip_max: 1e6,
                clip_min: None,
            },
            CorrectionMode::Mask {
                clip_max: 1e6,
                clip_min: Some(0.5),
            },
        ][correction as usize % 2];
        let correction = levels
            .get(correction as usize / 2)
            .map(|&level| Correction { level, mode });
        let vespo = clip == 4; // takes a correction at token level only
        let correction = correction.filter(|c| !vespo || c.level == RatioLevel::Token);
        let clip = [
            Clip::None,
            Clip::Ppo {
                epsilon: 0.2,
                epsilon_high: 0.2,
                delta: None,
            },
            Clip::Cispo {
                lowest: 0.0,
                epsilon_high: 5.0,
            },
            Clip::Sapo {
                temperature_pos: 1.0,
                temperature_neg: 1.05,
            },
            Clip::Vespo {
                k_pos: 90.0,
                lambda_pos: 0.1,
                k_neg: 3.0,
                lambda_neg: 2.0,
            },
        ][clip as usize]
            .clone();
        let aggregation = [
            Aggregation::RowMean,
            Aggregation::TokenMean,
            Aggregation::ConstantLength(3),
            Aggregation::RankMean(RankCount::All),
            Aggregation::RankMean(RankCount::Present),
            Aggregation::RowSum,
        ][aggregation as usize]
            .clone();
        let estimator = if k1 { KlEstimator::K1 } else { KlEstimator::K3 };
        let kl = Some(Kl {
            beta: 1.0,
            estimator,
            use_bias_correction_kl,
            aggregation: None,
        });
        let config = LossConfig {
            importance_sampling_level,
            clip,
            aggregation,
            kl,
            top_entropy_quantile: 0.7,
            entropy_coef: 0.01,
            correction,
            off_policy_mask_threshold: off_policy.then_some(0.5),
        };
        let part = |i: usize| numbers[i * 6..i * 6 + 6].to_vec();
        let inputs = LossInputs {
            old_log_probs: Some(part(1)),
            sampler_log_probs: Some(part(5)),
            ref_log_probs: Some(part(2)),
            entropies: Some(part(3)),
            ..inputs([2, 3], &ids, &part(4))
        };
        let found = config.check().unwrap().evaluate(&part(0), &inputs).unwrap();
        // The squares are finite too, as an optimiser's second moment must not become infinite.
        prop_assert!((found.loss as f32).is_finite());
        prop_assert!(
            found.gradient.iter().all(|g| ((g * g) as f32).is_finite()),
            "{:?}",
            found.gradient
        );
        prop_assert!(found.metrics.ratio_max.is_finite() && found.metrics.kl.unwrap().is_finite());
    }
}

#[test]
fn groups_that_teach_nothing_have_advantage_exactly_zero() {
    for scale in [ScaleRewards::Group, ScaleRewards::None, ScaleRewards::Batch] {
        // The mean of 0.3 eight times is off by rounding, and the divisor 1e-4 makes that visible
        // (A3).
        let constant = group_advantages(&vec![vec![0.3]; 8], 8, scale).unwrap();
        assert_eq!(
            (constant.values.concat(), constant.frac_reward_zero_std),
            (vec![0.0; 8], 1.0)
        );
        // A group of one (A1).
        let alone = group_advantages(&[vec![2.0, 0.1], vec![-1.0, 0.7]], 1, scale).unwrap();
        assert_eq!(
            (alone.values.concat(), alone.frac_reward_zero_std),
            (vec![0.0; 4], 1.0)
        );
    }
    assert_eq!(
        group_advantages(&[], 4, ScaleRewards::Group)
            .unwrap()
            .values
            .len(),
        0
    );
}

#[test]
fn rewards_that_do_not_fit_are_refused_by_name() {
    let message = |rewards: &[Vec<f64>], group| {
        group_advantages(rewards, group, ScaleRewards::Group)
            .unwrap_err()
            .to_string()
    };
    assert!(
        message(&vec![vec![0.0]; 3], 2).contains("3 completions do not divide into groups of 2")
    );
    assert!(message(&vec![vec![0.0]; 3], 0).contains("groups of 0"));
    assert!(message(&[vec![0.0; 2], vec![0.0]], 2).contains("row 1 has 1 ranks, expected 2"));
    assert!(
        message(&[vec![0.0; 2], vec![0.0, f64::NAN]], 2).contains("row 1 at rank index 1 is NaN")
    );
    assert!(message(&[vec![f64::INFINITY]], 1).contains("inf"));
    // A scalar reward where the segments have ranks (A2).
    let spread = spread(&[vec![1.0]], &Segments::ranks(&[0, 1], 2)).unwrap_err();
    assert_eq!(
        spread,
        AdvantageError::Width {
            row: 0,
            found: 1,
            expected: 2
        }
    );
}

#[test]
fn nan_rewards_are_no_opinion_when_combined() {
    let tables = [
        (1.0, vec![vec![1.0, f64::NAN]]),
        (0.5, vec![vec![4.0, 2.0]]),
    ];
    assert_eq!(sum_rewards(&tables).unwrap(), [[3.0, 1.0]]);
    assert!(sum_rewards(&[(1.0, vec![vec![1.0]]), (1.0, vec![vec![1.0; 2]])]).is_err());
    assert!(sum_rewards(&[(1.0, vec![vec![1.0]]), (1.0, vec![vec![1.0]; 2])]).is_err());
}

/// S4: as items are counted instead of lines, a trailing newline changes no advantage but its own
/// rank's.
#[test]
fn a_trailing_newline_does_not_change_what_the_end_token_is_worth() {
    // Two items of two ranks; in the second row a newline follows, so the end token's line is past
    // the last rank.
    let segments = Segments::ranks_and_overflow(&[0, 1, 1, 0, 1, 2], 2);
    let ends = [ListEnd {
        n_items: 2,
        end_token: Some(2),
    }; 2];
    let mut advantages = spread(&[vec![1.0, 2.0], vec![3.0, 4.0]], &segments).unwrap();
    LengthShaping::default()
        .apply(&mut advantages, &segments, &ends)
        .unwrap();
    assert_eq!(advantages, [1.0, 2.0, 0.1, 3.0, 4.0, 0.1]);
    let outside = [ListEnd {
        n_items: 2,
        end_token: Some(3),
    }; 2];
    assert!(
        LengthShaping::default()
            .apply(&mut advantages, &segments, &outside)
            .is_err()
    );
}

#[test]
fn inputs_that_do_not_fit_are_refused_by_name() {
    let loss = LossConfig::paper().check().unwrap();
    let refuse = |change: fn(&mut LossInputs)| {
        let mut inputs = off_policy();
        change(&mut inputs);
        loss.evaluate(&[-1.0; 6], &inputs).unwrap_err().to_string()
    };
    assert!(
        refuse(|x| x.mask.truncate(5)).contains("`mask` has 5 entries, expected B * T = 2 * 3")
    );
    assert!(refuse(|x| x.old_log_probs = Some(vec![])).contains("`old_log_probs` has 0"));
    assert!(refuse(|x| x.segments = Segments::sequences(4)).contains("`segments` has 4"));
    assert!(
        refuse(|x| x.ref_log_probs = None)
            .contains("no `ref_log_probs`, which the loss config's `kl` needs")
    );
    assert!(refuse(|x| x.sampler_log_probs = Some(vec![])).contains("`sampler_log_probs` has 0"));
    let correction = Correction {
        level: RatioLevel::Token,
        mode: CorrectionMode::Truncate {
            clip_max: 2.0,
            clip_min: None,
        },
    };
    let corrected = LossConfig {
        correction: Some(correction),
        ..LossConfig::paper()
    }
    .check()
    .unwrap();
    let error = corrected
        .evaluate(
            &[-1.0; 6],
            &LossInputs {
                sampler_log_probs: None,
                ..off_policy()
            },
        )
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no `sampler_log_probs`, which the loss config's `correction` needs"),
        "{error}"
    );
    assert!(
        refuse(|x| x.whole_batch = Some(BatchTotals { rows: 1, tokens: 9 }))
            .contains("`whole_batch` has 1 rows")
    );
}

#[cfg(feature = "burn")]
#[test]
fn tensors_of_another_shape_are_refused_by_name() {
    let loss = LossConfig::paper().check().unwrap();
    let shape = loss.forward(tensor(&[-1.0; 6], [3, 2], &device()), &off_policy());
    assert!(matches!(
        shape,
        Err(rank_grpo::InputError::Shape {
            field: "log_probs",
            found: [3, 2],
            expected: [2, 3]
        })
    ));
}

#[test]
fn configs_that_make_no_sense_are_refused_by_name() {
    let clip = |clip| LossConfig {
        clip,
        ..LossConfig::grpo()
    };
    let ppo = |epsilon, epsilon_high, delta| {
        clip(Clip::Ppo {
            epsilon,
            epsilon_high,
            delta,
        })
    };
    let kl = |beta| LossConfig {
        kl: LossConfig::grpo().kl.map(|kl| Kl { beta, ..kl }),
        ..LossConfig::grpo()
    };
    let top = |top_entropy_quantile| LossConfig {
        top_entropy_quantile,
        ..LossConfig::grpo()
    };
    let correct = |mode| LossConfig {
        correction: Some(Correction {
            level: RatioLevel::Rank,
            mode,
        }),
        ..LossConfig::grpo()
    };
    let mask = |clip_max, clip_min| {
        correct(CorrectionMode::Mask {
            clip_max,
            clip_min: Some(clip_min),
        })
    };
    for (field, config) in [
        (
            "correction.mode.truncate.clip_max",
            correct(CorrectionMode::Truncate {
                clip_max: 0.9,
                clip_min: None,
            }),
        ),
        ("correction.mode.mask.clip_max", mask(f64::INFINITY, 0.5)),
        ("correction.mode.mask.clip_min", mask(2.0, 1.1)),
        ("clip.ppo.epsilon", ppo(-0.1, 0.2, None)),
        ("clip.ppo.epsilon_high", ppo(0.1, f64::NAN, None)),
        ("clip.ppo.delta", ppo(0.1, 0.2, Some(1.0))),
        (
            "clip.cispo.lowest",
            clip(Clip::Cispo {
                lowest: -1.0,
                epsilon_high: 1.0,
            }),
        ),
        (
            "clip.cispo.epsilon_high",
            clip(Clip::Cispo {
                lowest: 0.9,
                epsilon_high: 0.8,
            }),
        ),
        (
            "clip.sapo.temperature_pos",
            clip(Clip::Sapo {
                temperature_pos: 0.0,
                temperature_neg: 1.0,
            }),
        ),
        (
            "clip.sapo.temperature_neg",
            clip(Clip::Sapo {
                temperature_pos: 1.0,
                temperature_neg: f64::INFINITY,
            }),
        ),
        ("aggregation", LossConfig::dr_grpo(0)),
        ("kl.beta", kl(-1.0)),
        ("top_entropy_quantile", top(0.0)),
        ("top_entropy_quantile", top(f64::NAN)),
    ] {
        let error = config.check().unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn a_config_reads_from_toml_and_refuses_unknown_fields() {
    let text = r#"
        importance_sampling_level = "rank"
        clip = { ppo = { epsilon = 0.06, epsilon_high = 0.08 } }
        aggregation = { rank_mean = "all" }
        kl = { beta = 1e-3 }
    "#;
    assert_eq!(
        toml::from_str::<LossConfig>(text).unwrap(),
        LossConfig::paper()
    );
    let corrected: LossConfig = toml::from_str(&format!(
        "{text}\ncorrection = {{ level = \"sequence\", mode = {{ mask = {{ clip_max = 3.0, \
         clip_min = 0.5 }} }} }}"
    ))
    .unwrap();
    let mode = CorrectionMode::Mask {
        clip_max: 3.0,
        clip_min: Some(0.5),
    };
    assert_eq!(
        corrected.correction,
        Some(Correction {
            level: RatioLevel::Sequence,
            mode
        })
    );
    let truncated = Correction {
        level: RatioLevel::Rank,
        mode: CorrectionMode::Truncate {
            clip_max: 2.0,
            clip_min: None,
        },
    };
    let truncated = LossConfig {
        correction: Some(truncated),
        ..LossConfig::grpo()
    };
    for config in [
        LossConfig::paper(),
        LossConfig::dr_grpo(64),
        LossConfig::cispo(),
        LossConfig::sapo(),
        corrected,
        truncated,
    ] {
        let written = toml::to_string(&config).unwrap();
        assert_eq!(
            toml::from_str::<LossConfig>(&written).unwrap(),
            config,
            "{written}"
        );
    }
    let typo = text.replace("epsilon_high", "epsilon_hihg");
    assert!(
        toml::from_str::<LossConfig>(&typo)
            .unwrap_err()
            .to_string()
            .contains("hihg")
    );
    assert!(toml::from_str::<LossConfig>(&format!("{text}\nepsilon = 1")).is_err());
}
