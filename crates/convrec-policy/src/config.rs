use serde::{Deserialize, Serialize};

/// The shape of a decoder, in the field names of Hugging Face's `config.json`.
///
/// One architecture, "Llama and its kin": pre-norm blocks of rotary grouped-query attention and a gated MLP. The
/// families differ in three switches: biases on q/k/v (Qwen2), norms on q and k (Qwen3), rotary scaling (Llama 3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// V, the number of tokens.
    pub vocab_size: usize,
    /// D, the width of the residual stream.
    pub hidden_size: usize,
    /// The width of the gated MLP.
    pub intermediate_size: usize,
    /// The number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// The width of one head; even.
    pub head_dim: usize,
    /// Added to the mean square inside every RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Rotary scaling of Llama 3, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<Llama3Scaling>,
    /// Whether the output matrix is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Biases on q, k and v (Qwen2).
    #[serde(default)]
    pub qkv_bias: bool,
    /// RMS norms on each head of q and k (Qwen3).
    #[serde(default)]
    pub qk_norm: bool,
}

/// Llama 3's stretching of low rotary frequencies (Llama 3 herd, arXiv 2407.21783).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Llama3Scaling {
    /// How far low frequencies are stretched.
    pub factor: f64,
    /// Wavelengths above `original / low_freq_factor` are stretched fully.
    pub low_freq_factor: f64,
    /// Wavelengths below `original / high_freq_factor` are left alone.
    pub high_freq_factor: f64,
    /// The context length of pre-training.
    pub original_max_position_embeddings: f64,
}

/// A field of a configuration makes no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("model config, field `{field}`: {problem}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// What was found and expected.
    pub problem: String,
}

impl ModelConfig {
    /// A small Llama-style decoder to train from scratch: tied embeddings, an MLP of 8/3 the width, heads of 32 or more.
    pub fn small(vocab_size: usize, hidden_size: usize, num_hidden_layers: usize, heads: usize) -> Self {
        Self {
            vocab_size,
            hidden_size,
            intermediate_size: (hidden_size * 8 / 3).next_multiple_of(16),
            num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: heads,
            head_dim: hidden_size / heads.max(1),
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            rope_scaling: None,
            tie_word_embeddings: true,
            qkv_bias: false,
            qk_norm: false,
        }
    }

    /// # Errors
    /// At the first field that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field, problem: String| Err(ConfigError { field, problem });
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        ] {
            if value == 0 {
                return bad(field, "0; expected at least 1".into());
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let (q, kv) = (self.num_attention_heads, self.num_key_value_heads);
            return bad("num_key_value_heads", format!("{kv} does not divide num_attention_heads = {q}"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return bad("head_dim", format!("{} is odd; rotary positions need pairs", self.head_dim));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return bad("rms_norm_eps", format!("{}; expected a small positive number", self.rms_norm_eps));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 1.0) {
            return bad("rope_theta", format!("{}; expected a number above 1", self.rope_theta));
        }
        Ok(())
    }
}
