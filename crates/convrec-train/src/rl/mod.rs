//! Reinforcement learning from ranked lists. A step samples G completions of each prompt and reads
//! each of them once. It rewards ranks or lists, compares rewards within the group, and updates the
//! policy.
//!
//! A reward and an advantage pass through these files in a step:
//!
//! | step | file |
//! |---|---|
//! | completions are sampled, and prompts that teach nothing left out | `collect.rs` |
//! | a completion is read: its items, and the rank of each token | `../rollout.rs`, `../task.rs` |
//! | reward functions give each rank a number; weights add them up | `../reward.rs` |
//! | rewards become advantages within the group | `../reward/weighted.rs` |
//! | advantages are spread over tokens, tokens padded to tables | `../rollout.rs` |
//! | tables are dealt to updates and micro-batches | `micro_batch.rs` |
//! | losses, gradients and updates are computed | `learner.rs` |
//! | rollouts and updates are put in order, or side by side | `step.rs` |
//! | the loop around steps | `trainer.rs` |
//!
//! Defaults differ from the authors' code where that code has quirks; each is a setting or a
//! documented rule. One parse gives items and token spans (their two parses disagree, S2). The loss
//! is averaged over ranks (theirs over tokens, L1; `LossConfig::authors()`). Groups of equal
//! rewards get advantage exactly 0 (A3). Trailing line feeds do not change how a list ended (S4).
//! Each ground-truth item is credited once (H6).

mod collect;
mod config;
mod job;
mod kl;
mod learner;
mod log;
mod micro_batch;
mod sampled;
mod step;
mod trainer;

pub use collect::DynamicSampling;
pub use config::RlConfig;
pub use kl::KlControl;
pub use trainer::RankGrpoTrainer;
