//! The two training loops, and all that surrounds them: rollouts, rewards, evaluation, checkpoints,
//! logs.
//!
//! ```text
//! Demonstration -> Task::pair   -> train_sft       -> Policy
//! Example       -> Task::sample -> RankGrpoTrainer -> Policy -> evaluate
//! ```
//!
//! A [`Task`] stands between text and numbers: a catalog, a way to write prompts, and N, the length
//! of lists. [`train_sft`] imitates demonstrations. [`RankGrpoTrainer`] samples G completions of
//! each prompt and reads each **once**: unconstrained lists by [`Task::read`], constrained ones by
//! walking the catalog's trie again. One reading gives the items, which earn a reward per rank, and
//! the rank of every token, which is credited with that reward. The trainer then takes mu updates
//! with a loss of [`rank_grpo`].
//!
//! Policies can also help to make demonstrations. [`PolicyTeacher`] and [`PolicyJudge`] make
//! services of Remap-Reflect-Adjust ([`convrec_services`]) from a policy with a [`Task`].
//! [`PolicyChat`] is a chat model that is asked in words.
//!
//! A run with a folder ([`RunOptions`]) writes `log.jsonl` and checkpoints, and can be resumed. The
//! log has a line a step, with TRL's names where TRL has one. Data order, sampling and schedules
//! are functions of the seed and the step. The resumed run is therefore the uninterrupted one, bit
//! for bit on the same machine. A checkpoint of another catalog, data set or config is refused, and
//! the error names the first difference.
//!
//! ```
//! use convrec_train::{RlConfig, Schedule};
//!
//! // Settings are checked as a whole before anything starts; an error names the field.
//! let mut config = RlConfig { num_generations: 1, ..RlConfig::default() };
//! let error = config.check().unwrap_err();
//! assert!(error.to_string().starts_with("config, field `num_generations`: found 1, expected 2 to"));
//!
//! config.num_generations = 8;
//! config.optimizer.lr_scheduler_type = Schedule::Cosine;
//! assert!(config.check().is_ok());
//! ```

mod batches;
pub mod checkpoint;
mod config;
pub mod data;
mod decoder;
pub mod evaluate;
#[cfg(feature = "http")]
mod http_sampler;
mod inputs;
mod item_factors;
mod model;
mod optim;
mod plan;
mod processes;
mod replicas;
mod reward;
mod rl;
mod rollout;
mod run;
mod runner;
mod sampler;
mod schedule;
mod semantic_ids;
mod sent;
mod services;
mod settings;
mod sft;
mod task;
pub mod trec;

pub use convrec_config::ConfigError;
pub use convrec_watch::{Observer, Record, StepView, WatchConfig};
pub use data::DataReport;
pub use decoder::Decoder;
#[cfg(feature = "http")]
pub use http_sampler::{HttpSampler, HttpSamplerError, SamplerSettings, SeenAs};
pub use inputs::hash_of_path;
pub use item_factors::item_factors;
pub use model::{
    Language, Model, ModelError, ModelSource, Prompts, RecommendError, Recommendation, Recommender,
    TaskFormat,
};
pub use optim::{Accumulator, OptimizerConfig, Update, Updates};
pub use plan::Plan;
pub use reward::{
    AdvantageEstimator, BlockedReward, BlocklistReward, DiversityReward, GenreReward, Listed,
    MultiObjectiveAggregation, NoveltyReward, Popularity, PopularityReward, RelevanceReward,
    Reward, RewardCondition, RewardError, RewardFunction, RewardTarget,
};
pub use rl::{DynamicSampling, KlControl, RankGrpoTrainer, RlConfig};
pub use rollout::ForcedTokens;
pub use run::{RunOptions, Stop, TrainError, Validation, evaluation_record};
pub use runner::{RlData, RunError, Runner, SftData};
pub use sampler::{Local, Sampler};
pub use schedule::Schedule;
pub use semantic_ids::semantic_ids;
pub use services::{ChatLoadError, PolicyChat, PolicyJudge, PolicyTeacher};
pub use settings::{Algorithm, Dtype, Files, RlSettings, Settings, SftSettings, SftSetup};
pub use sft::{SftConfig, SftJob, train_sft};
pub use task::{Answer, InCatalog, Sample, Task, TaskError, TokenPair};
