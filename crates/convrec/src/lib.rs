//! Train a small language model to answer a conversation with a ranked list of items from your own
//! catalog.
//!
//! This crate is the one dependency that most programs need. It re-exports the others, chooses the
//! backend by its features, and has a [`prelude`].
//!
//! | module | what it is for |
//! |---|---|
//! | [`catalog`] | items by their names, mentions, twins |
//! | [`formats`] | reading catalogs, conversations and demonstrations |
//! | [`demonstrations`] | Remap-Reflect-Adjust, with the teachers and judges of [`services`] |
//! | [`train`] | models, supervised fine-tuning, Rank-GRPO, evaluation, recommendation |
//! | [`loss`] | advantages and the loss family alone |
//! | [`policy`], [`text`] | the decoder; tokenizers, prompts and the trie that constrains it |
//! | [`metrics`], [`watch`] | measures and tests; logs, a doctor, reports |
//!
//! ```no_run
//! use convrec::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let catalog = convrec::read_catalog("films.csv")?;
//! let model = Model::load("runs/rank-grpo", &convrec::device()?)?;
//! let recommender = model.recommender(catalog)?;
//! let conversation = [Turn::user("I loved Heat (1995). Something like it?")];
//! let seen = Mentions::new(recommender.task().catalog()).in_turns(&conversation);
//! for best in recommender.recommend(&conversation, &seen, 10)? {
//!     println!("{}. {}", best.rank, best.item);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `cpu` (default) | the CPU, with the fused kernels |
//! | `cuda`, `wgpu` | GPUs; `CONVREC_DEVICE` chooses when the program starts ([`device()`]) |
//! | `llm` | teachers, judges, embedders and rollouts on servers (`convrec::llm`) |
//! | `embed` | sentence encoders (`convrec::embed`) |
//! | `formats` | parquet and Arrow |
//! | `serve` | a server |
//! | `report`, `tui` | reports as HTML; a view of a run in a terminal |
//! | `hub` | models by their name on the Hugging Face hub |
//! | `world` | the embedded world of films |

mod device;
mod read;

pub use burn;
pub use convrec_catalog as catalog;
pub use convrec_collective as collective;
pub use convrec_config as config;
pub use convrec_core as core;
pub use convrec_demonstrations as demonstrations;
#[cfg(feature = "embed")]
pub use convrec_embed as embed;
pub use convrec_formats as formats;
pub use convrec_kernels as kernels;
#[cfg(feature = "llm")]
pub use convrec_llm as llm;
pub use convrec_metrics as metrics;
pub use convrec_policy as policy;
pub use convrec_retrieve as retrieve;
#[cfg(feature = "serve")]
pub use convrec_serve as serve;
pub use convrec_services as services;
pub use convrec_text as text;
pub use convrec_train as train;
pub use convrec_watch as watch;
#[cfg(feature = "world")]
pub use convrec_world as world;
pub use rank_grpo as loss;

pub use device::{DeviceError, VARIABLE, device, devices};
pub use read::{ReadError, read_catalog, read_conversations, read_demonstrations};

/// The names that most programs need.
pub mod prelude {
    pub use burn::tensor::Device;
    pub use convrec_catalog::{Catalog, Mentions};
    pub use convrec_config::{Layer, Layers};
    pub use convrec_core::{Demonstration, Example, Item, ItemId, Turn};
    pub use convrec_demonstrations::{
        Embedder, Judge, LexicalEmbedder, Pipeline, PipelineConfig, Services, Teacher,
    };
    pub use convrec_metrics::{JudgedList, Measure};
    pub use convrec_policy::{Policy, Sampling};
    pub use convrec_train::evaluate::{Decoding, evaluate};
    pub use convrec_train::{
        Language, Listed, Model, Recommendation, Recommender, RewardFunction, RlConfig, RlData,
        RlSettings, Runner, Sample, SftConfig, SftData, SftSettings, StepView, Task,
    };
    pub use rank_grpo::{LossConfig, LossInputs, Segments};
}
