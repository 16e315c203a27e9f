//! Weights in and out, in the names and layout of Hugging Face checkpoints.

use burn::store::{FloatCastAdapter, ModuleSnapshot, SafetensorsStore};
use burn::tensor::DType;

use crate::decoder::Policy;

/// Weights could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The bytes are not a safetensors file, or a tensor has another shape than the policy's.
    #[error("weights: {0}")]
    Format(String),
    /// Tensors that the policy has and the file has not.
    #[error("weights: {} missing: {}; the file is of another model, or its config is", .0.len(), first(.0))]
    Missing(Vec<String>),
    /// Tensors that the file has and the policy has not.
    #[error("weights: {} unknown: {}; the file is of another model, or its config is", .0.len(), first(.0))]
    Unknown(Vec<String>),
}

/// The first few names: all of them can be hundreds.
fn first(names: &[String]) -> String {
    let more = if names.len() > 5 { ", ..." } else { "" };
    names[..names.len().min(5)].join(", ") + more
}

impl Policy {
    /// All weights as the bytes of a `model.safetensors` file, in f32: the same weights give the same bytes.
    ///
    /// Beside it in a folder, [`ModelConfig::to_hugging_face`](crate::ModelConfig::to_hugging_face) makes it a model that
    /// transformers loads. Tied embeddings are written once.
    ///
    /// # Errors
    /// When serialisation fails.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        let format = |e: &dyn std::fmt::Display| WeightsError::Format(e.to_string());
        // transformers 4 refuses files whose format is not "pt". More than one entry would come in random order.
        let mut store =
            SafetensorsStore::from_bytes(None).skip_enum_variants(true).clear_metadata().metadata("format", "pt");
        self.save_into(&mut store).map_err(|e| format(&e))?;
        store.get_bytes().map_err(|e| format(&e))
    }

    /// Replaces all weights by those of a `model.safetensors` file (f32, f16 or bf16; held as f32).
    ///
    /// Two kinds of tensors are passed over because other programs write them without need: the `lm_head.weight` of
    /// a policy with tied embeddings, and `rotary_emb.inv_freq`, which follows from the config.
    ///
    /// # Errors
    /// When the bytes are no safetensors file, or a tensor is missing, unknown or of another shape: the error names it.
    pub fn load_safetensors(mut self, bytes: Vec<u8>) -> Result<Self, WeightsError> {
        let mut store = SafetensorsStore::from_bytes(Some(bytes))
            .with_from_adapter(FloatCastAdapter::to(DType::F32))
            .skip_enum_variants(true)
            .allow_partial(true);
        let result = self.load_from(&mut store).map_err(|e| WeightsError::Format(e.to_string()))?;
        if let Some(error) = result.errors.first() {
            return Err(WeightsError::Format(error.to_string()));
        }
        if !result.missing.is_empty() {
            return Err(WeightsError::Missing(result.missing.into_iter().map(|(path, _)| path).collect()));
        }
        let tied = self.lm_head.is_none();
        let needless = |name: &str| (tied && name == "lm_head.weight") || name.ends_with("rotary_emb.inv_freq");
        let unknown: Vec<String> = result.unused.into_iter().filter(|name| !needless(name)).collect();
        if !unknown.is_empty() {
            return Err(WeightsError::Unknown(unknown));
        }
        Ok(self)
    }
}
