//! [`ModelConfig`] from and to the `config.json` of a Hugging Face model folder, with the defaults
//! of transformers 5.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::config::{ConfigError, Family, Llama3Scaling, ModelConfig};

impl Family {
    const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Qwen3];

    /// `model_type` and the class, in the file.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Llama => ("llama", "LlamaForCausalLM"),
            Self::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
            Self::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        }
    }
}

impl ModelConfig {
    /// Reads the text of a `config.json`, of transformers 5 (`rope_parameters`) or before
    /// (`rope_theta`, `rope_scaling`).
    ///
    /// Fields that do not change what the model computes are passed over (`dtype`, dropout, ids of
    /// other tokens).
    ///
    /// # Errors
    /// When the text is no JSON object, a needed field is missing or of the wrong type, or the file
    /// asks for something that this crate does not compute: another `model_type`, rotary
    /// scaling or activation, biases elsewhere, sliding windows. The error names the field.
    pub fn from_hugging_face(text: &str) -> Result<Self, ConfigError> {
        let map = read_object(text)?;
        let fields = Fields { map: &map, of: "" };
        let family = read_family(&fields)?;
        refuse_unsupported(&fields, family)?;
        let (hidden_size, heads) = (
            fields.count("hidden_size")?,
            fields.count("num_attention_heads")?,
        );
        let (default_head_dim, default_context) = match family {
            Family::Llama => (hidden_size / heads.max(1), 2048),
            Family::Qwen2 => (hidden_size / heads.max(1), 32_768),
            Family::Qwen3 => (128, 32_768),
        };
        let (rope_theta, rope_scaling) = read_rope(&fields)?;
        let config = Self {
            family,
            vocab_size: fields.count("vocab_size")?,
            hidden_size,
            intermediate_size: fields.count("intermediate_size")?,
            num_hidden_layers: fields.count("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: fields.maybe("num_key_value_heads", COUNT)?.unwrap_or(heads),
            head_dim: fields.maybe("head_dim", COUNT)?.unwrap_or(default_head_dim),
            rms_norm_eps: fields.must("rms_norm_eps", "a number")?,
            rope_theta,
            rope_scaling,
            tie_word_embeddings: fields
                .maybe("tie_word_embeddings", "true or false")?
                .unwrap_or(false),
            max_position_embeddings: fields
                .maybe("max_position_embeddings", COUNT)?
                .unwrap_or(default_context),
            end_tokens: read_end_tokens(&fields)?,
        };
        config.check()?;
        Ok(config)
    }

    /// The text of a `config.json` that transformers reads, 4 and 5 alike, and
    /// [`ModelConfig::from_hugging_face`].
    ///
    /// Rotary parameters are written under their new and their old names. Ids of special tokens are
    /// written as null where there is none: a missing one would be taken for that of Llama 2.
    pub fn to_hugging_face(&self) -> String {
        self.to_hugging_face_as("float32")
    }

    /// The same beside weights of another `dtype`, in torch's name: transformers loads them as the
    /// file says.
    pub(crate) fn to_hugging_face_as(&self, dtype: &str) -> String {
        let (model_type, class) = self.family.names();
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
        let old_rope = if self.rope_scaling.is_some() {
            rope.clone()
        } else {
            Value::Null
        };
        rope["rope_theta"] = json!(self.rope_theta);
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
            "hidden_act": "silu",
            "rms_norm_eps": self.rms_norm_eps,
            "rope_parameters": rope,
            "rope_theta": self.rope_theta,
            "rope_scaling": old_rope,
            "tie_word_embeddings": self.tie_word_embeddings,
            "max_position_embeddings": self.max_position_embeddings,
            "bos_token_id": null,
            "eos_token_id": end_tokens,
            "pad_token_id": null,
        });
        match self.family {
            Family::Llama => {
                (file["attention_bias"], file["mlp_bias"]) = (json!(false), json!(false))
            }
            Family::Qwen2 => file["use_sliding_window"] = json!(false),
            Family::Qwen3 => {
                (file["attention_bias"], file["use_sliding_window"]) = (json!(false), json!(false))
            }
        }
        format!("{file:#}\n")
    }
}

pub(crate) const COUNT: &str = "a whole number";

/// The fields of a JSON object.
pub(crate) fn read_object(text: &str) -> Result<Map<String, Value>, ConfigError> {
    let whole = |problem: String| ConfigError::new("(the whole file)", problem);
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(whole("expected a JSON object".into())),
        Err(e) => Err(whole(format!("not JSON: {e}"))),
    }
}

fn read_family(fields: &Fields) -> Result<Family, ConfigError> {
    let name: String = fields.must("model_type", "a text")?;
    Family::ALL
        .into_iter()
        .find(|family| family.names().0 == name)
        .ok_or_else(|| {
            let known = Family::ALL.map(|family| family.names().0).join(", ");
            fields.error(
                "model_type",
                format!("{name:?} is not supported; expected one of {known}"),
            )
        })
}

