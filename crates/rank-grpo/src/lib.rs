//! A loss family for ranked output: GRPO, GSPO, Dr.GRPO, DAPO, CISPO, SAPO, VESPO and Rank-GRPO.
//!
//! A policy writes B completions of T tokens, and each completion is a list of N ranks. This crate
//! turns rewards into advantages, and advantages into a loss with a gradient by the
//! log-probabilities. It sees numbers, segments and masks. It does not know what a token or an item
//! is. Documents, tools, playlists and search queries are ranks as well as films are.
//!
//! # Credit assignment
//!
//! A list of three items was sampled. The second item was good, the others were not.
//!
//! ```text
//!  tokens        The  Matrix |  Heat  (19  95) | Alien   \n
//!  rank            0     0   |    1    1    1  |    2     2
//!
//!  sequence     [ - - - - - -  one reward: 0.33  - - - - - - ]   all tokens share the credit
//!  rank         [ reward 0 ] | [   reward 1   ] | [ reward 0 ]   each item has its own
//!  token           0     0   |  .2   .5   .3   |    0     0      each token has its own
//! ```
//!
//! The same drawing holds for importance ratios. [`RatioLevel`] says over which tokens a ratio is a
//! (geometric) mean, and [`spread`] says which tokens share an advantage. With per-rank rewards, a
//! good item is not punished for the other items of its list.
//!
//! # Choosing a loss
//!
//! | you have | take | our own evidence |
//! |---|---|---|
//! | a reward for each rank of a list | [`LossConfig::paper`] with [`group_advantages`] per rank | above GRPO by NDCG@10 .017 \[.006, .029\], with a wider clip (1) |
//! | one reward a completion, short answers | [`LossConfig::grpo`], [`dr_grpo`](LossConfig::dr_grpo) or [`dapo`](LossConfig::dapo) with N = 1 | NDCG@10 .243, .245, .238 (1) |
//! | one reward a completion, long answers or a mixture of experts | [`LossConfig::gspo`] | none on such; on short lists below GRPO by .015 \[.003, .027\] (1) |
//! | a reward for each phase (candidates, then their order) | [`spread`] with phases as segments | none |
//! | items that are paths through a trie (semantic ids) | [`sibling_advantages`] beside the above | none |
//! | scores of a judge, whose order means more than their size | [`ordinal_advantages`] | not told from GRPO (2) |
//! | several rewards of different spread | [`normalize_then_sum`] | none |
//! | an easy reward that must not be earned alone | [`condition_rewards`] | none |
//! | a limit, such as "at most 1% blocked items" | [`Constraint`] | kept: .2% and .8% of the items (3) |
//! | a sampler with other kernels or old weights (vLLM) | [`Correction`]; far off, [`LossConfig::off_policy_mask_threshold`] or [`LossConfig::vespo`] | the mask and VESPO: not told from GRPO (2) |
//! | a policy that collapses to one answer | [`AdaptiveEntropy`], or clip-higher ([`LossConfig::dapo`]) | none |
//!
//! "None" means that the advice is the papers'. Intervals are 95% over seeds. Figures (1) and (2)
//! are from lists of ten films whose best order is known, with two updates of each batch:
//!
//! 1. Five seeds of 20 batches (`docs/results/world.md`, "The algorithms").
//! 2. A short comparison of all members, five seeds of 8 batches (the same page, "The family"). It
//!    tells none of them from GRPO. So do not expect much of a change of surrogate in short runs.
//! 3. A table of logits, and 64 conversations (`docs/results/tasks.md`).
//!
//! The clip of the paper, 0.06 and 0.08, was too narrow where most tokens of a title are forced:
//! there 0.2 and 0.28 did better, by .021 \[.009, .033\], and Rank-GRPO was level with GRPO without
//! them.
//!
//! # The family
//!
//! All members maximise the same kind of sum. They differ in independent choices, which are the
//! fields of a [`LossConfig`]:
//!
//! | choice | question | values |
//! |---|---|---|
//! | ratio, [`RatioLevel`] | which tokens share pi_new / pi_old? | token, rank, sequence |
//! | advantage, [`spread`] | what is rewarded? | a rank, a sequence, single tokens |
//! | surrogate, [`Clip`] | how is a ratio far from 1 treated? | PPO, two-sided, CISPO, SAPO, VESPO, none |
//! | correction, [`Correction`] | how far is the sampler from the trainer? | truncated or masked |
//! | aggregation, [`Aggregation`] | how do tokens make up the loss? | means over rows, ranks, tokens; sums |
//!
//! A KL penalty ([`Kl`]) in one of two estimators and an entropy bonus come on top. A rank is a
//! *segment* of tokens ([`Segments`]), a token is a segment of its own, and a sequence is one
//! segment.
//!
//! | equation | here |
//! |---|---|
//! | `A[i,k] = (r[i,k] - mean_i r[i,k]) / (std_i r[i,k] + 1e-4)` | [`group_advantages`] |
//! | `w[i,k] = exp(mean over t in rank k of (log pi_new - log pi_old))` | [`RatioLevel::Rank`] |
//! | `min(w A, clip(w, 1 - epsilon, 1 + epsilon_high) A)` | [`Clip::Ppo`] |
//! | `1/(G N) sum_i sum_k` | [`Aggregation::RankMean`] |
//! | `exp(d) - d - 1, d = log pi_ref - log pi_new` | [`KlEstimator::K3`] |
//! | end of list +0.1, early end -0.1, surplus tokens -0.1 | [`LengthShaping`] |
//! | the loss and its gradient, in f32 or f64 | [`Loss::evaluate_into`] |
//! | the whole as a burn tensor | `Loss::forward` |
//!
//! Presets are [`LossConfig::paper`] and [`LossConfig::authors`] (Rank-GRPO by the formula, and as
//! the public code runs it), [`grpo`](LossConfig::grpo), [`gspo`](LossConfig::gspo),
//! [`dr_grpo`](LossConfig::dr_grpo), [`dapo`](LossConfig::dapo), [`cispo`](LossConfig::cispo),
//! [`bnpo`](LossConfig::bnpo), [`sapo`](LossConfig::sapo), [`luspo`](LossConfig::luspo),
//! [`vespo`](LossConfig::vespo), [`two_sided`](LossConfig::two_sided) and
//! [`sibling_grpo`](LossConfig::sibling_grpo). [`LossType`] has those of TRL 1.16.0. Settings have
//! TRL's names.
//!
//! # Without a tensor library
//!
//! The loss is a function of `[B, T]` numbers, so it needs none. With `default-features = false`
//! this crate depends on serde and thiserror alone. Give the gradient to the library that you have:
//! the gradient of the loss by the log-probabilities is all that a backward pass needs.
//!
//! ```
//! use rank_grpo::{
//!     LossConfig, LossSlices, ScaleRewards, Segments, Workspace, group_advantages, spread,
//! };
//!
//! // Two lists for one prompt, two ranks each. The first has three tokens, the second four.
//! let ranks = [0, 1, 1, -1, /**/ 0, 0, 1, 1]; // [B, T], -1: no rank
//! let mask = ranks.map(|rank| rank >= 0);
//! let segments = Segments::ranks(&ranks, 2);
//!
//! // The first list was right at rank 0, the second at rank 1.
//! let rewards = [vec![1.0, 0.0], vec![0.0, 1.0]];
//! let advantages = group_advantages(&rewards, 2, ScaleRewards::Group)?;
//! let advantages = spread(&advantages.values, &segments)?;
//! let inputs = LossSlices::new([2, 4], &mask, &segments, &advantages);
//!
//! let loss = LossConfig {
//!     kl: None,
//!     ..LossConfig::paper()
//! }
//! .check()?;
//! let log_probs = [-1.2, -0.3, -0.8, 0.0, /**/ -0.9, -0.4, -0.7, -0.2]; // of the policy
//! let (mut workspace, mut gradient) = (Workspace::default(), [0.0; 8]);
//! let value = loss.evaluate_into(&log_probs, &inputs, &mut workspace, &mut gradient)?;
//! assert_eq!(value.metrics.ratio_mean, 1.0); // on-policy
//!
//! // A step against the gradient makes the token of the good rank more probable.
//! assert!(gradient[0] < 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # With burn
//!
//! The default feature `burn` adds `Loss::forward`, which takes the policy's tensors and returns a
//! tensor to call `backward` on. It reads the log-probabilities to the host once, computes there in
//! f64, and returns a tensor with exactly that value and that gradient. The result has the same
//! bits on every device. `examples/tabular_ranking.rs` trains a policy this way in a second or two.
#![cfg_attr(
    feature = "burn",
    doc = "```",
    doc = "use burn::tensor::{Device, Tensor};",
    doc = "use rank_grpo::{LossConfig, LossInputs, Segments};",
    doc = "",
    doc = "let segments = Segments::ranks(&[0, 1, 1, -1], 2);",
    doc = "let mask = vec![true, true, true, false];",
    doc = "let inputs = LossInputs::new([1, 4], mask, segments, vec![1.0, -1.0, -1.0, 0.0]);",
    doc = "let device = Device::flex().autodiff();",
    doc = "let log_probs = Tensor::<2>::from_floats([[-1.2, -0.3, -0.8, 0.0]], \
           &device).require_grad();",
    doc = "",
    doc = "let loss = LossConfig { kl: None, ..LossConfig::paper() }.check()?;",
    doc = "let output = loss.forward(log_probs.clone(), &inputs)?;",
    doc = "let gradient = log_probs.grad(&output.loss.backward()).expect(\"log_probs is on the \
           tape\");",
    doc = "assert!(gradient.into_data().try_into_vec::<f32>()?[0] < 0.0);",
    doc = "# Ok::<(), Box<dyn std::error::Error>>(())",
    doc = "```"
)]
//!
//! # The cost of each choice
//!
//! One evaluation is one pass over the tokens, with a few numbers of memory for each token and rank
//! of a row. These add to it:
//!
//! | choice | cost |
//! |---|---|
//! | token ratios off-policy, [`KlEstimator::K3`] | one exponential a token |
//! | rank or sequence ratios | one exponential a rank or a row |
//! | [`kl`](LossConfig::kl) | a pass of the reference model, and its memory |
//! | [`old_log_probs`](LossInputs::old_log_probs) (`num_iterations` above 1) | a pass of the model before the first update |
//! | [`top_entropy_quantile`](LossConfig::top_entropy_quantile) below 1 | a sort of the batch's entropies |
//! | [`entropy_coef`](LossConfig::entropy_coef) | the entropies on the tape of the model |
//! | a [`Clip`] that is not PPO's, a bonus, a quantile or a mask | 2 to 4 times the time: no vectors, one thread |
//!
//! A plain loss (PPO's clip, with or without KL) is computed in vectors, and on several threads
//! from 2^18 tokens on ([`Workspace`]).
//!
//! # Common mistakes
//!
//! - *Nothing is learned.* Look at [`frac_reward_zero_std`](GroupAdvantages::frac_reward_zero_std):
//!   a group whose rewards are all equal teaches nothing. Per-rank rewards are sparse, so take
//!   larger groups, or sample prompts anew that gave no signal.
//! - *All ratios are 1.* This is right at `num_iterations` 1 with one update a batch. The clip then
//!   does nothing.
//! - *Most tokens are clipped.* See [`Metrics::clip_ratio_region`]. Above some percent, widen the
//!   clip or take smaller steps.
//! - *The gradient depends on the micro-batch.* Give [`LossInputs::whole_batch`].
//! - *Long titles dominate.* A mean over tokens weighs them more; [`Aggregation::RankMean`] does
//!   not.
//! - *Forced tokens are in the mask.* A token that a constraint forces has log-probability 0 and
//!   dilutes every mean. Mask it out.
//! - *Fewer tokens count than you think.* Compare [`Metrics::tokens`] with the number that the
//!   policy wrote. Tokens without a rank take no part in a loss with ranks, and a mask that is
//!   shifted by one trains on a token of the prompt.
//! - *Tokens vanish.* [`Metrics::dropped`] counts those with NaN or infinite numbers, often from
//!   `log(0)`.
//! - *The sampler is another program.* Its log-probabilities differ from the trainer's even with
//!   equal weights. Compute `old_log_probs` with the trainer, and give the sampler's to a
//!   [`Correction`].
//!
//! # Never a NaN update
//!
//! A token with a number that is NaN, infinite or beyond 1e6 is left out, as if masked, and
//! [`Metrics::dropped`] counts it. Rows, ranks and batches without tokens add 0. A log ratio above
//! [`MAX_LOG_RATIO`] counts as that and has no gradient. Groups of one, and groups whose rewards
//! are all equal, have advantage exactly 0; only the KL acts on them.
//!
//! # The authors' quirks
//!
//! The authors' public code departs in places from the paper, or has a fault. The text here then
//! says "quirk" and a number: A1-A4 (advantages), L1-L9 (loss), S3-S7 (lengths). The default is
//! correct. Module [`mod@reference`] and [`LossConfig::authors`] do as that code does. Three quirks
//! are not kept anywhere: clip shares over rows at sequence level, a mask forgotten where T = 1
//! (L6), and a path without rank ratios (L9).
//!
//! # Sources
//!
//! - Rank-GRPO: Zhu et al., *Rank-GRPO: Training LLM-based Conversational Recommender Systems with
//!   Reinforcement Learning*, arXiv 2510.20150.
//! - GRPO: Shao et al., *DeepSeekMath*, arXiv 2402.03300.
//! - GSPO: Zheng et al., *Group Sequence Policy Optimization*, arXiv 2507.18071.
//! - Dr.GRPO: Liu et al., *Understanding R1-Zero-Like Training: A Critical Perspective*, arXiv
//!   2503.20783.
//! - DAPO: Yu et al., *DAPO: An Open-Source LLM Reinforcement Learning System at Scale*, arXiv
//!   2503.14476.
//! - CISPO: MiniMax, *MiniMax-M1*, arXiv 2506.13585.
//! - SAPO: Gao et al., *Soft Adaptive Policy Optimization*, arXiv 2511.20347.
//! - LUSPO: Liu et al., *Length-Unbiased Sequence Policy Optimization*, arXiv 2602.05261.
//! - VESPO: *Variational Sequence-Level Soft Policy Optimization*, arXiv 2602.10693.
//! - Two-sided clipping: *INTELLECT-2*, arXiv 2505.07291.
//! - Off-policy sequence masking: *DeepSeek-V3.2*.
//! - The correction for a sampler: Yao et al., *Your Efficient RL Framework Secretly Brings You
//!   Off-Policy RL Training*, fengyao.notion.site/off-policy-rl, 2025. Its levels and modes are
//!   those of TRL's `vllm_importance_sampling_mode`, huggingface.co/docs/trl/grpo_trainer.
//! - GDPO: Liu et al., *GDPO: Group reward-Decoupled Normalization Policy Optimization*, arXiv
//!   2601.05242.
//! - GOPO: Choi et al., *GOPO: Policy Optimization using Ranked Rewards*, arXiv 2602.03876.
//! - Sibling-GRPO: Jiang et al., *Spend Search Where It Pays: Value-Guided Structured Sampling and
//!   Optimization for Generative Recommendation*, arXiv 2602.10699.
//! - F-GRPO: Surana et al., *F-GRPO: Factorized Group-Relative Policy Optimization for Unified
//!   Candidate Generation and Ranking*, arXiv 2605.12995.
//! - SAGE: Xie et al., *SAGE: Sequence-level Adaptive Gradient Evolution for Generative
//!   Recommendation*, arXiv 2601.21452. It is no member: only its abstract and summaries were to be
//!   had. Its ratio is [`RatioLevel::Sequence`], and its advantage of several rewards is
//!   [`normalize_then_sum`]. Its bounds depend on the entropy of a list by a formula that the
//!   summaries do not give.
//! - Adaptive entropy: *Skywork-OR1*, arXiv 2505.22312.
//! - Entropy quantile: *Beyond the 80/20 Rule*, arXiv 2506.01939.
//! - Reference synchronisation: *TR-DPO*, arXiv 2404.09656.
//! - k1, k3: Schulman, *Approximating KL Divergence*, joschu.net/blog/kl-approx.html, 2020.
//! - PPO's clip: Schulman et al., *Proximal Policy Optimization Algorithms*, arXiv 1707.06347.
//! - Formulas "as in TRL 1.16.0" are facts about huggingface.co/docs/trl and its release 1.16.0.

