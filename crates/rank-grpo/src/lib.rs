//! GRPO, GSPO, Dr.GRPO, DAPO, CISPO and Rank-GRPO as one loss, for any ranked output.
//!
//! A policy wrote B completions of T tokens; each completion is a list of N ranks. This crate turns
//! rewards into advantages and advantages into a loss with a gradient by the log-probabilities. It
//! sees numbers, segments and masks; what a token or an item is, it does not know.
//!
//! # The family
//!
//! All members maximise the same kind of sum and differ in four choices, made independently in a
//! [`LossConfig`]:
//!
//! | choice | question | values |
//! |---|---|---|
//! | ratio, [`RatioLevel`] | over what is pi_new / pi_old averaged (geometrically)? | token, rank, sequence |
//! | advantage, [`spread`] | what is rewarded? | a rank, a sequence, single tokens |
//! | surrogate, [`Clip`] | what becomes of a ratio far from 1? | PPO's min and clip, CISPO, SAPO, nothing |
//! | correction, [`Correction`] | how far is the sampler from the trainer? | truncated or masked; token, rank, sequence |
//! | aggregation, [`Aggregation`] | how do tokens make up the loss? | means over rows, ranks, tokens; sums |
//!
//! and a KL penalty ([`Kl`]) in one of two estimators. A rank is a *segment* of tokens
//! ([`Segments`]), a token is a segment of its own, a sequence is one segment: the level is nothing
//! but the segment ids. So are the tokens of an overlong list, whose advantage is a penalty
//! ([`LengthShaping`]).
//!
//! | equation | here |
//! |---|---|
//! | `A[i,k] = (r[i,k] - mean_i r[i,k]) / (std_i r[i,k] + 1e-4)` | [`group_advantages`] |
//! | `w[i,k] = exp(mean over t in rank k of (log pi_new - log pi_old))` | [`RatioLevel::Rank`] |
//! | `min(w A, clip(w, 1 - eps_low, 1 + eps_high) A)` | [`Clip::Ppo`] |
//! | `1/(G N) sum_i sum_k` | [`Aggregation::RankMean`] |
//! | `exp(d) - d - 1, d = log pi_ref - log pi_new` | [`KlEstimator::K3`] |
//! | end of list +0.1, early end -0.1, surplus tokens -0.1 | [`LengthShaping`] |
//! | the whole: a tensor to call `backward` on | [`Loss::forward`] |
//!
//! Presets: [`LossConfig::paper`] and [`LossConfig::authors`] (Rank-GRPO by the formula, and as the
//! public code runs it), [`grpo`](LossConfig::grpo), [`gspo`](LossConfig::gspo),
//! [`dr_grpo`](LossConfig::dr_grpo), [`dapo`](LossConfig::dapo), [`cispo`](LossConfig::cispo),
//! [`bnpo`](LossConfig::bnpo), [`sapo`](LossConfig::sapo), [`luspo`](LossConfig::luspo).
//!
//! # An update
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use rank_grpo::{LossConfig, LossInputs, Scale, Segments, group_advantages, spread};
//!
//! // Two lists for one prompt, two ranks each; the first list has three tokens, the second four.
//! let ranks = [0, 1, 1, -1, /**/ 0, 0, 1, 1]; // [B, T], -1: no rank
//! let mask = ranks.map(|rank| rank >= 0).to_vec();
//! let segments = Segments::ranks(&ranks, 2);
//!
//! // The first list was right at rank 0, the second at rank 1.
//! let rewards = [vec![1.0, 0.0], vec![0.0, 1.0]];
//! let advantages = group_advantages(&rewards, 2, Scale::Group)?;
//! let inputs = LossInputs::new([2, 4], mask, segments.clone(), spread(&advantages.values, &segments)?);
//!
//! let log_probs = Tensor::<2>::from_floats(
//!     [[-1.2, -0.3, -0.8, 0.0], [-0.9, -0.4, -0.7, -0.2]],
//!     &Device::flex().autodiff(),
//! )
//! .require_grad(); // in earnest: of the policy's output
//!
//! let loss = LossConfig { kl: None, ..LossConfig::paper() }.check()?;
//! let output = loss.forward(log_probs.clone(), &inputs)?;
//! assert_eq!(output.metrics.ratio_mean, 1.0); // on-policy
//!
//! // Rank 0 of the first list was right: a step against the gradient makes its token more probable.
//! let gradient = log_probs.grad(&output.loss.backward()).expect("log_probs is on the tape");
//! assert!(gradient.into_data().try_into_vec::<f32>()?[0] < 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/tabular_ranking.rs` trains a policy this way in a second or two.
//!
//! # Where it computes
//!
//! The loss is a function of `[B, T]` numbers, so [`Loss::forward`] reads the log-probabilities to
//! the host once, computes value and gradient there in f64, and returns a tensor with exactly that
//! value and that gradient. It costs one copy of B times T numbers from the device and gives the
//! same bits on every device, in 1 to 2 ms for 64 completions of 512 tokens (`benches/loss.rs`).
//! The same loss composed of tensor operations is the tests' oracle.
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
//! Where the authors' public code departs from the paper or from sense, the text here says "quirk"
//! and a number: A1-A4 (advantages), L1-L9 (loss), S3-S7 (lengths). The default is what is right;
//! module [`mod@reference`] and [`LossConfig::authors`] do as that code does. Not kept anywhere:
//! clip shares over rows at sequence level, a mask forgotten where T = 1 (L6), and a path without
//! rank ratios (L9).
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
//! - The correction for a sampler: Yao et al., *Your Efficient RL Framework Secretly Brings You
//!   Off-Policy RL Training*, fengyao.notion.site/off-policy-rl, 2025; its levels and modes are
//!   those of TRL's `vllm_importance_sampling_mode`, huggingface.co/docs/trl/grpo_trainer.
//! - SAPO: Gao et al., *Soft Adaptive Policy Optimization*, arXiv 2511.20347.
//! - LUSPO: Liu et al., *Length-Unbiased Sequence Policy Optimization*, arXiv 2602.05261.
//! - GDPO: Liu et al., *GDPO: Group reward-Decoupled Normalization Policy Optimization*, arXiv
//!   2601.05242.
//! - k1, k3: Schulman, *Approximating KL Divergence*, joschu.net/blog/kl-approx.html, 2020.
//! - PPO's clip: Schulman et al., *Proximal Policy Optimization Algorithms*, arXiv 1707.06347.

mod advantage;
mod aggregate;
mod config;
mod correction;
mod inputs;
mod loss;
mod metrics;
mod presets;
pub mod reference;
mod segments;
mod shaping;
mod terms;

pub use advantage::{
    AdvantageError, GroupAdvantages, STD_EPSILON, Scale, combine_rewards, decoupled_advantages,
    group_advantages,
};
pub use config::{
    Aggregation, Clip, ConfigError, Kl, KlEstimator, LossConfig, RankCount, RatioLevel,
};
pub use correction::{Correction, CorrectionMetrics, CorrectionMode};
pub use inputs::{BatchTotals, InputError, LossInputs, to_host};
pub use loss::{Evaluation, Loss, LossOutput};
pub use metrics::Metrics;
pub use segments::Segments;
pub use shaping::{LengthShaping, ListEnd, spread};
pub use terms::MAX_LOG_RATIO;
