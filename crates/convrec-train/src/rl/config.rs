use std::collections::BTreeMap;

use convrec_config::{ConfigError, check};
use convrec_policy::{Generation, LoraConfig, Sampling};
use rank_grpo::{Clip, Kl, LengthShaping, Loss, LossConfig, ScaleRewards};
use serde::{Deserialize, Serialize};

use super::collect::DynamicSampling;
use super::kl::KlControl;
use crate::config::check_lora;
use crate::optim::OptimizerConfig;
use crate::reward::{
    AdvantageEstimator, LARGEST_REWARD, MultiObjectiveAggregation, Reward, RewardCondition,
    RewardTarget, check_tables, named,
};
use crate::rollout::ForcedTokens;
use crate::task::Task;

/// Settings of reinforcement learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RlConfig {
    /// Batches of rollouts in all.
    pub max_steps: usize,
    /// P, prompts a step.
    pub prompts_per_step: usize,
    /// G, completions of each.
    pub num_generations: usize,
    /// mu, the number of passes over each batch of rollouts.
    pub num_iterations: usize,
    /// Whether the rollouts of the next step are sampled while the updates of a step run (verl's
    /// `one_step_off_policy`). They are drawn by the policy as it was before these updates, and
    /// the importance ratios compare with that policy.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub one_step_off_policy: bool,
    /// The updates of each pass. The batch's prompts are shuffled and dealt out, and each update is
    /// normalised by its own share.
    pub mini_batches: usize,
    /// Completions side by side in training. It changes memory and speed, and results only by
    /// rounding. With `loss.top_entropy_quantile` below 1 it changes results, as the threshold is
    /// each part's own.
    pub micro_batch: usize,
    /// Whether only the inputs of the policy's blocks are kept, and the rest computed once more for
    /// the gradients. It takes less memory and about a third more time.
    pub gradient_checkpointing: bool,
    /// Whether the products of the policy's blocks are computed in bf16, for GPUs with units for
    /// it. The weights stay in f32. Sampler and reference hold copies of the projections in bf16.
    pub bf16: bool,
    /// Completions side by side in sampling. It changes memory and speed.
    pub rollout_rows: usize,
    /// The temperature of sampling and training.
    pub temperature: f32,
    /// The number of tokens after which a completion is cut. Constrained completions all end.
    pub max_completion_length: usize,
    /// The rule by which a rank, or a list, is credited with the numbers of the reward functions.
    pub reward: Reward,
    /// The reward functions with their weights: `relevance` (the paper's only one), `novelty`,
    /// `popularity`, `diversity`, `genre:NAME`, and those that the program adds.
    pub reward_weights: BTreeMap<String, f64>,
    /// Targets for the means of reward functions, by name. They need no weight.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reward_targets: BTreeMap<String, RewardTarget>,
    /// Conditions on reward functions, by the name of the one that depends.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reward_conditions: BTreeMap<String, RewardCondition>,
    /// Whether the rewards are added up before or after they are compared within a group.
    pub multi_objective_aggregation: MultiObjectiveAggregation,
    /// Dynamic sampling: further prompts replace those whose completions all earn the same.
    pub dynamic_sampling: Option<DynamicSampling>,
    /// A controller that lets the weight of the KL penalty follow the KL.
    pub kl_control: Option<KlControl>,
    /// The way in which the rewards of a group become advantages.
    pub advantage_estimator: AdvantageEstimator,
    /// The divisor of advantages.
    pub scale_rewards: ScaleRewards,
    /// The loss. The default is the paper's with a wider clip.
    pub loss: LossConfig,
    /// Advantages that teach the list's length. They only act where ranks are rewarded and lists
    /// are unconstrained.
    pub shaping: LengthShaping,
    /// Whether cut completions are left out.
    pub mask_truncated_completions: bool,
    /// The treatment of tokens that the task's constraint forced.
    pub forced_tokens: ForcedTokens,
    /// The seed of the order of prompts and of sampling.
    pub seed: u64,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// A low-rank adapter to train in place of the weights. Its first weights are drawn by `seed`.
    pub lora: Option<LoraConfig>,
}

impl Default for RlConfig {
    /// Rank-GRPO as the paper states it (exp_inf, G = 8, mu = 1), sized for a small policy.
    fn default() -> Self {
        Self {
            max_steps: 100,
            prompts_per_step: 16,
            num_generations: 8,
            num_iterations: 1,
            one_step_off_policy: false,
            mini_batches: 1,
            micro_batch: 32,
            gradient_checkpointing: false,
            bf16: false,
            rollout_rows: 128,
            temperature: 1.0,
            max_completion_length: 256,
            reward: Reward::Rank(convrec_metrics::rewards::RankReward::ExpInf),
            reward_weights: BTreeMap::from([("relevance".into(), 1.0)]),
            reward_targets: BTreeMap::new(),
            reward_conditions: BTreeMap::new(),
            multi_objective_aggregation: MultiObjectiveAggregation::SumThenNormalize,
            dynamic_sampling: None,
            kl_control: None,
            advantage_estimator: AdvantageEstimator::Group,
            scale_rewards: ScaleRewards::Group,
            // The paper's clip is for means over all tokens of a title. A constraint forces most of
            // them, so such means hardly move. Means over decisions alone need more room
            // (docs/results/world.md, "Ablations").
            loss: LossConfig {
                clip: Clip::Ppo {
                    epsilon: 0.2,
                    epsilon_high: 0.28,
                    delta: None,
                },
                ..LossConfig::paper()
            },
            shaping: LengthShaping::default(),
            mask_truncated_completions: false,
            forced_tokens: ForcedTokens::LeaveOut,
            seed: 0,
            optimizer: OptimizerConfig {
                learning_rate: 1e-4,
                ..OptimizerConfig::default()
            },
            lora: None,
        }
    }
}

