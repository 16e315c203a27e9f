//! A model as a folder: the policy, its tokenizer, and the form of prompts and lists.
//!
//! Supervised fine-tuning writes such a folder, and reinforcement learning reads and writes one.
//! Evaluation and serving read it. The folder of a published chat model will do as well.

mod error;
mod format;
mod language;
mod recommender;
mod source;
#[cfg(test)]
mod tests;

use std::path::Path;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_policy::{Policy, SaveOptions};

pub use error::ModelError;
pub use format::{Prompts, TaskFormat};
pub use language::Language;
pub use recommender::{RecommendError, Recommendation, Recommender};
pub use source::ModelSource;

use crate::task::Task;

/// A policy with its language. It is read from a folder, and written to one.
///
/// ```no_run
/// use convrec_core::Turn;
/// use convrec_train::Model;
///
/// # fn answer(catalog: convrec_catalog::Catalog, device: &burn::tensor::Device)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// let model = Model::load("runs/rank-grpo", device)?; // or a name on the hub, or an adapter
/// let recommender = model.recommender(catalog)?;
/// for best in recommender.recommend(&[Turn::user("Something like Heat?")], &[], 5)? {
///     println!("{}. {} (item {})", best.rank, best.item, best.id.0);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Model {
    /// The weights.
    pub policy: Policy,
    /// The tokenizer, and the form of prompts and lists.
    pub language: Language,
}

impl Model {
    /// Reads a model. `name` is a folder that [`save`](Self::save) wrote, the folder of a published
    /// chat model, or the folder of a PEFT adapter. An adapter is merged into the base model that
    /// it names. With the feature `hub` it may also be a name on the Hugging Face hub, such as
    /// `org/name`.
    ///
    /// # Errors
    /// [`ModelError`] when a file is missing or does not fit the others; it names the file.
    pub fn load(name: impl AsRef<Path>, device: &Device) -> Result<Self, ModelError> {
        let source = ModelSource::find(name.as_ref())?;
        // Small files are read first, so that errors about them come early.
        let language = Language::of_source(&source)?;
        let policy = Policy::load_folder(&source.weights, device)?;
        let policy = policy.with_base_name(&source.base_name);
        let policy = match &source.adapter {
            Some(adapter) => policy.load_lora(adapter)?.merged(),
            None => policy,
        };
        let (tokens, known) = (language.tokenizer.vocab_size(), policy.config().vocab_size);
        if tokens > known {
            return Err(ModelError::Vocabulary {
                path: source.folder_of(language::TOKENIZER).into(),
                tokens,
                known,
            });
        }
        Ok(Self { policy, language })
    }

    /// Writes a model folder. A policy with an adapter is written merged, and the adapter alone
    /// into the folder `adapter` in it. Weights have the type that they were read in, f32 where the
    /// policy is new.
    ///
    /// # Errors
    /// [`ModelError`] when a file cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), ModelError> {
        self.save_as(folder, &SaveOptions::as_loaded(&self.policy))
    }

    /// [`save`](Self::save) with weights of another type or in files of another size.
    ///
    /// # Errors
    /// [`ModelError`] when a file cannot be written or a number does not fit the type.
    pub fn save_as(
        &self,
        folder: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<(), ModelError> {
        let folder = folder.as_ref();
        self.language.save(folder)?;
        if self.policy.lora().is_some() {
            self.policy.save_lora(folder.join("adapter"))?;
        }
        Ok(self.policy.merged().save_folder(folder, options)?)
    }

    /// The task of the model over a catalog: lists of N different, unseen items of it.
    ///
    /// # Errors
    /// As [`Language::task`].
    pub fn task(&self, catalog: Catalog) -> Result<Task, ModelError> {
        self.language.task(catalog)
    }
}
