//! [`ModelConfig`] to the `config.json` of a Hugging Face model folder.

use serde_json::{Value, json};

use crate::config::{Family, ModelConfig};

impl ModelConfig {
    /// The text of a `config.json` that transformers reads, 4 and 5 alike, and
    /// [`ModelConfig::from_hugging_face`].
    ///
    /// Rotary parameters are written under their new and their old names. Ids of special tokens are
    /// written as null where there is none. A missing field would mean that of Llama 2.
    #[must_use]
    pub fn to_hugging_face(&self) -> String {
        self.to_hugging_face_as("float32")
    }

    /// The same beside weights of another `dtype`, in torch's name: transformers loads them as the
    /// file says.
    pub(crate) fn to_hugging_face_as(&self, dtype: &str) -> String {
        let (model_type, class) = self.family.names();
        let (rope, old_rope) = self.rope();
        let end_tokens = match self.end_tokens[..] {
            [] => Value::Null,
            [token] => json!(token),
            _ => json!(self.end_tokens),
        };
        let mut file = json!({
            "architectures": [class],
            "model_type": model_type,
            "dtype": dtype,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": self.family.activation(),
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": rope,
            "rope_theta": self.rope_theta,
            "rope_scaling": old_rope,
            "tie_word_embeddings": self.tie_word_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "bos_token_id": self.bos_token,
            "eos_token_id": end_tokens,
            "pad_token_id": self.pad_token,
        });
        self.of_family(&mut file);
        format!("{file:#}\n")
    }

    /// The rotary settings under the new and under the old name.
    fn rope(&self) -> (Value, Value) {
        let mut rope = match &self.rope_scaling {
            None => json!({ "rope_type": "default" }),
            Some(scaling) => json!({
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_max_position_embeddings,
            }),
        };
        let old = match self.rope_scaling {
            Some(_) => rope.clone(),
            None => Value::Null,
        };
        rope["rope_theta"] = json!(self.rope_theta);
        if self.family == Family::Phi3 {
            rope["partial_rotary_factor"] = json!(self.partial_rotary_factor);
        }
        if self.family == Family::Gemma3 {
            let window = self.sliding_window.as_ref();
            let theta = window
                .and_then(|window| window.rope_theta)
                .unwrap_or(10_000.0);
            let sliding = json!({ "rope_type": "default", "rope_theta": theta });
            rope = json!({ "full_attention": rope, "sliding_attention": sliding });
        }
        (rope, old)
    }

    /// The fields that only some families have.
    fn of_family(&self, file: &mut Value) {
        let window = self.sliding_window.as_ref();
        let is_sliding = |layer| window.is_some_and(|window| window.layers.contains(&layer));
        let kinds = || {
            let kind =
                |layer| ["full_attention", "sliding_attention"][usize::from(is_sliding(layer))];
            (0..self.num_hidden_layers).map(kind).collect::<Vec<_>>()
        };
        let mut set = |field: &str, value: Value| file[field] = value;
        match self.family {
            Family::Llama | Family::SmolLm3 => {
                set("attention_bias", json!(self.attention_bias));
                set("mlp_bias", json!(self.mlp_bias));
            }
            Family::Qwen3 | Family::Olmo2 | Family::Gemma | Family::Gemma3 => {
                set("attention_bias", json!(self.attention_bias));
            }
            Family::Mistral | Family::Qwen2 | Family::Phi3 => {}
        }
        match self.family {
            Family::Mistral => set("sliding_window", json!(window.map(|window| window.tokens))),
            Family::Phi3 => {
                set("sliding_window", json!(window.map(|window| window.tokens)));
                set("partial_rotary_factor", json!(self.partial_rotary_factor));
            }
            Family::Qwen2 | Family::Qwen3 | Family::SmolLm3 => {
                set("use_sliding_window", json!(window.is_some()));
                if let Some(window) = window {
                    set("sliding_window", json!(window.tokens));
                    set("layer_types", json!(kinds()));
                }
            }
            Family::Gemma3 => {
                set("hidden_activation", json!(self.family.activation()));
                let scalar = self.query_pre_attn_scalar.unwrap_or(256.0);
                // transformers refuses 256.0 where it expects a whole number.
                let whole = (scalar.fract() == 0.0).then_some(scalar as u64);
                set(
                    "query_pre_attn_scalar",
                    whole.map_or(json!(scalar), |whole| json!(whole)),
                );
                set("sliding_window", json!(window.map(|window| window.tokens)));
                set("layer_types", json!(kinds()));
                if let Some(theta) = window.and_then(|window| window.rope_theta) {
                    set("rope_local_base_freq", json!(theta));
                }
            }
            Family::Llama | Family::Olmo2 | Family::Gemma => {}
        }
        if self.family == Family::SmolLm3 {
            let mark = |layer| u8::from(!self.no_rope_layers.contains(&layer));
            set(
                "no_rope_layers",
                json!((0..self.num_hidden_layers).map(mark).collect::<Vec<_>>()),
            );
        }
    }
}