mod advantage;
mod aggregate;
mod batch;
mod check;
mod clip;
mod config;
mod constraints;
mod correction;
mod groups;
mod inputs;
mod lanes;
mod loss;
mod loss_type;
mod metrics;
mod objectives;
mod ordinal;
mod plain;
mod presets;
mod real;
pub mod reference;
mod schedule;
mod segments;
mod shaping;
mod sibling;
mod side_by_side;
#[cfg(feature = "burn")]
mod tensor;
mod terms;
mod vectors;
mod workspace;

pub use advantage::{AdvantageError, GroupAdvantages, STD_EPSILON, ScaleRewards, group_advantages};
pub use check::ConfigError;
pub use clip::Clip;
pub use config::{Aggregation, Kl, KlEstimator, LossConfig, RankCount, RatioLevel};
pub use constraints::{Bound, Constraint, condition_rewards};
pub use correction::{Correction, CorrectionMetrics, CorrectionMode};
pub use inputs::{BatchTotals, InputError, LossInputs, LossSlices};
pub use loss::{Evaluation, Loss, LossValue};
pub use loss_type::LossType;
pub use metrics::Metrics;
pub use objectives::{
    MultiObjectiveAggregation, WeightedRewards, normalize_then_sum, sum_rewards, sum_then_normalize,
};
pub use ordinal::ordinal_advantages;
pub use real::Real;
pub use schedule::{AdaptiveEntropy, RefModelSync};
pub use segments::Segments;
pub use shaping::{LengthShaping, ListEnd, mask_truncated_completions, spread};
pub use sibling::sibling_advantages;
#[cfg(feature = "burn")]
pub use tensor::{LossOutput, PolicyOutput, to_host};
pub use terms::MAX_LOG_RATIO;
pub use workspace::Workspace;

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
