//! Turns texts into rows of unit length.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use convrec_core::files;
use convrec_services::{Embedder, ServiceError};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::bert::Bert;
use crate::config::Config;
use crate::error::EmbedError;
use crate::settings::{Pooling, Settings};
use crate::tokens::Tokens;
use crate::weights::{self, Weights};

/// The most tokens of a forward pass, which has one text at least. More tokens make a CPU no
/// faster: all its cores are busy, and the activations of these tokens fit its cache.
const BATCH_TOKENS: usize = 2048;

/// A model that turns texts into vectors. See the [crate's page](crate).
#[derive(Debug)]
pub struct SentenceEncoder {
    name: String,
    bert: Bert,
    tokens: Tokens,
    pooling: Pooling,
    lower_case: bool,
    prompts: BTreeMap<String, String>,
    /// The text that is put before each text.
    prompt: String,
    /// The hash of all files that were read, without the prompts.
    hash: Sha256,
}

impl SentenceEncoder {
    /// Reads a model's folder: `config.json`, `model.safetensors`, `tokenizer.json` (or
    /// `vocab.txt`), and the files that the sentence-transformers library adds to them.
    ///
    /// # Errors
    /// [`EmbedError`] when a file is missing or damaged, asks for something that is not computed
    /// here, or does not fit the others. It names file, field and tensor.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self, EmbedError> {
        let folder = folder.as_ref();
        let settings = Settings::read(folder)?;
        let config_path = settings.folder.join("config.json");
        let config = Config::read(&config_path)?;
        let mut hash = Sha256::new_with_prefix(files::read_text(&config_path)?);
        let (longest, known) = (config.longest(), config.vocab_size);
        let tokens = Tokens::read(
            &settings.folder,
            settings.max_tokens,
            longest,
            known,
            &mut hash,
        )?;
        hash.update(format!(
            "{:?} {} {}",
            settings.pooling, settings.lower_case, tokens.max_tokens
        ));
        let (path, bytes) = weights::map(&settings.folder)?;
        let bert = Bert::new(config, &Weights::open(&path, &bytes, device)?)?;
        hash.update(&bytes);
        // `.` has no name, but its canonical path has.
        let whole = folder
            .canonicalize()
            .map_err(|e| files::Error::new("read", folder, e))?;
        Ok(Self {
            name: whole
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            bert,
            tokens,
            pooling: settings.pooling,
            lower_case: settings.lower_case,
            prompts: settings.prompts,
            prompt: settings.default_prompt.unwrap_or_default(),
            hash,
        })
    }

    /// Puts `prompt` before each text, in place of the model's default. Models of the E5 kind
    /// expect `query: ` or `passage: `. To compare texts of one kind with each other, use `query: `
    /// for all.
    pub fn with_prompt(self, prompt: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            ..self
        }
    }

    /// Uses the prompt of this name in the model's `config_sentence_transformers.json`.
    ///
    /// # Errors
    /// [`EmbedError`] when the model has no prompt of that name.
    pub fn with_named_prompt(self, name: &str) -> Result<Self, EmbedError> {
        match self.prompts.get(name).cloned() {
            Some(prompt) => Ok(self.with_prompt(prompt)),
            None => {
                let names: Vec<&String> = self.prompts.keys().collect();
                Err(EmbedError::Format {
                    file: self.name,
                    problem: format!("no prompt {name:?} among {names:?}"),
                })
            }
        }
    }

    /// The text that is put before each text. It may be empty.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// The way in which tokens become one vector.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// The number of tokens after which a text is cut, with special ones and those of the prompt.
    pub fn max_tokens(&self) -> usize {
        self.tokens.max_tokens
    }

    /// The length D of the vectors.
    pub fn width(&self) -> usize {
        self.bert.config().hidden_size
    }

    /// A row of unit length for each text, as sentence-transformers makes it. An empty text has the
    /// row of the special tokens alone.
    ///
    /// # Shapes
    /// `[texts, D]`.
    ///
    /// # Errors
    /// [`EmbedError::Text`] when the tokenizer fails on a text, or its row is not finite.
    pub fn encode(&self, texts: &[String]) -> Result<Array2<f32>, EmbedError> {
        let failed = |n: usize| move |problem| EmbedError::text(n, &texts[n], problem);
        let tokens = texts
            .par_iter()
            .enumerate()
            .map(|(n, text)| self.tokenize(text).map_err(failed(n)));
        let tokens: Vec<Vec<u32>> = tokens.collect::<Result<_, _>>()?;
        // Texts are sorted by length, so that devices that pad have little to pad.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|n| tokens[*n].len());
        let mut rows = Array2::zeros((texts.len(), self.width()));
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut sum = 0;
            let fits = |n: &&usize| {
                sum += tokens[**n].len();
                sum <= BATCH_TOKENS
            };
            let (batch, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            rest = behind;
            let batch_tokens: Vec<&[u32]> = batch.iter().map(|n| tokens[*n].as_slice()).collect();
            for (n, row) in batch.iter().zip(self.rows(&batch_tokens)) {
                if !row.iter().all(|x| x.is_finite()) {
                    return Err(EmbedError::text(
                        *n,
                        &texts[*n],
                        "the model makes numbers of it that are not finite",
                    ));
                }
                rows.row_mut(*n).assign(&row);
            }
        }
        Ok(rows)
    }

    fn tokenize(&self, text: &str) -> Result<Vec<u32>, String> {
        let text = format!("{}{text}", self.prompt);
        self.tokens.encode(&if self.lower_case {
            text.to_lowercase()
        } else {
            text
        })
    }

    /// The row of each text of a batch.
    fn rows(&self, texts: &[&[u32]]) -> Vec<Array1<f32>> {
        let hidden = self
            .bert
            .hidden(texts)
            .into_data()
            .try_into_vec_as::<f32>()
            .expect("hidden states are floats");
        let mut rest = hidden.as_slice();
        let row = |tokens: &&[u32]| {
            let (hidden, behind) = rest.split_at(tokens.len() * self.width());
            rest = behind;
            let hidden = ArrayView2::from_shape((tokens.len(), self.width()), hidden)
                .expect("D numbers a token");
            pool(self.pooling, hidden)
        };
        texts.iter().map(row).collect()
    }
}

