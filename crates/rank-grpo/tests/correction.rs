//! The correction for a sampler that is not the trainer, by numbers that can be followed by hand.

mod common;

use common::assert_close;
use rank_grpo::{
    Clip, Correction, CorrectionMode, Evaluation, LossConfig, LossInputs, RatioLevel, Segments,
};

/// Two completions of two tokens: for each the ratio of the trainer's probability to the sampler's.
const TIMES: [f64; 4] = [4.0, 0.25, 3.0, 2.0];
const OLD: [f64; 4] = [-0.5, -1.0, -1.5, -2.0];
const ADVANTAGES: [f64; 4] = [1.0, -2.0, 0.5, 3.0];

fn evaluate(config: LossConfig, correction: Option<(RatioLevel, CorrectionMode)>) -> Evaluation {
    let sampler = OLD
        .iter()
        .zip(TIMES)
        .map(|(old, times)| old - times.ln())
        .collect();
    let inputs = LossInputs {
        old_log_probs: Some(OLD.to_vec()),
        sampler_log_probs: Some(sampler),
        ref_log_probs: Some(vec![-1.0; 4]),
        ..LossInputs::new(
            [2, 2],
            vec![true; 4],
            Segments::ranks(&[0, 1, 0, 0], 2),
            ADVANTAGES.to_vec(),
        )
    };
    let correction = correction.map(|(level, mode)| Correction { level, mode });
    LossConfig {
        correction,
        ..config
    }
    .check()
    .unwrap()
    .evaluate(&OLD, &inputs)
    .unwrap()
}

/// On-policy and without a clip, a token's gradient is `-A` times its weight, over the four tokens.
#[test]
fn each_level_and_mode_weighs_as_its_formula_says() {
    let config = LossConfig {
        clip: Clip::None,
        kl: None,
        ..LossConfig::bnpo()
    };
    let truncate = |at| CorrectionMode::Truncate {
        clip_max: at,
        clip_min: None,
    };
    let mask = |clip_max, clip_min| CorrectionMode::Mask { clip_max, clip_min };
    let root = 6.0f64.sqrt();
    for (level, mode, weights, cut) in [
        (RatioLevel::Token, truncate(2.5), [2.5, 0.25, 2.5, 2.0], 0.5),
        (
            RatioLevel::Token,
            CorrectionMode::Truncate {
                clip_max: 3.5,
                clip_min: Some(0.5),
            },
            [3.5, 0.5, 3.0, 2.0],
            0.5,
        ),
        (
            RatioLevel::Token,
            mask(3.5, None),
            [0.0, 0.25, 3.0, 2.0],
            0.25,
        ),
        (
            RatioLevel::Token,
            mask(3.5, Some(0.5)),
            [0.0, 0.0, 3.0, 2.0],
            0.5,
        ),
        // Ranks: the two tokens of the first completion, and all of the second: the root of 3
        // times 2.
        (
            RatioLevel::Rank,
            truncate(3.5),
            [3.5, 0.25, root, root],
            0.25,
        ),
        (
            RatioLevel::Rank,
            mask(2.0, Some(0.25)),
            [0.0, 0.25, 0.0, 0.0],
            0.75,
        ),
        // Completions: 4 times a quarter, and 3 times 2.
        (
            RatioLevel::Sequence,
            truncate(5.0),
            [1.0, 1.0, 5.0, 5.0],
            0.5,
        ),
        (
            RatioLevel::Sequence,
            mask(7.0, None),
            [1.0, 1.0, 6.0, 6.0],
            0.0,
        ),
    ] {
        let found = evaluate(config.clone(), Some((level, mode)));
        let expected: Vec<f64> = weights
            .iter()
            .zip(ADVANTAGES)
            .map(|(w, a)| -a * w / 4.0)
            .collect();
        let what = format!("{level:?} {mode:?}");
        assert_close(&what, &found.gradient, &expected, 1e-12);
        assert_close(&what, &[found.loss], &[expected.iter().sum()], 1e-12);
        let metrics = found.metrics.correction.unwrap();
        let [min, max] = [f64::INFINITY, f64::NEG_INFINITY];
        let expected = [
            weights.iter().sum::<f64>() / 4.0,
            weights.iter().copied().fold(min, f64::min),
            weights.iter().copied().fold(max, f64::max),
            cut,
        ];
        assert_close(
            &what,
            &[metrics.mean, metrics.min, metrics.max, metrics.cut],
            &expected,
            1e-12,
        );
    }
}

#[test]
fn the_kl_penalty_is_not_weighed() {
    let no_policy_loss = CorrectionMode::Mask {
        clip_max: 1.0,
        clip_min: Some(1.0),
    };
    for use_bias_correction_kl in [false, true] {
        let mut config = LossConfig::grpo();
        config.kl.as_mut().unwrap().use_bias_correction_kl = use_bias_correction_kl;
        let masked = evaluate(config.clone(), Some((RatioLevel::Token, no_policy_loss)));
        let plain = evaluate(config.clone(), None);
        let without_kl = evaluate(LossConfig { kl: None, ..config }, None);
        let kl: Vec<f64> = plain
            .gradient
            .iter()
            .zip(&without_kl.gradient)
            .map(|(a, b)| a - b)
            .collect();
        assert_close("gradient", &masked.gradient, &kl, 1e-12);
        assert_eq!(masked.metrics.kl, plain.metrics.kl);
    }
}
