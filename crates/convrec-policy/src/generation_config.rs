//! The sampling defaults of a model's makers: `generation_config.json`.

use std::io::ErrorKind;
use std::path::Path;

use crate::config::{ConfigError, ModelConfig};
use crate::error::WeightsError;
use crate::fields::{COUNT, Fields, read_object};
use crate::regular_file;
use crate::sampling::Sampling;

/// The content of `generation_config.json` of a Hugging Face model folder, with the defaults of
/// transformers 5.
///
/// ```
/// use convrec_policy::{GenerationDefaults, Sampling};
///
/// let text = r#"{ "do_sample": true, "temperature": 0.6, "top_p": 0.9, "eos_token_id": [128001, 128009] }"#;
/// let defaults = GenerationDefaults::from_hugging_face(text)?;
/// let expected = Sampling { temperature: 0.6, top_p: Some(0.9), top_k: Some(50), ..Sampling::default() };
/// assert_eq!((defaults.sampling, defaults.end_tokens), (expected, vec![128001, 128009]));
/// # Ok::<(), convrec_policy::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationDefaults {
    /// The distribution of tokens; greedy unless the file says `do_sample`.
    pub sampling: Sampling,
    /// The tokens that end an answer, `eos_token_id` in the file.
    pub end_tokens: Vec<u32>,
    /// The number of tokens after which an answer is cut.
    pub max_new_tokens: Option<usize>,
}

impl GenerationDefaults {
    /// Reads the text of a `generation_config.json`. Fields that are not known here are passed
    /// over.
    ///
    /// As in transformers, `top_k` is 50 where a file samples and does not name it; 0 is none.
    ///
    /// # Errors
    /// [`ConfigError`] when the text is no JSON object, or a field has a wrong type or value. The
    /// error names it.
    pub fn from_hugging_face(text: &str) -> Result<Self, ConfigError> {
        let map = read_object(text)?;
        let fields = Fields::of_file(&map);
        let number = |field| fields.maybe::<f32>(field, "a number");
        // All fields are read before `do_sample` decides which count, so that a wrong type is never
        // passed over.
        let (temperature, top_p, min_p) =
            (number("temperature")?, number("top_p")?, number("min_p")?);
        let top_k = fields.maybe::<usize>("top_k", COUNT)?.unwrap_or(50);
        let repetition_penalty = number("repetition_penalty")?.unwrap_or(1.0);
        let sampling = if fields.maybe("do_sample", "true or false")?.unwrap_or(false) {
            Sampling {
                repetition_penalty,
                temperature: temperature.unwrap_or(1.0),
                top_k: Some(top_k).filter(|k| *k > 0),
                top_p: top_p.filter(|p| *p != 1.0),
                min_p: min_p.filter(|p| *p != 0.0),
            }
        } else {
            Sampling {
                repetition_penalty,
                ..Sampling::greedy()
            }
        };
        sampling.check()?;
        let max_new_tokens = fields.maybe("max_new_tokens", COUNT)?;
        if max_new_tokens == Some(0) {
            return Err(fields.error("max_new_tokens", "0; expected at least 1"));
        }
        Ok(Self {
            sampling,
            end_tokens: fields.tokens("eos_token_id")?,
            max_new_tokens,
        })
    }

    /// Reads a model folder's `generation_config.json`. Where there is none, answers are greedy.
    /// Where it names no end token, those of `config.json` count.
    ///
    /// # Errors
    /// [`WeightsError::File`] when a file cannot be read, [`WeightsError::Config`] when a field is
    /// wrong; the error names file and field.
    pub fn load_folder(folder: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let folder = folder.as_ref();
        let path = folder.join("generation_config.json");
        let mut defaults = match regular_file::read_text(&path) {
            Ok(text) => Self::from_hugging_face(&text).map_err(WeightsError::config(&path))?,
            Err(e) if e.kind() == ErrorKind::NotFound => Self {
                sampling: Sampling::greedy(),
                end_tokens: vec![],
                max_new_tokens: None,
            },
            Err(e) => return Err(WeightsError::file("read", &path)(e)),
        };
        if defaults.end_tokens.is_empty() {
            defaults.end_tokens = ModelConfig::load_folder(folder)?.end_tokens;
        }
        Ok(defaults)
    }
}