fn refuse_unsupported(fields: &Fields, family: Family) -> Result<(), ConfigError> {
    let refuse = |field: &str, found: &dyn std::fmt::Display, expected: &str| {
        Err(fields.error(
            field,
            format!("{found} is not supported; expected {expected}"),
        ))
    };
    if let Some(other) = fields
        .maybe::<String>("hidden_act", "a text")?
        .filter(|act| act != "silu")
    {
        return refuse("hidden_act", &other, "silu");
    }
    let biases: &[&str] = match family {
        Family::Llama => &["attention_bias", "mlp_bias"],
        Family::Qwen2 => &[], // its biases are not optional
        Family::Qwen3 => &["attention_bias"],
    };
    for field in biases {
        if fields.maybe(field, "true or false")? == Some(true) {
            return refuse(field, &true, "false");
        }
    }
    let window: Option<u64> = fields.maybe("sliding_window", "a whole number or null")?;
    if fields.maybe("use_sliding_window", "true or false")? == Some(true) && window.is_some() {
        return refuse("use_sliding_window", &true, "false");
    }
    let layers: Vec<String> = fields
        .maybe("layer_types", "a list of texts")?
        .unwrap_or_default();
    if let Some(other) = layers.iter().find(|layer| *layer != "full_attention") {
        return refuse("layer_types", other, "full_attention everywhere");
    }
    Ok(())
}

/// Base and scaling. As in transformers, `rope_scaling` goes before `rope_parameters`, and a base
/// inside goes before the one beside.
fn read_rope(fields: &Fields) -> Result<(f64, Option<Llama3Scaling>), ConfigError> {
    let empty = Map::new();
    let (old, new) = (
        fields.object("rope_scaling")?,
        fields.object("rope_parameters")?,
    );
    let rope = old.or(new).unwrap_or(Fields {
        map: &empty,
        of: "rope_parameters",
    });
    for at in [fields, &rope] {
        if let Some(part) = at
            .maybe::<f64>("partial_rotary_factor", "a number")?
            .filter(|part| *part != 1.0)
        {
            return Err(at.error(
                "partial_rotary_factor",
                format!("{part} is not supported; expected 1"),
            ));
        }
    }
    let beside = fields.maybe("rope_theta", "a number")?;
    let theta = rope
        .maybe("rope_theta", "a number")?
        .or(beside)
        .unwrap_or(10_000.0);
    let (name, kind) = match rope.maybe::<String>("rope_type", "a text")? {
        Some(kind) => ("rope_type", kind),
        None => (
            "type",
            rope.maybe("type", "a text")?
                .unwrap_or_else(|| "default".into()),
        ),
    };
    let scaling = match kind.as_str() {
        "default" => None,
        "llama3" => Some(Llama3Scaling {
            factor: rope.must("factor", "a number")?,
            low_freq_factor: rope.must("low_freq_factor", "a number")?,
            high_freq_factor: rope.must("high_freq_factor", "a number")?,
            original_max_position_embeddings: rope.count("original_max_position_embeddings")?,
        }),
        other => {
            return Err(rope.error(
                name,
                format!("{other:?} is not supported; expected default or llama3"),
            ));
        }
    };
    Ok((theta, scaling))
}

/// One id, a list of them, or none.
pub(crate) fn read_end_tokens(fields: &Fields) -> Result<Vec<u32>, ConfigError> {
    const EXPECTED: &str = "a token id, a list of them, or null";
    if fields.map.get("eos_token_id").is_some_and(Value::is_array) {
        return Ok(fields.maybe("eos_token_id", EXPECTED)?.unwrap_or_default());
    }
    Ok(fields
        .maybe("eos_token_id", EXPECTED)?
        .into_iter()
        .collect())
}

/// A JSON object, with its own name for errors.
pub(crate) struct Fields<'a> {
    pub(crate) map: &'a Map<String, Value>,
    pub(crate) of: &'static str,
}

impl<'a> Fields<'a> {
    pub(crate) fn error(&self, field: &str, problem: String) -> ConfigError {
        let dot = if self.of.is_empty() { "" } else { "." };
        ConfigError::new(format!("{}{dot}{field}", self.of), problem)
    }

    /// null is as good as nothing.
    pub(crate) fn maybe<T: DeserializeOwned>(
        &self,
        field: &str,
        expected: &str,
    ) -> Result<Option<T>, ConfigError> {
        let value = self.map.get(field).filter(|value| !value.is_null());
        let read = |value: &Value| {
            T::deserialize(value)
                .map_err(|_| self.error(field, format!("{value}; expected {expected}")))
        };
        value.map(read).transpose()
    }

    pub(crate) fn must<T: DeserializeOwned>(
        &self,
        field: &str,
        expected: &str,
    ) -> Result<T, ConfigError> {
        self.maybe(field, expected)?
            .ok_or_else(|| self.error(field, format!("missing; expected {expected}")))
    }

    pub(crate) fn count(&self, field: &str) -> Result<usize, ConfigError> {
        self.must(field, COUNT)
    }

    fn object(&self, field: &'static str) -> Result<Option<Fields<'a>>, ConfigError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields { map, of: field })),
            Some(other) => Err(self.error(field, format!("{other}; expected an object"))),
        }
    }
}
