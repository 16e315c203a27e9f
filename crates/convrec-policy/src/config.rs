/// The shape of a decoder, in the field names of Hugging Face's `config.json`.
///
/// There is one Llama-style architecture: blocks of rotary grouped-query attention and a gated MLP.
/// [`Family`] lists the differences between the families. Read a config with
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
    /// The family, `model_type` in the file.
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
    /// The part of each head that rotary positions turn, in (0, 1]; 1 in all families but Phi-3.
    pub partial_rotary_factor: f64,
    /// The blocks without rotary positions, ascending from 0; none in all families but SmolLM3.
    pub no_rope_layers: Vec<usize>,
    /// Blocks that see a part of the text only, where there are any.
    pub sliding_window: Option<SlidingWindow>,
    /// Scores are divided by the root of this instead of the root of `head_dim`; Gemma 3 only.
    pub query_pre_attn_scalar: Option<f64>,
    /// Whether the projections of the attention have biases. Qwen2's q, k and v have them anyway.
    pub attention_bias: bool,
    /// Whether the projections of the MLP have biases; Llama and SmolLM3 only.
    pub mlp_bias: bool,
    /// Whether the output matrix is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// The longest sequence that the model is made for, in tokens. The policy does not enforce it.
    pub max_position_embeddings: usize,
    /// The tokens that end a text, `eos_token_id` in the file. The policy does not use them:
    /// [`Generation`](crate::Generation) has its own.
    pub end_tokens: Vec<u32>,
    /// The token that begins a text, `bos_token_id` in the file. It is kept, not used.
    pub bos_token: Option<u32>,
    /// The token of padding, `pad_token_id` in the file. It is kept, not used.
    pub pad_token: Option<u32>,
}

/// Blocks in which a token sees itself and the `tokens - 1` tokens before it.
#[derive(Debug, Clone, PartialEq)]
pub struct SlidingWindow {
    /// The number of tokens that are seen; at least 1.
    pub tokens: usize,
    /// The blocks with this window, ascending from 0; at least one.
    pub layers: Vec<usize>,
    /// The base of the rotary frequencies of these blocks, where it differs from
    /// [`ModelConfig::rope_theta`]; Gemma 3 only. They have no rotary scaling then.
    pub rope_theta: Option<f64>,
}

/// The supported families of models, with their differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Family {
    /// Llama 1 to 3, SmolLM2, TinyLlama and others of that shape.
    Llama,
    /// Mistral: Llama with sliding windows.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on q, k and v; sliding windows in the later blocks, if at all.
    Qwen2,
    /// Qwen3: an RMS norm on each head of q and k.
    Qwen3,
    /// SmolLM3: Llama without rotary positions in some blocks.
    SmolLm3,
    /// OLMo-2: norms after attention and MLP instead of before, and on q and k as a whole.
    Olmo2,
    /// Gemma 1: scaled embeddings, norms that multiply by 1 + weight, and a GELU in the MLP.
    Gemma,
    /// Gemma 3, the text models: as Gemma, with norms before and after, norms on each head of q
    /// and k, and sliding windows.
    Gemma3,
    /// Phi-3: one matrix for q, k and v, and one for the two halves of the MLP.
    Phi3,
}

