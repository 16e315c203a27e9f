//! TRL 1.16.0's own loss (`data/trl_loss.json`, made by `python/rank_grpo/golden/make_trl.py`).

use std::collections::BTreeMap;

use rank_grpo::{
    BatchTotals, Clip, Correction, CorrectionMode, Kl, LossConfig, LossInputs, LossType,
    RatioLevel, Segments,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    trl: String,
    max_completion_length: usize,
    cases: Vec<Golden>,
}

#[derive(Deserialize)]
struct Golden {
    id: String,
    loss_type: LossType,
    importance_sampling_level: RatioLevel,
    epsilon: f64,
    epsilon_high: f64,
    delta: Option<f64>,
    beta: f64,
    use_bias_correction_kl: bool,
    top_entropy_quantile: f64,
    entropy_coef: f64,
    off_policy_mask_threshold: Option<f64>,
    correction: Option<String>,
    clip_max: Option<f64>,
    clip_min: Option<f64>,
    num_items_in_batch: usize,
    log_probs: Vec<Vec<f64>>,
    entropies: Vec<Vec<f64>>,
    old_log_probs: Option<Vec<Vec<f64>>>,
    sampler_log_probs: Option<Vec<Vec<f64>>>,
    ref_log_probs: Option<Vec<Vec<f64>>>,
    mask: Vec<Vec<u8>>,
    advantages: Vec<Vec<f64>>,
    loss: f64,
    gradient: Vec<Vec<f64>>,
    entropy_gradient: Option<Vec<Vec<f64>>>,
    metrics: BTreeMap<String, f64>,
}

impl Golden {
    fn config(&self, max_completion_length: usize) -> LossConfig {
        let mut config = self.loss_type.config(max_completion_length);
        match &mut config.clip {
            Clip::Ppo {
                epsilon,
                epsilon_high,
                delta,
            } => (*epsilon, *epsilon_high, *delta) = (self.epsilon, self.epsilon_high, self.delta),
            Clip::Cispo { epsilon_high, .. } => *epsilon_high = self.epsilon_high,
            _ => {}
        }
        if self.loss_type != LossType::Vespo {
            config.importance_sampling_level = self.importance_sampling_level;
        }
        config.kl = (self.beta != 0.0).then(|| Kl {
            beta: self.beta,
            use_bias_correction_kl: self.use_bias_correction_kl,
            ..LossConfig::grpo().kl.expect("GRPO has a KL penalty")
        });
        config.top_entropy_quantile = self.top_entropy_quantile;
        config.entropy_coef = self.entropy_coef;
        config.off_policy_mask_threshold = self.off_policy_mask_threshold;
        config.correction = self.correction.as_ref().map(|mode| {
            let (clip_max, clip_min) = (self.clip_max.expect("a bound"), self.clip_min);
            Correction {
                level: match mode.starts_with("sequence") {
                    true => RatioLevel::Sequence,
                    false => RatioLevel::Token,
                },
                mode: match mode.ends_with("truncate") {
                    true => CorrectionMode::Truncate { clip_max, clip_min },
                    false => CorrectionMode::Mask { clip_max, clip_min },
                },
            }
        });
        config
    }

    fn inputs(&self) -> LossInputs {
        let shape = [self.mask.len(), self.mask[0].len()];
        let mask = self.mask.concat().iter().map(|m| *m == 1).collect();
        let segments = Segments::sequences(shape[0] * shape[1]);
        let whole = [LossType::Dapo, LossType::Cispo, LossType::Vespo].contains(&self.loss_type);
        LossInputs {
            old_log_probs: self.old_log_probs.as_ref().map(|x| x.concat()),
            sampler_log_probs: self.sampler_log_probs.as_ref().map(|x| x.concat()),
            ref_log_probs: self.ref_log_probs.as_ref().map(|x| x.concat()),
            entropies: Some(self.entropies.concat()),
            whole_batch: (whole && self.entropy_coef == 0.0).then_some(BatchTotals {
                rows: shape[0],
                tokens: self.num_items_in_batch,
            }),
            ..LossInputs::new(shape, mask, segments, self.advantages.concat())
        }
    }
}

fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        // Not `>`: NaN must fail.
        assert!(
            (found - expected).abs() <= tolerance,
            "{what}: {found} is not {expected}"
        );
    }
}

#[test]
fn loss_gradients_and_metrics_are_those_of_trl() {
    let text = include_str!("data/trl_loss.json");
    let file: File = serde_json::from_str(text).unwrap();
    assert_eq!(file.trl, "1.16.0");
    assert!(file.cases.len() > 100);
    for case in file.cases {
        let loss = case.config(file.max_completion_length).check().unwrap();
        let found = loss
            .evaluate(&case.log_probs.concat(), &case.inputs())
            .unwrap();
        let what = format!("{} {:?}", case.id, loss.config());
        // TRL holds SAPO's temperatures and the share of a threshold in f32.
        let tolerance = match case.loss_type {
            LossType::Sapo => 1e-6,
            _ => 1e-12,
        };
        close(&what, &[found.loss], &[case.loss], tolerance);
        close(&what, &found.gradient, &case.gradient.concat(), tolerance);
        let bonus = case.entropy_gradient.map(|x| x.concat());
        close(
            &what,
            &found.entropy_gradient.unwrap_or_default(),
            &bonus.unwrap_or_default(),
            1e-12,
        );
        for (name, found) in [
            ("kl", found.metrics.kl),
            ("entropy", found.metrics.entropy),
            ("clip_ratio/low_mean", Some(found.metrics.clip_ratio_low)),
            ("clip_ratio/high_mean", Some(found.metrics.clip_ratio_high)),
            (
                "clip_ratio/region_mean",
                Some(found.metrics.clip_ratio_region),
            ),
            ("cispo_clip_ratio", Some(found.metrics.clip_ratio_high)),
        ] {
            // At sequence level TRL's shares are of rows, ours of tokens.
            let comparable = !name.contains("clip")
                || loss.config().importance_sampling_level == RatioLevel::Token;
            if let (Some(expected), true) = (case.metrics.get(name), comparable) {
                close(
                    &format!("{what} {name}"),
                    found.as_slice(),
                    &[*expected],
                    1e-6,
                );
            }
        }
    }
}
