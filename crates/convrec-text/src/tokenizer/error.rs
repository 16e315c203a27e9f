//! Errors about tokenizers and tokens.

use convrec_core::files;

/// A tokenizer could not be read, trained or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file holds no tokenizer of the kinds that this library reads.
    #[error("{file}: {problem}")]
    Unsupported {
        /// The file, as the caller named it.
        file: String,
        /// What was found and expected.
        problem: String,
    },
    /// A setting of a training run is wrong.
    #[error("tokenizer training, `{field}`: {problem}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What was found and expected.
        problem: String,
    },
    /// A special token is needed and not there.
    #[error("the tokenizer has no special token `{0}`; train it with one, or name the one it has")]
    NoSpecial(String),
    /// The tokens of a line stand for another line.
    #[error(
        "the tokenizer changes the line {line:?}: its tokens stand for {found:?}; name the item \
         differently, or take a tokenizer that keeps text as it is"
    )]
    Changed {
        /// The line.
        line: String,
        /// The text of its tokens.
        found: String,
    },
    /// The underlying tokenizer failed on a text.
    #[error("the tokenizer failed: {0}")]
    Failed(tokenizers::Error),
}