/// hidden `[T, D]`, T at least 1, to `[D]`, of unit length.
fn pool(pooling: Pooling, hidden: ArrayView2<'_, f32>) -> Array1<f32> {
    let row = match pooling {
        Pooling::Mean => hidden.mean_axis(Axis(0)).expect("a text has tokens"),
        Pooling::Cls => hidden.row(0).to_owned(),
        Pooling::Max => hidden.map_axis(Axis(0), |column| {
            column.iter().copied().fold(f32::NEG_INFINITY, f32::max)
        }),
    };
    let norm = row.dot(&row).sqrt();
    row / norm
}

impl Embedder for SentenceEncoder {
    /// The folder's name, and the SHA-256 of weights, tokenizer, config, settings and prompt.
    fn id(&self) -> String {
        let hash = self.hash.clone().chain_update(&self.prompt).finalize();
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{hash}", self.name)
    }

    /// As [`encode`](SentenceEncoder::encode), but a text of nothing but white space and control
    /// characters is a row of zeros.
    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
        let mut rows = self
            .encode(texts)
            .map_err(|e| ServiceError::new(&self.name, e.to_string()))?;
        let is_blank = |text: &String| text.chars().all(|c| c.is_whitespace() || c.is_control());
        let blank = texts
            .iter()
            .zip(rows.outer_iter_mut())
            .filter(|(text, _)| is_blank(text));
        blank.for_each(|(_, mut row)| row.fill(0.0));
        Ok(rows)
    }
}
