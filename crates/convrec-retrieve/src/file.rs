//! A retriever as a file: a line with its weights, and a line for each training conversation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use convrec_core::{Example, files, jsonl};
use serde::{Deserialize, Serialize};

use crate::Fitted;
use crate::features::{FORMS, SOURCES};

/// The version of the file.
const VERSION: u32 = 1;
/// Sources that older files do not know. They count for nothing there.
const LATER_SOURCES: [&str; 2] = ["vectors", "word_vectors"];
/// The most candidates that a file may ask for.
const MOST_CANDIDATES: usize = 1 << 20;

/// There is no retriever.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetrieverError {
    /// No conversation says what is right.
    #[error(
        "none of the {conversations} conversations has a relevant item (`ground_truth`) that is in \
         the catalog and was not seen; expected at least one"
    )]
    NothingToLearn {
        /// The number of conversations.
        conversations: usize,
    },
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A training conversation in the file is bad.
    #[error(transparent)]
    Conversation(#[from] jsonl::Error),
    /// The first line is no retriever's.
    #[error("{path}, line 1: {problem}; expected what `fit_retriever` writes, fit it anew", path = .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
}

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    /// The version of the file.
    retriever: u32,
    n_candidates: usize,
    weight: f32,
    /// The weights of the forms of each source.
    weights: BTreeMap<String, [f64; FORMS]>,
}

impl Fitted {
    /// Writes the file: JSON lines, the weights first.
    ///
    /// # Errors
    /// [`RetrieverError::File`] when the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), RetrieverError> {
        let text = self.to_text();
        Ok(files::write_atomic(path.as_ref(), |out| {
            out.write_all(text.as_bytes())
        })?)
    }

    /// What [`write`](Self::write) writes.
    ///
    /// # Panics
    /// Never: numbers and texts can be written down.
    #[must_use]
    pub fn to_text(&self) -> String {
        let header = Header {
            retriever: VERSION,
            n_candidates: self.n_candidates,
            weight: self.weight,
            weights: self
                .weights()
                .map(|(name, weights)| (name.to_string(), weights))
                .collect(),
        };
        let mut text = serde_json::to_string(&header).expect("numbers and texts");
        for example in &self.training {
            text.push('\n');
            text.push_str(&serde_json::to_string(example).expect("texts"));
        }
        text.push('\n');
        text
    }

    /// Reads a file that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// [`RetrieverError::File`], [`RetrieverError::Header`] and [`RetrieverError::Conversation`]
    /// when the file cannot be read, or one of its lines is bad.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RetrieverError> {
        let path = path.as_ref();
        let text = files::read_text(path)?;
        let text = text.trim_start_matches('\u{feff}');
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let bad = |problem: String| RetrieverError::Header {
            path: path.into(),
            problem,
        };
        let header: Header = serde_json::from_str(first).map_err(|e| bad(e.to_string()))?;
        let weights = header.check().map_err(bad)?;
        // Blank, so that lines keep their numbers.
        let lines = format!("\n{rest}");
        Ok(Self {
            n_candidates: header.n_candidates,
            weight: header.weight,
            weights,
            training: jsonl::read::<Example>(lines.as_bytes(), &path.display().to_string())?,
        })
    }
}

impl Header {
    /// The weights in the order of the sources.
    fn check(&self) -> Result<Vec<f64>, String> {
        if self.retriever != VERSION {
            return Err(format!(
                "field `retriever`: version {} of the file, expected {VERSION}",
                self.retriever
            ));
        }
        if !(1..=MOST_CANDIDATES).contains(&self.n_candidates) {
            return Err(format!(
                "field `n_candidates`: {}, expected 1 to {MOST_CANDIDATES}",
                self.n_candidates
            ));
        }
        if !self.weight.is_finite() {
            return Err(format!(
                "field `weight`: {}, expected a number",
                self.weight
            ));
        }
        if let Some(name) = self.weights.keys().find(|k| !SOURCES.contains(&k.as_str())) {
            return Err(format!("field `weights`: unknown source `{name}`"));
        }
        let of_source = |name: &&str| match self.weights.get(*name) {
            Some(weights) => Ok(*weights),
            None if LATER_SOURCES.contains(name) => Ok([0.0; FORMS]),
            None => Err(format!("field `weights`: no source `{name}`")),
        };
        let weights = SOURCES
            .iter()
            .map(of_source)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(weights.into_iter().flatten().collect())
    }
}