/// Llama 3's stretching of low rotary frequencies (Llama 3 herd, arXiv 2407.21783).
#[derive(Debug, Clone, PartialEq)]
pub struct Llama3Scaling {
    /// The factor by which low frequencies are stretched; at least 1.
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
    /// A small Llama-style decoder to train from scratch, for 2,048 tokens of context. It has tied
    /// embeddings, an MLP of 8/3 the width (rounded up to a multiple of 16), and as many key/value
    /// heads as query heads.
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
            partial_rotary_factor: 1.0,
            no_rope_layers: vec![],
            sliding_window: None,
            query_pre_attn_scalar: None,
            attention_bias: false,
            mlp_bias: false,
            tie_word_embeddings: true,
            max_position_embeddings: 2048,
            end_tokens: vec![],
            bos_token: None,
            pad_token: None,
        }
    }

    /// Checks that the fields are in range and fit each other.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
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
        check_depth(self.num_hidden_layers)?;
        let (heads, kv_heads) = (self.num_attention_heads, self.num_key_value_heads);
        // transformers refuses such a Llama, so no other program could read it.
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
        let rotary = self.partial_rotary_factor;
        if !(rotary > 0.0 && rotary <= 1.0 && self.rotary_dim() >= 2) || self.rotary_dim() % 2 == 1
        {
            let problem = format!("{rotary} of {} dimensions; expected pairs", self.head_dim);
            return bad("partial_rotary_factor", problem);
        }
        if let Some(scalar) = self
            .query_pre_attn_scalar
            .filter(|x| !(x.is_finite() && *x > 0.0))
        {
            let problem = format!("{scalar}; expected a positive number");
            return bad("query_pre_attn_scalar", problem);
        }
        self.check_family()?;
        if let Some(window) = &self.sliding_window {
            window.check(self.num_hidden_layers)?;
        }
        check_layers(
            "no_rope_layers",
            &self.no_rope_layers,
            self.num_hidden_layers,
        )?;
        if let Some(token) = self
            .end_tokens
            .iter()
            .find(|t| **t as usize >= self.vocab_size)
        {
            let problem = format!("{token} is not below vocab_size = {}", self.vocab_size);
            return bad("eos_token_id", problem);
        }
        match self.parameters() {
            Some(1..=MAX_PARAMETERS) => {}
            _ => {
                let (width, layers) = (self.hidden_size, self.num_hidden_layers);
                let found = format!("{width} in {layers} layers");
                let problem = format!("{found} makes more than {MAX_PARAMETERS} parameters");
                return bad("hidden_size", problem);
            }
        }
        self.rope_scaling
            .as_ref()
            .map_or(Ok(()), Llama3Scaling::check)
    }

    /// Checks the settings that a family's files cannot express.
    fn check_family(&self) -> Result<(), ConfigError> {
        let family = self.family;
        let only = |field: &str, used: bool, of: &[Family]| {
            let problem = format!("it has no effect in a {family:?}; expected only in {of:?}");
            match used && !of.contains(&family) {
                true => Err(ConfigError::new(field, problem)),
                false => Ok(()),
            }
        };
        use Family::{Gemma, Gemma3, Llama, Mistral, Olmo2, Phi3, Qwen2, Qwen3, SmolLm3};
        let window = self.sliding_window.as_ref();
        let theta = window.and_then(|window| window.rope_theta);
        only(
            "partial_rotary_factor",
            self.partial_rotary_factor != 1.0,
            &[Phi3],
        )?;
        only(
            "no_rope_layers",
            !self.no_rope_layers.is_empty(),
            &[SmolLm3],
        )?;
        only(
            "query_pre_attn_scalar",
            self.query_pre_attn_scalar.is_some(),
            &[Gemma3],
        )?;
        only("mlp_bias", self.mlp_bias, &[Llama, SmolLm3])?;
        let biased = [Llama, Qwen3, SmolLm3, Olmo2, Gemma, Gemma3];
        only("attention_bias", self.attention_bias, &biased)?;
        let windowed = [Mistral, Qwen2, Qwen3, SmolLm3, Gemma3, Phi3];
        only("sliding_window", window.is_some(), &windowed)?;
        only("sliding_window.rope_theta", theta.is_some(), &[Gemma3])
    }

    /// The dimensions of a head that rotary positions turn.
    pub(crate) fn rotary_dim(&self) -> usize {
        (self.head_dim as f64 * self.partial_rotary_factor) as usize
    }

    /// The approximate number of parameters, without norms and biases. `None` where it does not fit
    /// into a u64.
    pub(crate) fn parameters(&self) -> Option<u64> {
        let product = |a: usize, b: usize| (a as u64).checked_mul(b as u64);
        let heads = self
            .num_attention_heads
            .checked_add(self.num_key_value_heads)?;
        let attention = product(heads, self.head_dim)?.checked_mul(2)?;
        let mlp = (self.intermediate_size as u64).checked_mul(3)?;
        let block = attention
            .checked_add(mlp)?
            .checked_mul(self.hidden_size as u64)?;
        let embeddings = product(self.vocab_size, self.hidden_size)?.checked_mul(2)?;
        block
            .checked_mul(self.num_hidden_layers as u64)?
            .checked_add(embeddings)
    }
}

/// A policy of more parameters fits into no memory: the config is damaged.
const MAX_PARAMETERS: u64 = 1 << 40;

/// The largest number of blocks, far beyond any model. A list of more blocks would only waste
/// memory.
const MAX_LAYERS: usize = 10_000;

pub(crate) fn check_depth(layers: usize) -> Result<(), ConfigError> {
    if layers <= MAX_LAYERS {
        return Ok(());
    }
    let problem = format!("{layers}; expected at most {MAX_LAYERS}");
    Err(ConfigError::new("num_hidden_layers", problem))
}

/// Checks that these are blocks of the policy, ascending.
fn check_layers(field: &str, found: &[usize], layers: usize) -> Result<(), ConfigError> {
    let ascending = found.windows(2).all(|pair| pair[0] < pair[1]);
    if ascending && found.last().is_none_or(|last| *last < layers) {
        return Ok(());
    }
    let problem =
        format!("{found:?}; expected ascending numbers below num_hidden_layers = {layers}");
    Err(ConfigError::new(field, problem))
}

impl SlidingWindow {
    /// The number of tokens that a token of this block sees; none where it sees all.
    pub(crate) fn of(&self, layer: usize) -> Option<usize> {
        self.layers.contains(&layer).then_some(self.tokens)
    }

    fn check(&self, layers: usize) -> Result<(), ConfigError> {
        if self.tokens == 0 || self.layers.is_empty() {
            let problem = format!("{} tokens in {:?}; expected both", self.tokens, self.layers);
            return Err(ConfigError::new("sliding_window", problem));
        }
        if let Some(theta) = self.rope_theta.filter(|x| !(x.is_finite() && *x > 1.0)) {
            let problem = format!("{theta}; expected a number above 1");
            return Err(ConfigError::new("sliding_window.rope_theta", problem));
        }
        check_layers("sliding_window.layers", &self.layers, layers)
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
