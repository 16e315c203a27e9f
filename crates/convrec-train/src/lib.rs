//! The two training loops, SFT and Rank-GRPO.

mod batches;
pub mod checkpoint;
mod config;
pub mod evaluate;
mod optim;
mod rl;
mod rl_log;
mod rollout;
mod run;
mod schedule;
mod sft;
mod task;

pub use config::ConfigError;
pub use optim::{Accumulator, OptimizerConfig, Update, Updates};
pub use rl::{RlConfig, train_rank_grpo};
pub use rollout::Reward;
pub use run::{Record, RunOptions, TrainError, Validation, evaluation_record};
pub use schedule::Schedule;
pub use sft::{SftConfig, train_sft};
pub use task::{Answer, Sample, Task, TaskError, TokenPair};
