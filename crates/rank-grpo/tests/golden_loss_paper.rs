//! The family as papers and TRL state it (`loss_paper.json`), by way of the presets.

mod common;

use std::collections::BTreeMap;

use common::{Case, assert_close, autodiff, forward, max_abs, oracle, oracle_precision};
use rank_grpo::{
    Aggregation, BatchTotals, Clip, Kl, KlEstimator, LossConfig, LossInputs, RankCount, RatioLevel,
    Segments, spread,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    id: String,
    variant: String,
    importance_sampling_level: String,
    beta: f64,
    epsilon_low: f64,
    epsilon_high: f64,
    delta: Option<f64>,
    max_completion_length: usize,
    num_items_in_batch: usize,
    kl_bias_correction: bool,
    sapo_temperature_pos: f64,
    sapo_temperature_neg: f64,
    rec_num: usize,
    rank_norm: Option<String>,
    kl_aggregation: Option<String>,
    logp_new: Vec<Vec<f64>>,
    logp_old: Option<Vec<Vec<f64>>>,
    logp_ref: Option<Vec<Vec<f64>>>,
    mask: Vec<Vec<u8>>,
    item_seg_ids: Vec<Vec<i64>>,
    advantages: serde_json::Value,
    trl_metrics: Option<BTreeMap<String, f64>>,
    loss: f64,
    grad_logp_new: Vec<Vec<f64>>,
}

impl Golden {
    fn config(&self) -> LossConfig {
        let low = self.epsilon_low;
        let high = self.epsilon_high;
        let ppo = Clip::Ppo {
            epsilon: low,
            epsilon_high: high,
            delta: self.delta,
        };
        let preset = match self.variant.as_str() {
            "rank_grpo_paper" => LossConfig {
                clip: ppo,
                aggregation: self.rank_mean(),
                ..LossConfig::paper()
            },
            "grpo" | "grpo_two_sided" => LossConfig {
                clip: ppo,
                ..LossConfig::grpo()
            },
            "gspo" | "gspo_wide" => LossConfig {
                clip: ppo,
                ..LossConfig::gspo()
            },
            "luspo" => LossConfig {
                clip: ppo,
                ..LossConfig::luspo()
            },
            "bnpo" => LossConfig {
                clip: ppo,
                ..LossConfig::bnpo()
            },
            "dr_grpo" => LossConfig {
                clip: ppo,
                ..LossConfig::dr_grpo(self.max_completion_length)
            },
            "dapo" => LossConfig {
                clip: ppo,
                ..LossConfig::dapo()
            },
            "cispo" => LossConfig {
                clip: Clip::Cispo {
                    lowest: 0.0,
                    epsilon_high: high,
                },
                ..LossConfig::cispo()
            },
            "cispo_minimax" => LossConfig {
                clip: Clip::Cispo {
                    lowest: 1.0 - low,
                    epsilon_high: 1.0 + high,
                },
                ..LossConfig::cispo()
            },
            "sapo" => LossConfig {
                clip: Clip::Sapo {
                    temperature_pos: self.sapo_temperature_pos,
                    temperature_neg: self.sapo_temperature_neg,
                },
                ..LossConfig::sapo()
            },
            other => panic!("{}: variant {other}", self.id),
        };
        let level = match preset.importance_sampling_level {
            RatioLevel::Token => "token",
            RatioLevel::Rank => "item",
            RatioLevel::Sequence => "sequence",
        };
        assert_eq!(
            level, self.importance_sampling_level,
            "{}: the preset's ratio level",
            self.id
        );
        LossConfig {
            kl: self.kl(),
            ..preset
        }
    }

    fn rank_mean(&self) -> Aggregation {
        Aggregation::RankMean(match self.rank_norm.as_deref() {
            Some("N") => RankCount::All,
            Some("present") => RankCount::Present,
            other => panic!("{}: rank_norm {other:?}", self.id),
        })
    }

