//! The compared variants: the training of each policy, without its seed.

use convrec_demonstrations::PipelineConfig;
use convrec_metrics::rewards::RankReward;
use convrec_text::segments::Segmentation;
use convrec_train::{AdvantageEstimator, ForcedTokens, Reward, RewardTarget, RlConfig};
use quickstart::{MAX_NEW_TOKENS, cloning, list_level, rank_grpo};
use rank_grpo::{LossConfig, ScaleRewards};
use serde::Serialize;

/// A policy and its training.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Its name in tables.
    pub name: String,
    /// The pipeline of its demonstrations; none where it learned from no demonstrations.
    pub cloning: Option<PipelineConfig>,
    /// Its reinforcement learning, if any.
    pub rl: Option<Rl>,
}

/// Reinforcement learning.
#[derive(Debug, Clone, Serialize)]
pub struct Rl {
    /// Its settings; the seed is that of the run.
    pub config: RlConfig,
    /// Whether lists are unconstrained, in place of N different unseen catalog items.
    pub unconstrained: bool,
    /// The reading of unconstrained lists.
    pub segmentation: Segmentation,
}

/// One of the paper's experiments.
pub struct Experiment {
    /// The subcommand.
    pub name: &'static str,
    /// Its question.
    pub title: &'static str,
    /// The policies.
    pub variants: Vec<Variant>,
    /// The variant that the others are tested against.
    pub against: &'static str,
}

/// A variant without reinforcement learning.
fn imitating(name: &str, cloning: PipelineConfig) -> Variant {
    Variant {
        name: name.into(),
        cloning: Some(cloning),
        rl: None,
    }
}

/// A variant within the catalog, from the usual demonstrations.
fn reinforced(name: &str, config: RlConfig) -> Variant {
    let rl = Rl {
        config,
        unconstrained: false,
        segmentation: Segmentation::OneParse,
    };
    Variant {
        name: name.into(),
        cloning: Some(cloning()),
        rl: Some(rl),
    }
}

/// The paper's members of the loss family, each with one update and with two of each batch.
pub fn algorithms(rl_steps: usize) -> Experiment {
    let mut variants = vec![
        Variant {
            name: "untrained".into(),
            cloning: None,
            rl: None,
        },
        imitating("SFT", cloning()),
    ];
    for mu in [1, 2] {
        let base = RlConfig {
            num_iterations: mu,
            ..rank_grpo(rl_steps, 0)
        };
        let ranked = |reward| RlConfig {
            reward: Reward::Rank(reward),
            ..base.clone()
        };
        let list = |loss| list_level(&base, loss);
        // Dr.GRPO takes advantages without standard deviation.
        let dr_grpo = RlConfig {
            scale_rewards: ScaleRewards::None,
            ..list(LossConfig::dr_grpo(MAX_NEW_TOKENS))
        };
        let members = [
            ("GRPO", list(LossConfig::grpo())),
            ("GSPO", list(LossConfig::gspo())),
            ("Dr.GRPO", dr_grpo),
            ("DAPO", list(LossConfig::dapo())),
            ("Rank-GRPO log_decay", ranked(RankReward::LogDecay)),
            (
                "Rank-GRPO exp_gamma(2)",
                ranked(RankReward::ExpGamma { gamma: 2.0 }),
            ),
            ("Rank-GRPO exp_inf", ranked(RankReward::ExpInf)),
        ];
        let zero = reinforced(&named("R1-zero", mu), base.clone());
        variants.push(Variant {
            cloning: None,
            ..zero
        });
        variants.extend(members.map(|(name, config)| reinforced(&named(name, mu), config)));
    }
    Experiment {
        name: "algorithms",
        title: "The algorithms: from SFT, and without it",
        variants,
        against: "SFT",
    }
}

