//! The authors' loss (`loss.json`): values, gradients and clip metrics.

mod common;

use common::{Case, assert_close, autodiff, forward, max_abs, oracle, oracle_precision};
use rank_grpo::{
    Aggregation, Clip, Kl, KlEstimator, LossConfig, LossInputs, Metrics, RatioLevel, Segments,
    spread,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    id: String,
    importance_sampling_level: String,
    loss_type: String,
    beta: f64,
    epsilon_low: f64,
    epsilon_high: f64,
    delta: Option<f64>,
    rec_num: usize,
    max_completion_length: usize,
    top_entropy_quantile: f64,
    advantages_per_token: bool,
    logp_new: Vec<Vec<f64>>,
    logp_old: Option<Vec<Vec<f64>>>,
    logp_ref: Option<Vec<Vec<f64>>>,
    item_seg_ids: Vec<Vec<i64>>,
    completion_mask: Vec<Vec<u8>>,
    loss_mask: Option<Vec<Vec<u8>>>,
    advantages: serde_json::Value,
    entropies: Option<Vec<Vec<f64>>>,
    loss: f64,
    grad_logp_new: Vec<Vec<f64>>,
    metrics: GoldenMetrics,
}

#[derive(Deserialize)]
struct GoldenMetrics {
    kl: Option<f64>,
    entropy: Option<f64>,
    clip_low: f64,
    clip_high: f64,
    clip_region: f64,
}

impl Golden {
    fn config(&self) -> LossConfig {
        let kl = Kl {
            beta: self.beta,
            estimator: KlEstimator::K3,
            use_bias_correction_kl: false,
            aggregation: None,
        };
        LossConfig {
            importance_sampling_level: match self.importance_sampling_level.as_str() {
                "token" => RatioLevel::Token,
                "item" => RatioLevel::Rank,
                "sequence" => RatioLevel::Sequence,
                other => panic!("{other}"),
            },
            clip: Clip::Ppo {
                epsilon: self.epsilon_low,
                epsilon_high: self.epsilon_high,
                delta: self.delta,
            },
            aggregation: match self.loss_type.as_str() {
                "grpo" => Aggregation::RowMean,
                "bnpo" => Aggregation::TokenMean,
                "dr_grpo" => Aggregation::ConstantLength(self.max_completion_length),
                other => panic!("{other}"),
            },
            kl: (self.beta != 0.0).then_some(kl),
            top_entropy_quantile: self.top_entropy_quantile,
            entropy_coef: 0.0,
            correction: None,
            off_policy_mask_threshold: None,
        }
    }

    fn case(&self) -> Case {
        let shape = [self.logp_new.len(), self.logp_new[0].len()];
        let mask = self.loss_mask.as_ref().unwrap_or(&self.completion_mask);
        let mask: Vec<bool> = mask.concat().into_iter().map(|m| m == 1).collect();
        let segments = Segments::ranks_and_overflow(&self.item_seg_ids.concat(), self.rec_num);
        let advantages = if self.advantages_per_token {
            serde_json::from_value::<Vec<Vec<f64>>>(self.advantages.clone())
                .unwrap()
                .concat()
        } else {
            let rows: Vec<f64> = serde_json::from_value(self.advantages.clone()).unwrap();
            let rows: Vec<Vec<f64>> = rows.into_iter().map(|a| vec![a]).collect();
            spread(&rows, &Segments::sequences(shape[0] * shape[1])).unwrap()
        };
        let inputs = LossInputs {
            old_log_probs: self.logp_old.as_ref().map(|x| x.concat()),
            ref_log_probs: self.logp_ref.as_ref().map(|x| x.concat()),
            entropies: self.entropies.as_ref().map(|x| x.concat()),
            ..LossInputs::new(shape, mask, segments, advantages)
        };
        Case {
            id: self.id.clone(),
            config: self.config(),
            log_probs: self.logp_new.concat(),
            inputs,
        }
    }

