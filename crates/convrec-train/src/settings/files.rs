//! What a run reads.

use std::path::PathBuf;
use std::str::FromStr;

use convrec_config::{ConfigError, Layers};
use convrec_policy::WeightType;
use serde::{Deserialize, Serialize};

/// What a run reads: the table `[files]` of a config file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// The catalog.
    pub catalog: Option<PathBuf>,
    /// The model: its folder, an adapter's folder, or a name on the hub.
    pub model: Option<PathBuf>,
    /// The retriever that finds what lists may hold, where it is not the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retriever: Option<PathBuf>,
    /// An embedding of each item, from which semantic ids are learned (SFT).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_embeddings: Option<PathBuf>,
    /// Demonstrations (SFT).
    pub demonstrations: Option<PathBuf>,
    /// Conversations to train on (RL).
    pub conversations: Option<PathBuf>,
    /// Conversations to evaluate on while training.
    pub validation: Option<PathBuf>,
    /// The most validation samples that are used, evenly spread over the file.
    pub validation_samples: usize,
    /// Items that should not be recommended (RL).
    pub blocklist: Option<PathBuf>,
    /// The servers that sample (RL).
    pub sampler: Option<PathBuf>,
    /// Whether lists are whatever the policy writes.
    pub unconstrained: bool,
    /// Whether rows that cannot be used are skipped, counted and listed. Else they are refused.
    pub skip_bad: bool,
    /// Whether items of the catalog that are most likely one count as one.
    pub merge_twins: bool,
    /// The type of the numbers in the model that is written; by default that of the model read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            catalog: None,
            model: None,
            retriever: None,
            item_embeddings: None,
            demonstrations: None,
            conversations: None,
            validation: None,
            validation_samples: 300,
            blocklist: None,
            sampler: None,
            unconstrained: false,
            skip_bad: false,
            merge_twins: false,
            dtype: None,
        }
    }
}

impl Files {
    /// What these layers say of `[files]`.
    ///
    /// # Errors
    /// [`ConfigError`] when a field is wrong.
    pub fn resolve(layers: &Layers) -> Result<Self, ConfigError> {
        layers.clone().take("files")?.resolve(Self::default())
    }
}

/// The type of the numbers of saved weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits with 11 of precision.
    F16,
    /// 16 bits with 8 of precision and the range of f32.
    Bf16,
}

impl From<Dtype> for WeightType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => WeightType::F32,
            Dtype::F16 => WeightType::F16,
            Dtype::Bf16 => WeightType::BF16,
        }
    }
}

impl FromStr for Dtype {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err("expected f32, f16 or bf16".into()),
        }
    }
}