/// Every member of the loss family, from one policy, with the same rollouts, updates (two of each
/// batch) and KL penalty.
pub fn family(rl_steps: usize) -> Experiment {
    let base = rank_grpo(rl_steps, 0);
    let list = |loss| list_level(&base, loss);
    let ordinal = |config| RlConfig {
        advantage_estimator: AdvantageEstimator::Ordinal,
        ..config
    };
    // Dr.GRPO takes advantages without standard deviation.
    let dr_grpo = RlConfig {
        scale_rewards: ScaleRewards::None,
        ..list(LossConfig::dr_grpo(MAX_NEW_TOKENS))
    };
    let masked = LossConfig {
        off_policy_mask_threshold: Some(OFF_POLICY),
        ..LossConfig::grpo()
    };
    let ranked = |clip| RlConfig {
        loss: LossConfig {
            clip,
            ..base.loss.clone()
        },
        ..base.clone()
    };
    let members = [
        ("GRPO", list(LossConfig::grpo())),
        ("GSPO", list(LossConfig::gspo())),
        ("Dr.GRPO", dr_grpo),
        ("BNPO", list(LossConfig::bnpo())),
        ("DAPO", list(LossConfig::dapo())),
        ("CISPO", list(LossConfig::cispo())),
        ("SAPO", list(LossConfig::sapo())),
        ("LUSPO", list(LossConfig::luspo())),
        ("VESPO", list(LossConfig::vespo())),
        ("two-sided clip", list(LossConfig::two_sided(4.0))),
        ("off-policy mask", list(masked)),
        ("GOPO", ordinal(list(LossConfig::grpo()))),
        ("Rank-GRPO", base.clone()),
        ("Rank-GRPO, CISPO", ranked(LossConfig::cispo().clip)),
        ("Rank-GRPO, SAPO", ranked(LossConfig::sapo().clip)),
        ("Rank-GRPO, ordinal", ordinal(base.clone())),
    ];
    let mut variants = vec![imitating("SFT", cloning())];
    variants.extend(members.map(|(name, config)| reinforced(name, config)));
    Experiment {
        name: "family",
        title: "The loss family at equal budgets",
        variants,
        against: "GRPO",
    }
}

/// The reward that [`targets`] keeps within bounds: 1 for an item of this genre.
pub const BOUNDED: &str = "genre:Horror";

/// A genre as a block list: fixed prices of its items against targets for their share.
pub fn targets(rl_steps: usize) -> Experiment {
    let priced = |weight| {
        let mut config = rank_grpo(rl_steps, 0);
        config.reward_weights.insert(BOUNDED.into(), weight);
        config
    };
    let bounded = |share| {
        let mut config = priced(0.0);
        let target = RewardTarget::at_most(share);
        config.reward_targets.insert(BOUNDED.into(), target);
        config
    };
    let trained = [
        (NO_TARGET, priced(0.0)),
        ("cost 0.05", priced(-0.05)),
        ("cost 0.2", priced(-0.2)),
        ("at most 5%", bounded(0.05)),
        ("at most 1%", bounded(0.01)),
    ];
    let mut variants = vec![imitating("SFT", cloning())];
    variants.extend(trained.map(|(name, config)| reinforced(name, config)));
    Experiment {
        name: "targets",
        title: "A target for the share of a genre",
        variants,
        against: NO_TARGET,
    }
}

/// The name of the variant of [`targets`] without one.
const NO_TARGET: &str = "no target";

/// The threshold of off-policy sequence masking in [`family`], nats a token. TRL has no default.
const OFF_POLICY: f64 = 0.01;

/// The name of a variant with `mu` updates of each batch.
pub fn named(name: &str, mu: usize) -> String {
    format!("{name} mu={mu}")
}

/// The name of Rank-GRPO as this project does it by default, among [`ablations`].
pub const OURS: &str = "ours";
/// The name of the variant of [`ablations`] that trains on unconstrained lists.
pub const UNCONSTRAINED: &str = "unconstrained";

/// The ablations of this project's departures from the paper or its public code, one change at a
/// time.
pub fn ablations(rl_steps: usize) -> Experiment {
    let base = rank_grpo(rl_steps, 0);
    let aggregation = LossConfig::authors().aggregation;
    let token_mean = RlConfig {
        loss: LossConfig {
            aggregation,
            ..base.loss.clone()
        },
        ..base.clone()
    };
    let narrow_clip = RlConfig {
        loss: LossConfig::paper(),
        ..base.clone()
    };
    let all_tokens = RlConfig {
        forced_tokens: ForcedTokens::Count,
        ..narrow_clip.clone()
    };
    let unconstrained = |name: &str, segmentation| Variant {
        rl: Some(Rl {
            config: base.clone(),
            unconstrained: true,
            segmentation,
        }),
        ..reinforced(name, base.clone())
    };
    let variants = vec![
        imitating("SFT", cloning()),
        reinforced(OURS, base.clone()),
        reinforced("mean over tokens", token_mean),
        reinforced("the paper's clip", narrow_clip),
        reinforced("the paper's clip, ratio over all tokens", all_tokens),
        unconstrained(UNCONSTRAINED, Segmentation::OneParse),
        unconstrained("unconstrained, pairing by lines", Segmentation::Reference),
    ];
    Experiment {
        name: "ablations",
        title: "Choices, ours and the paper's",
        variants,
        against: OURS,
    }
}

