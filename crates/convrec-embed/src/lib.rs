//! Sentence embeddings by encoders of the BERT family on burn, from Hugging Face folders.
//!
//! An encoder reads a text as a whole: each token attends to all others and ends as a vector that
//! knows its context. These vectors are pooled into one vector of unit length. Texts of one meaning
//! lie close to each other, whatever their words. The dot product of two is the cosine of their
//! angle. The pipeline compares conversations with items this way, and items that a teacher named
//! with those of a catalog.
//!
//! ```
//! use burn::tensor::Device;
//! use convrec_embed::SentenceEncoder;
//!
//! // A toy with random weights; in earnest all-MiniLM-L6-v2, bge-small-en-v1.5, multilingual-e5-small, ...
//! let encoder = SentenceEncoder::load("tests/tiny-bert", &Device::flex())?;
//! let texts = ["Heat, a film about a robbery", "heat: a film about a robbery!", "Alien (1979)"].map(String::from);
//! let rows = encoder.encode(&texts)?; // [texts, D]
//!
//! assert_eq!(rows.dim(), (3, encoder.width()));
//! assert!((rows.row(0).dot(&rows.row(0)) - 1.0).abs() < 1e-5);
//! assert!(rows.row(0).dot(&rows.row(1)) > rows.row(0).dot(&rows.row(2)));
//! # Ok::<(), convrec_embed::EmbedError>(())
//! ```
//!
//! A [`SentenceEncoder`] is an [`Embedder`](convrec_services::Embedder) of Remap-Reflect-Adjust.
//!
//! # What is read
//!
//! | file | what is read |
//! |---|---|
//! | `config.json` | BERT (MiniLM, BGE, GTE, E5 are of this `model_type`), RoBERTa and XLM-RoBERTa (multilingual E5) |
//! | `model.safetensors` | f32, f16 or bf16, held as f32; names with or without `bert.` or `roberta.` before them. A pooler and heads are passed over |
//! | `tokenizer.json`, or `vocab.txt` and `tokenizer_config.json` | its own padding and truncation are replaced |
//! | `modules.json`, `1_Pooling/config.json` | mean, first token or maximum; without these files the mean. Further layers (`2_Dense`) are refused |
//! | `sentence_bert_config.json` | `max_seq_length`, `do_lower_case` |
//! | `config_sentence_transformers.json` | `prompts`, `default_prompt_name` |
//!
//! # Where this departs from sentence-transformers
//!
//! - Every row has unit length, whether the model has a `2_Normalize` or not.
//! - As an [`Embedder`](convrec_services::Embedder), a text of white space alone is a row of zeros,
//!   which is similar to nothing. In sentence-transformers, and from [`SentenceEncoder::encode`],
//!   it is the vector of a text without words, which is as close to others as any.
//! - `max_seq_length` beyond the model's positions is cut to these instead of failing at the first
//!   long text.
//!
//! As in sentence-transformers, a text that is too long loses its end: the first tokens are kept,
//! up to [`max_tokens`](SentenceEncoder::max_tokens) with the special ones. A special token that is
//! spelled in a text (`[SEP]`) is a special token, as there.
//!
//! # Batches
//!
//! Texts are sorted by length and lie end to end in batches of some 2,000 tokens
//! ([`convrec_kernels::Packing`]); on a CPU nothing is padded. A text's row does not depend on the
//! other texts, except for the rounding of sums (1e-6).
//!
//! Devlin et al., "BERT", [arXiv 1810.04805](https://arxiv.org/abs/1810.04805); Reimers and
//! Gurevych, "Sentence-BERT", [arXiv 1908.10084](https://arxiv.org/abs/1908.10084).

mod bert;
mod config;
mod encoder;
mod error;
mod settings;
mod tokens;
mod weights;

pub use burn::tensor::Device;
pub use encoder::SentenceEncoder;
pub use error::EmbedError;
pub use settings::Pooling;
