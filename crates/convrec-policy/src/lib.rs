//! A decoder-only language model on burn.

mod cache;
mod config;
mod decoder;
mod generate;
mod hugging_face;
mod log_probs;
mod rope;
mod sampling;
mod weights;

pub use config::{ConfigError, Family, Llama3Scaling, ModelConfig};
pub use decoder::Policy;
pub use generate::{Completion, Generation};
pub use log_probs::{Sequence, TokenLogProbs};
pub use sampling::Sampling;
pub use weights::WeightsError;