/// Rank-GRPO with rollouts and updates in order, and with rollouts that are sampled while the
/// updates of the step before run; each with one update and with two of each batch.
pub fn rollouts(rl_steps: usize) -> Experiment {
    let mut variants = vec![imitating("SFT", cloning())];
    for num_iterations in [1, 2] {
        for (name, one_step_off_policy) in [(IN_ORDER, false), ("one step off-policy", true)] {
            let config = RlConfig {
                num_iterations,
                one_step_off_policy,
                ..rank_grpo(rl_steps, 0)
            };
            variants.push(reinforced(&named(name, num_iterations), config));
        }
    }
    Experiment {
        name: "rollouts",
        title: "Rollouts in order, and one step off-policy",
        variants,
        against: "in order mu=2",
    }
}

/// The name of the variants of [`rollouts`] in order, without mu.
const IN_ORDER: &str = "in order";

/// The name of the variant of [`demonstration_steps`] with all steps.
pub const ALL_STEPS: &str = "all steps";

/// Demonstrations without some steps of Remap-Reflect-Adjust, imitated and then trained on.
pub fn demonstration_steps(rl_steps: usize) -> Experiment {
    let full = cloning();
    let variants = [
        (ALL_STEPS, full),
        (
            "no remap, no reflect",
            PipelineConfig {
                remap: false,
                reflect: false,
                ..full
            },
        ),
        (
            "no reflect",
            PipelineConfig {
                reflect: false,
                ..full
            },
        ),
        (
            "no adjust",
            PipelineConfig {
                adjust: false,
                ..full
            },
        ),
    ];
    let trained = |name: &str, cloning| Variant {
        cloning: Some(cloning),
        ..reinforced(&format!("{name}: + Rank-GRPO"), rank_grpo(rl_steps, 0))
    };
    let variants = variants.map(|(name, config)| [imitating(name, config), trained(name, config)]);
    let variants = variants.into_iter().flatten().collect();
    Experiment {
        name: "demonstrations",
        title: "Remap-Reflect-Adjust, step by step",
        variants,
        against: ALL_STEPS,
    }
}

impl Experiment {
    /// This experiment with only the variants whose names begin with one of `names`, in any case.
    ///
    /// # Errors
    /// When no variant's name begins with one of `names`.
    pub fn only(mut self, names: &[String]) -> Result<Self, String> {
        let begins = |variant: &Variant, name: &String| {
            variant
                .name
                .to_lowercase()
                .starts_with(&name.trim().to_lowercase())
        };
        if let Some(name) = names
            .iter()
            .find(|name| !self.variants.iter().any(|variant| begins(variant, name)))
        {
            let all: Vec<&str> = self
                .variants
                .iter()
                .map(|variant| variant.name.as_str())
                .collect();
            return Err(format!(
                "--only {name}: no such variant; expected beginnings of: {}",
                all.join(", ")
            ));
        }
        self.variants
            .retain(|variant| names.is_empty() || names.iter().any(|name| begins(variant, name)));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arms_differ_and_their_settings_make_sense() {
        for Experiment {
            variants, against, ..
        } in [
            algorithms(2),
            family(2),
            targets(2),
            ablations(2),
            rollouts(2),
            demonstration_steps(2),
        ] {
            assert!(variants.iter().any(|variant| variant.name == against));
            for (place, variant) in variants.iter().enumerate() {
                let (name, rl) = (&variant.name, &variant.rl);
                assert!(
                    rl.as_ref().is_none_or(|rl| rl.config.check().is_ok()),
                    "{name}"
                );
                let how = |variant: &Variant| {
                    (variant.cloning, serde_json::to_string(&variant.rl).unwrap())
                };
                assert!(
                    variants[..place]
                        .iter()
                        .all(|other| other.name != *name && how(other) != how(variant)),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn arms_are_chosen_by_beginnings() {
        let only = |names: &[&str]| {
            algorithms(2).only(
                &names
                    .iter()
                    .map(|name| name.to_string())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(only(&["sft", "GRPO"]).unwrap().variants.len(), 3);
        assert_eq!(only(&[]).unwrap().variants.len(), 18);
        assert!(only(&["PPO"]).err().unwrap().contains("--only PPO"));
    }
}