    fn kl(&self) -> Option<Kl> {
        let aggregation = match self.kl_aggregation.as_deref() {
            None => None,
            Some("token") => Some(Aggregation::RowMean),
            Some("rank") => Some(self.rank_mean()),
            Some(other) => panic!("{}: kl_aggregation {other}", self.id),
        };
        let use_bias_correction_kl = self.kl_bias_correction;
        (self.beta != 0.0).then_some(Kl {
            beta: self.beta,
            estimator: KlEstimator::K3,
            use_bias_correction_kl,
            aggregation,
        })
    }

    fn case(&self) -> Case {
        let shape = [self.logp_new.len(), self.logp_new[0].len()];
        let by_rank = self.variant == "rank_grpo_paper";
        let segments = Segments::ranks(&self.item_seg_ids.concat(), self.rec_num);
        let advantages = if by_rank {
            spread(
                &serde_json::from_value::<Vec<Vec<f64>>>(self.advantages.clone()).unwrap(),
                &segments,
            )
        } else {
            let rows: Vec<f64> = serde_json::from_value(self.advantages.clone()).unwrap();
            let rows: Vec<Vec<f64>> = rows.into_iter().map(|a| vec![a]).collect();
            spread(&rows, &Segments::sequences(segments.len()))
        };
        let whole = BatchTotals {
            rows: shape[0],
            tokens: self.num_items_in_batch,
        };
        let mask = self.mask.concat().into_iter().map(|m| m == 1).collect();
        let inputs = LossInputs {
            old_log_probs: self.logp_old.as_ref().map(|x| x.concat()),
            ref_log_probs: self.logp_ref.as_ref().map(|x| x.concat()),
            whole_batch: ["dapo", "cispo", "cispo_minimax"]
                .contains(&self.variant.as_str())
                .then_some(whole),
            ..LossInputs::new(shape, mask, segments, advantages.unwrap())
        };
        Case {
            id: self.id.clone(),
            config: self.config(),
            log_probs: self.logp_new.concat(),
            inputs,
        }
    }
}

fn cases() -> Vec<(Golden, Case)> {
    let file: File = convrec_testdata::golden_as("loss_paper.json");
    assert!(!file.cases.is_empty());
    file.cases
        .into_iter()
        .map(|golden| (golden.case(), golden))
        .map(|(case, golden)| (golden, case))
        .collect()
}

#[test]
fn the_host_loss_is_the_paper() {
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
fn the_tensor_loss_is_the_paper() {
    for (golden, case) in cases() {
        let expected = golden.grad_logp_new.concat();
        let (loss, gradient) = forward(&case);
        assert_close(
            &case.id,
            &[loss],
            &[golden.loss],
            1e-6 * golden.loss.abs().max(1.0),
        );
        assert_close(&case.id, &gradient, &expected, 1e-5 * max_abs(&expected));
    }
}

#[test]
fn the_oracles_are_the_paper_too() {
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

/// Clip shares but those at sequence level. TRL's are over rows there (quirk L6), which
/// `golden_loss.rs` covers.
#[test]
fn the_metrics_are_trls() {
    let mut compared = 0;
    for (golden, case) in cases() {
        let metrics = case
            .loss()
            .evaluate(&case.log_probs, &case.inputs)
            .unwrap()
            .metrics;
        let sequence = golden.importance_sampling_level == "sequence";
        for (name, expected) in golden.trl_metrics.iter().flatten() {
            let found = match name.as_str() {
                "kl" => metrics.kl.unwrap(),
                "cispo_clip_ratio" => metrics.clip_ratio_high,
                "clip_ratio/low_mean" if !sequence => metrics.clip_ratio_low,
                "clip_ratio/high_mean" if !sequence => metrics.clip_ratio_high,
                "clip_ratio/region_mean" if !sequence => metrics.clip_ratio_region,
                _ if sequence => continue,
                other => panic!("{}: metric {other}", case.id),
            };
            assert_close(&format!("{} {name}", case.id), &[found], &[*expected], 1e-6);
            compared += 1;
        }
    }
    assert!(compared > 0);
}
