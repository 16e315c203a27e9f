/// The shape of a decoder, in the field names of Hugging Face's `config.json`.
///
/// One architecture, "Llama and its kin": pre-norm blocks of rotary grouped-query attention and a
/// gated MLP. What the families differ in is [`Family`]'s business. Read one with
/// [`ModelConfig::from_hugging_face`], or make one to train from scratch with
/// [`ModelConfig::small`]:
///
/// ```
/// use convrec_policy::{Family, ModelConfig};
///
/// let config = ModelConfig { family: Family::Qwen3, ..ModelConfig::small(2048, 128, 3, 4) };
/// config.check()?;
/// assert_eq!(ModelConfig::from_hugging_face(&config.to_hugging_face())?, config);
/// # Ok::<(), convrec_policy::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Which of the kin it is; `model_type` in the file.
    pub family: Family,
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
    pub rope_scaling: Option<Llama3Scaling>,
    /// Whether the output matrix is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// The longest sequence the model is made for, in tokens. Not enforced here; carried for
    /// programs that read the file.
    pub max_position_embeddings: usize,
    /// The tokens that end a text, `eos_token_id` in the file. Not used here
    /// ([`Generation`](crate::Generation) has its own); carried for programs that read the
    /// file.
    pub end_tokens: Vec<u32>,
}

/// What the supported families differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Llama 1 to 3, SmolLM2 and others of that shape: no biases, no norms inside attention.
    Llama,
    /// Qwen2 and Qwen2.5: biases on q, k and v.
    Qwen2,
    /// Qwen3: an RMS norm on each head of q and k.
    Qwen3,
}

/// Llama 3's stretching of low rotary frequencies (Llama 3 herd, arXiv 2407.21783).
#[derive(Debug, Clone, PartialEq)]
pub struct Llama3Scaling {
    /// How far low frequencies are stretched; at least 1.
    pub factor: f64,
    /// Wavelengths above `original / low_freq_factor` are stretched fully.
    pub low_freq_factor: f64,
    /// Wavelengths below `original / high_freq_factor` are left alone; in between, the two are
    /// mixed linearly.
    pub high_freq_factor: f64,
    /// `original`: the context length of pre-training, in tokens.
    pub original_max_position_embeddings: usize,
}

/// A field of a configuration makes no sense or is not supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {problem}")]
pub struct ConfigError {
    /// The field, with dots where it lies deeper: `rope_parameters.rope_type`.
    pub field: String,
    /// What was found and expected.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl ModelConfig {
    /// A small Llama-style decoder to train from scratch: tied embeddings, an MLP of 8/3 the width
    /// (rounded up to a multiple of 16), as many key/value heads as query heads, for 2,048
    /// tokens of context.
    ///
    /// `hidden_size` should be an even multiple of `heads`; [`ModelConfig::check`] says where it is
    /// not.
    pub fn small(
        vocab_size: usize,
        hidden_size: usize,
        num_hidden_layers: usize,
        heads: usize,
    ) -> Self {
        Self {
            family: Family::Llama,
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
            max_position_embeddings: 2048,
            end_tokens: vec![],
        }
    }

    /// Whether the fields are in range and fit each other.
    ///
    /// # Errors
    /// At the first field that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field: &str, problem: String| Err(ConfigError::new(field, problem));
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 {
                return bad(field, "0; expected at least 1".into());
            }
        }
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        // transformers refuses such a Llama, so nobody else could read it.
        if self.family == Family::Llama && !self.hidden_size.is_multiple_of(heads) {
            return bad(
                "num_attention_heads",
                format!("{heads} does not divide hidden_size = {}", self.hidden_size),
            );
        }
        if !heads.is_multiple_of(kv_heads) {
            return bad(
                "num_key_value_heads",
                format!("{kv_heads} does not divide num_attention_heads = {heads}"),
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            return bad(
                "head_dim",
                format!("{} is odd; rotary positions need pairs", self.head_dim),
            );
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return bad(
                "rms_norm_eps",
                format!("{}; expected a small positive number", self.rms_norm_eps),
            );
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 1.0) {
            return bad(
                "rope_theta",
                format!("{}; expected a number above 1", self.rope_theta),
            );
        }
        self.rope_scaling
            .as_ref()
            .map_or(Ok(()), Llama3Scaling::check)
    }
}

impl Llama3Scaling {
    fn check(&self) -> Result<(), ConfigError> {
        let bad = |field: &str, problem: String| {
            Err(ConfigError::new(format!("rope_scaling.{field}"), problem))
        };
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            return bad("factor", format!("{}; expected at least 1", self.factor));
        }
        let (low, high) = (self.low_freq_factor, self.high_freq_factor);
        if !(low > 0.0 && high.is_finite() && low < high) {
            return bad(
                "low_freq_factor",
                format!("{low}; expected positive and below high_freq_factor = {high}"),
            );
        }
        if self.original_max_position_embeddings == 0 {
            return bad(
                "original_max_position_embeddings",
                "0; expected at least 1".into(),
            );
        }
        Ok(())
    }
}