    /// Quirk L6 as a batch of one-token rows. Where ratio and advantage are per row, the reference
    /// takes the plain mean over rows, with ratio 1 for empty ones. Where rows are one token wide
    /// it forgets the mask.
    fn one_token_rows(&self, case: &Case) -> Case {
        let [b, n] = case.inputs.shape;
        let old = case
            .inputs
            .old_log_probs
            .as_ref()
            .unwrap_or(&case.log_probs);
        let log_ratio = |row: usize| {
            let tokens: Vec<usize> = (row * n..(row + 1) * n)
                .filter(|&t| case.inputs.mask[t])
                .collect();
            tokens
                .iter()
                .map(|&t| case.log_probs[t] - old[t])
                .sum::<f64>()
                / tokens.len().max(1) as f64
        };
        let advantages = (0..b).map(|row| case.inputs.advantages[row * n]).collect();
        Case {
            id: format!("{} by rows", case.id),
            config: LossConfig {
                kl: None,
                top_entropy_quantile: 1.0,
                ..case.config.clone()
            },
            log_probs: (0..b).map(log_ratio).collect(),
            inputs: LossInputs {
                old_log_probs: Some(vec![0.0; b]),
                ..LossInputs::new([b, 1], vec![true; b], Segments::sequences(b), advantages)
            },
        }
    }

    fn counts_rows(&self) -> bool {
        let per_row = self.importance_sampling_level == "sequence" && !self.advantages_per_token;
        per_row || self.logp_new[0].len() == 1
    }
}

fn cases() -> Vec<(Golden, Case)> {
    let file: File = convrec_testdata::golden_as("loss.json");
    assert!(!file.cases.is_empty());
    file.cases
        .into_iter()
        .map(|golden| (golden.case(), golden))
        .map(|(case, golden)| (golden, case))
        .collect()
}

#[test]
fn the_host_loss_is_the_reference() {
    for (golden, case) in cases() {
        let found = case.loss().evaluate(&case.log_probs, &case.inputs).unwrap();
        assert_close(&case.id, &[found.loss], &[golden.loss], 1e-9);
        assert_close(
            &case.id,
            &found.gradient,
            &golden.grad_logp_new.concat(),
            1e-9,
        );
    }
}

#[test]
fn the_tensor_loss_is_the_reference() {
    for (golden, case) in cases() {
        let expected = golden.grad_logp_new.concat();
        let (loss, gradient) = forward(&case);
        assert_close(&case.id, &[loss], &[golden.loss], 1e-6);
        assert_close(&case.id, &gradient, &expected, 1e-5 * max_abs(&expected));
    }
}

#[test]
fn the_oracles_are_the_reference_too() {
    for (golden, case) in cases() {
        let expected = golden.grad_logp_new.concat();
        let (loss, gradient) = oracle::gradient(&case);
        assert_close(&case.id, &[loss], &[golden.loss], 1e-9);
        assert_close(&case.id, &gradient, &expected, 1e-9);
        let (loss, gradient) = autodiff(&case);
        let tolerance = oracle_precision().1;
        assert_close(
            &case.id,
            &[loss],
            &[golden.loss],
            tolerance * golden.loss.abs().max(1.0),
        );
        assert_close(
            &case.id,
            &gradient,
            &expected,
            tolerance * max_abs(&expected),
        );
    }
}

#[test]
fn the_metrics_are_the_reference() {
    for (golden, case) in cases() {
        let metrics = case
            .loss()
            .evaluate(&case.log_probs, &case.inputs)
            .unwrap()
            .metrics;
        for (found, expected) in [
            (metrics.kl, golden.metrics.kl),
            (metrics.entropy, golden.metrics.entropy),
        ] {
            assert_eq!(found.is_some(), expected.is_some(), "{}", case.id);
            assert_close(&case.id, found.as_slice(), expected.as_slice(), 1e-9);
        }
        let rows = golden.one_token_rows(&case);
        let clips: Metrics = if golden.counts_rows() {
            rows.loss()
                .evaluate(&rows.log_probs, &rows.inputs)
                .unwrap()
                .metrics
        } else {
            metrics
        };
        let found = [
            clips.clip_ratio_low,
            clips.clip_ratio_high,
            clips.clip_ratio_region,
        ];
        let expected = [
            golden.metrics.clip_low,
            golden.metrics.clip_high,
            golden.metrics.clip_region,
        ];
        assert_close(&case.id, &found, &expected, 1e-6);
    }
}