impl RlConfig {
    /// Checks every field, and returns the loss.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<Loss, ConfigError> {
        let shaped = self.shaping != LengthShaping::OFF;
        let reward = match self.reward {
            Reward::Rank(reward) => reward.check().is_ok(),
            _ => true,
        };
        let rules = [
            (
                "max_steps",
                (1..=MOST * 1000).contains(&self.max_steps),
                "1 to 1,000,000,000",
            ),
            (
                "prompts_per_step",
                (1..=MOST).contains(&self.prompts_per_step),
                "1 to 1,000,000",
            ),
            (
                "num_generations",
                (2..=MOST).contains(&self.num_generations),
                "2 to 1,000,000: one completion has nothing to be compared with",
            ),
            (
                "num_iterations",
                (1..=MOST).contains(&self.num_iterations),
                "1 to 1,000,000",
            ),
            (
                "mini_batches",
                (1..=self.prompts_per_step).contains(&self.mini_batches),
                "1 to `prompts_per_step`",
            ),
            ("micro_batch", self.micro_batch > 0, "at least 1"),
            (
                "rollout_rows",
                self.rollout_rows >= self.num_generations,
                "at least num_generations",
            ),
            (
                "temperature",
                self.temperature > 0.0 && self.temperature.is_finite(),
                "a positive number",
            ),
            (
                "max_completion_length",
                self.max_completion_length > 0,
                "at least 1",
            ),
            (
                "optimizer.warmup_steps",
                self.optimizer.warmup_steps < self.updates().max(1),
                "fewer than `max_steps` times `num_iterations` times `mini_batches`",
            ),
            ("reward.rank.exp_gamma.gamma", reward, "a number above 1"),
            (
                "reward_weights",
                !self.reward_weights.is_empty(),
                "at least one, as `relevance = 1.0`",
            ),
            (
                "reward_weights",
                self.reward_weights
                    .values()
                    .all(|weight| weight.abs() <= LARGEST_REWARD),
                "weights of at most 1e9 in size",
            ),
            (
                "multi_objective_aggregation",
                self.multi_objective_aggregation == MultiObjectiveAggregation::SumThenNormalize
                    || self.scale_rewards == ScaleRewards::Group,
                "`sum_then_normalize` where `scale_rewards` is not `group`",
            ),
            (
                "advantage_estimator",
                self.advantage_estimator == AdvantageEstimator::Group
                    || self.multi_objective_aggregation
                        == MultiObjectiveAggregation::SumThenNormalize,
                "`group` where `multi_objective_aggregation` is `normalize_then_sum`",
            ),
            (
                "dynamic_sampling.max_batches",
                self.dynamic_sampling.is_none_or(|d| d.max_batches > 0),
                "at least 1",
            ),
            (
                "dynamic_sampling.min_ranks",
                self.dynamic_sampling.is_none_or(|d| d.min_ranks > 0),
                "at least 1",
            ),
            (
                "kl_control",
                self.kl_control.is_none() || self.kl().is_some(),
                "none where `loss.kl.beta` is 0",
            ),
            (
                "kl_control.target",
                self.kl_control.is_none_or(|kl| positive(kl.target)),
                "a positive number",
            ),
            (
                "kl_control.horizon",
                self.kl_control.is_none_or(|kl| positive(kl.horizon)),
                "a positive number",
            ),
            (
                "shaping",
                self.reward.is_ranked() || !shaped,
                "zeros where lists as a whole are rewarded, as in `shaping = { exact = 0.0, early = 0.0, \
                 extra = 0.0 }`",
            ),
        ];
        check(self, &rules)?;
        let (targets, conditions) = (&self.reward_targets, &self.reward_conditions);
        check_tables(&self.reward_weights, targets, conditions)?;
        check_lora(self.lora.as_ref())?;
        self.optimizer.check()?;
        let bad = |e: rank_grpo::ConfigError| {
            ConfigError::new(format!("loss.{}", e.field), e.value, e.expected)
        };
        LossConfig {
            kl: self.kl(),
            ..self.loss.clone()
        }
        .check()
        .map_err(bad)
    }

    /// The reward functions that the settings name, each with its field.
    pub(crate) fn named_rewards(&self) -> Vec<(String, &str)> {
        named(
            &self.reward_weights,
            &self.reward_targets,
            &self.reward_conditions,
        )
    }

    /// Whether an importance ratio can be other than 1: the policy moves between the rollouts and
    /// some of their updates.
    pub(super) fn is_off_policy(&self) -> bool {
        self.one_step_off_policy || self.num_iterations * self.mini_batches > 1
    }

    /// Updates in all.
    pub(super) fn updates(&self) -> usize {
        self.max_steps * self.num_iterations * self.mini_batches
    }

    /// The KL penalty. A penalty with a weight of 0 is none, and needs no reference.
    pub(super) fn kl(&self) -> Option<Kl> {
        self.loss.kl.clone().filter(|kl| kl.beta != 0.0)
    }

    /// The sampling settings of the n-th batch of prompts.
    pub(super) fn generation(&self, task: &Task, n: usize) -> Generation {
        Generation {
            sampling: Sampling {
                temperature: self.temperature,
                ..Sampling::default()
            },
            group_size: self.num_generations,
            max_new_tokens: self.max_completion_length,
            end_token: task.prompter().end(),
            max_rows: self.rollout_rows,
            // Every batch is drawn anew, and a resumed run draws the same.
            seed: self
                .seed
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .wrapping_add(n as u64),
        }
    }
}

/// The largest count of anything in a step. A larger one is a typing error.
const MOST: usize = 1_000_000;

fn positive(x: f64) -> bool {
    x > 0.0 && x.is_finite()
}
