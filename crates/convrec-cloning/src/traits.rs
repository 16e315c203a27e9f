use convrec_core::{CatalogItem, Example, Item};
use ndarray::Array2;

/// A teacher, judge or embedder gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service}: {problem}")]
pub struct ServiceError {
    /// Who failed, with what identifies it: a file, an address, a model.
    pub service: String,
    /// What happened, what was expected and what to do.
    pub problem: String,
}

impl ServiceError {
    /// `service` failed because of `problem`.
    pub fn new(service: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { service: service.into(), problem: problem.into() }
    }
}

/// A black box that recommends: a large language model, recorded answers, a script.
pub trait Teacher: Sync {
    /// The raw text of its answer to the conversation when asked for `n` items. The text may hold anything: it is data.
    ///
    /// # Errors
    /// When there is no answer at all.
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError>;
}

/// One who rates how well items fit a conversation; in the paper the teacher itself, asked again.
pub trait Judge: Sync {
    /// A rating in -2..=2 for each candidate, in their order; `None` where it was not rated.
    ///
    /// # Errors
    /// When there is no answer at all.
    fn rate(&self, example: &Example, candidates: &[&CatalogItem]) -> Result<Vec<Option<i8>>, ServiceError>;
}

/// Turns texts into vectors whose dot product tells how alike they are.
pub trait Embedder: Sync {
    /// One row of unit length for each text (a row of zeros for a text without content).
    ///
    /// # Shapes
    /// `[texts, D]`, the same D at every call.
    ///
    /// # Errors
    /// When the texts could not be embedded.
    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError>;
}

/// One who knows something about items outside the catalog.
pub trait Describer: Sync {
    /// A text about the item (people, keywords, plot), by which it is compared with catalog items; `None` where nothing
    /// is known, and its name alone must do.
    fn describe(&self, item: &Item) -> Option<String>;
}

/// Knows nothing: off-catalog items are compared by their name alone.
impl Describer for () {
    fn describe(&self, _: &Item) -> Option<String> {
        None
    }
}
