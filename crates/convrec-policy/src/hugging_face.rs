//! [`ModelConfig`] from the `config.json` of a Hugging Face model folder, with the defaults of
//! transformers 5.

mod layers;
mod rope;
mod write;

use crate::config::{ConfigError, Family, ModelConfig, check_depth};
use crate::fields::{COUNT, FLAG, Fields, read_object};

impl Family {
    const ALL: [Self; 9] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::SmolLm3,
        Self::Olmo2,
        Self::Gemma,
        Self::Gemma3,
        Self::Phi3,
    ];

    /// `model_type` and the class, in the file.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Llama => ("llama", "LlamaForCausalLM"),
            Self::Mistral => ("mistral", "MistralForCausalLM"),
            Self::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Self::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
            Self::SmolLm3 => ("smollm3", "SmolLM3ForCausalLM"),
            Self::Olmo2 => ("olmo2", "Olmo2ForCausalLM"),
            Self::Gemma => ("gemma", "GemmaForCausalLM"),
            Self::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
            Self::Phi3 => ("phi3", "Phi3ForCausalLM"),
        }
    }

    /// The activation of the MLP, in the file.
    fn activation(self) -> &'static str {
        match self {
            Self::Gemma | Self::Gemma3 => "gelu_pytorch_tanh",
            _ => "silu",
        }
    }

    /// The defaults of transformers for absent fields.
    fn defaults(self) -> Defaults {
        let llama = Defaults {
            head_dim: None,
            kv_heads: None,
            context: 2048,
            rope_theta: 10_000.0,
            tied: false,
            window: None,
        };
        match self {
            Self::Llama | Self::Olmo2 => llama,
            Self::Mistral => Defaults {
                kv_heads: Some(8),
                context: 131_072,
                window: Some(4096),
                ..llama
            },
            Self::Qwen2 => Defaults {
                context: 32_768,
                window: Some(4096),
                ..llama
            },
            Self::Qwen3 => Defaults {
                head_dim: Some(128),
                context: 32_768,
                window: Some(4096),
                ..llama
            },
            Self::SmolLm3 => Defaults {
                kv_heads: Some(4),
                context: 32_768,
                rope_theta: 2_000_000.0,
                tied: true,
                ..llama
            },
            Self::Gemma => Defaults {
                head_dim: Some(256),
                kv_heads: Some(16),
                context: 8192,
                tied: true,
                ..llama
            },
            Self::Gemma3 => Defaults {
                head_dim: Some(256),
                kv_heads: Some(4),
                context: 131_072,
                rope_theta: 1_000_000.0,
                tied: true,
                window: Some(4096),
            },
            Self::Phi3 => Defaults {
                context: 4096,
                ..llama
            },
        }
    }
}

struct Defaults {
    /// `hidden_size / num_attention_heads` where there is none.
    head_dim: Option<usize>,
    /// As many as query heads where there is none.
    kv_heads: Option<usize>,
    context: usize,
    rope_theta: f64,
    tied: bool,
    window: Option<usize>,
}

impl ModelConfig {
    /// Reads the text of a `config.json`, of transformers 5 (`rope_parameters`) or before
    /// (`rope_theta`, `rope_scaling`).
    ///
    /// Fields that do not change what the model computes are passed over (`dtype`, dropout). An id
    /// of -1 means that there is no such token.
    ///
    /// # Errors
    /// [`ConfigError`] when the text is no JSON object, or a needed field is missing or of the
    /// wrong type. It is also the error where the file asks for something that this crate does not
    /// compute: another `model_type`, another activation, another rotary scaling. The error names
    /// the field.
    pub fn from_hugging_face(text: &str) -> Result<Self, ConfigError> {
        let map = read_object(text)?;
        let fields = Fields::of_file(&map);
        let family = read_family(&fields)?;
        refuse_unsupported(&fields, family)?;
        let defaults = family.defaults();
        let (hidden_size, layers, heads) = (
            fields.count("hidden_size")?,
            fields.count("num_hidden_layers")?,
            fields.count("num_attention_heads")?,
        );
        check_depth(layers)?;
        let count = |field, default| Ok(fields.maybe(field, COUNT)?.unwrap_or(default));
        let flag = |field| Ok(fields.flag(field)?.unwrap_or(false));
        let no_rope_layers = layers::read_no_rope(&fields, family, layers)?;
        let rope = rope::read(&fields, family, defaults.rope_theta)?;
        let mut sliding_window =
            layers::read_window(&fields, family, defaults.window, layers, &no_rope_layers)?;
        if let Some(window) = &mut sliding_window {
            window.rope_theta = rope.sliding_theta;
        }
        let has_biases = |family| !matches!(family, Family::Qwen2 | Family::Mistral | Family::Phi3);
        let config = Self {
            family,
            vocab_size: fields.count("vocab_size")?,
            hidden_size,
            intermediate_size: fields.count("intermediate_size")?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: count("num_key_value_heads", defaults.kv_heads.unwrap_or(heads))?,
            head_dim: count(
                "head_dim",
                defaults.head_dim.unwrap_or(hidden_size / heads.max(1)),
            )?,
            rms_norm_eps: fields.must("rms_norm_eps", "a number")?,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            partial_rotary_factor: rope.part,
            no_rope_layers,
            sliding_window,
            query_pre_attn_scalar: match family {
                Family::Gemma3 => Some(fields.number("query_pre_attn_scalar")?.unwrap_or(256.0)),
                _ => None,
            },
            // The code of the other families does not know the field.
            attention_bias: has_biases(family) && flag("attention_bias")?,
            mlp_bias: matches!(family, Family::Llama | Family::SmolLm3) && flag("mlp_bias")?,
            tie_word_embeddings: fields
                .maybe("tie_word_embeddings", FLAG)?
                .unwrap_or(defaults.tied),
            max_position_embeddings: count("max_position_embeddings", defaults.context)?,
            end_tokens: fields.tokens("eos_token_id")?,
            bos_token: fields.token("bos_token_id")?,
            pad_token: fields.token("pad_token_id")?,
        };
        config.check()?;
        Ok(config)
    }
}

fn read_family(fields: &Fields) -> Result<Family, ConfigError> {
    let name: String = fields.must("model_type", "a text")?;
    let known = Family::ALL.map(|family| family.names().0);
    Family::ALL
        .into_iter()
        .find(|family| family.names().0 == name)
        .map_or_else(
            || {
                let expected = format!("one of {}", known.join(", "));
                fields.unsupported("model_type", format!("{name:?}"), &expected)
            },
            Ok,
        )
}

fn refuse_unsupported(fields: &Fields, family: Family) -> Result<(), ConfigError> {
    for field in ["hidden_act", "hidden_activation"] {
        let found: Option<String> = fields.maybe(field, "a text")?;
        if let Some(other) = found.filter(|act| act != family.activation()) {
            return fields.unsupported(field, other, family.activation());
        }
    }
    for field in ["attn_logit_softcapping", "final_logit_softcapping"] {
        if let Some(cap) = fields.number(field)? {
            return fields.unsupported(field, cap, "null");
        }
    }
    if fields.flag("use_bidirectional_attention")? == Some(true) {
        return fields.unsupported("use_bidirectional_attention", true, "false");
    }
    Ok(())
}
