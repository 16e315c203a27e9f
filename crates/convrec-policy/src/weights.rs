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
    #[error("weights: {} missing: {}; the file is of another model, or its config is", .0.len(), .0.join(", "))]
    Missing(Vec<String>),
    /// Tensors that the file has and the policy has not.
    #[error("weights: {} unknown: {}; the file is of another model, or its config is", .0.len(), .0.join(", "))]
    Unknown(Vec<String>),
}

impl Policy {
    /// All weights as the bytes of a `model.safetensors` file, in f32.
    ///
    /// # Errors
    /// When serialisation fails.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        let format = |e: &dyn std::fmt::Display| WeightsError::Format(e.to_string());
        let mut store = SafetensorsStore::from_bytes(None).skip_enum_variants(true);
        self.save_into(&mut store).map_err(|e| format(&e))?;
        store.get_bytes().map_err(|e| format(&e))
    }

    /// Replaces all weights by those of a `model.safetensors` file (f32, f16 or bf16).
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
            return Err(WeightsError::Missing(result.missing.iter().map(|(path, _)| path.clone()).collect()));
        }
        if !result.unused.is_empty() {
            return Err(WeightsError::Unknown(result.unused));
        }
        Ok(self)
    }
}
