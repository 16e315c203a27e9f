use std::sync::Arc;

use convrec_core::{CatalogItem, Example, Item, Turn};
use ndarray::Array2;
use rayon::prelude::*;

use crate::ServiceError;

/// A callback that is told how many more requests are answered. It is called from any thread.
pub type Done<'a> = &'a (dyn Fn(usize) + Sync);

/// A request to a chat model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRequest {
    /// The conversation. Its last turn is the user's.
    pub turns: Vec<Turn>,
    /// The number of tokens after which the answer is cut.
    pub max_tokens: usize,
}

/// The answer of a chat model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatAnswer {
    /// The text.
    pub text: String,
    /// Whether it was cut at the limit of tokens, so that its last line may not be whole.
    pub is_cut: bool,
}

impl From<String> for ChatAnswer {
    /// An answer that was not cut.
    fn from(text: String) -> Self {
        Self {
            text,
            is_cut: false,
        }
    }
}

/// A language model that continues conversations, on a server or in this process.
///
/// The module `chat` of `convrec-demonstrations` makes a teacher, a judge and a describer of it.
pub trait ChatModel: Send + Sync {
    /// The name that tells this model from others in manifests: its own, and where it runs.
    fn name(&self) -> String;

    /// One answer for each request, in their order. The model answers as many at a time as it
    /// likes. A model that does not know whether an answer was cut says that it was not
    /// (`ChatAnswer::from(text)`).
    ///
    /// # Errors
    /// [`ServiceError`] for each request by itself, when it got no answer at all.
    fn answer(
        &self,
        requests: &[ChatRequest],
        done: Done<'_>,
    ) -> Vec<Result<ChatAnswer, ServiceError>>;
}

/// A black box that recommends: a large language model, recorded answers, a script.
pub trait Teacher: Send + Sync {
    /// The raw text of the answer to a conversation when asked for `n` items. The text is data and
    /// may hold anything.
    ///
    /// # Errors
    /// [`ServiceError`] when there is no answer at all.
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError>;

    /// [`recommend`](Self::recommend) for many conversations. A model on a server or a GPU answers
    /// them side by side.
    ///
    /// # Errors
    /// [`ServiceError`] for each conversation by itself.
    fn recommend_all(
        &self,
        examples: &[&Example],
        n: usize,
        done: Done<'_>,
    ) -> Vec<Result<String, ServiceError>> {
        on_all_threads(examples, done, |example| self.recommend(example, n))
    }
}

/// A conversation and the candidates that a [`Judge`] rates for it.
pub type Candidates<'a> = (&'a Example, Vec<&'a CatalogItem>);

/// A rating in -2..=2 for each candidate, in their order; `None` where a candidate was not rated.
pub type Ratings = Vec<Option<i8>>;

/// A judge of how well items fit a conversation. In the paper it is the teacher, asked again.
pub trait Judge: Send + Sync {
    /// A rating in -2..=2 for each candidate, in their order; `None` where one was not rated.
    ///
    /// # Errors
    /// [`ServiceError`] when there is no answer at all.
    fn rate(&self, example: &Example, candidates: &[&CatalogItem])
    -> Result<Ratings, ServiceError>;

    /// [`rate`](Self::rate) for many conversations. A model on a server or a GPU answers them side
    /// by side.
    ///
    /// # Errors
    /// [`ServiceError`] for each conversation by itself.
    fn rate_all(
        &self,
        requests: &[Candidates<'_>],
        done: Done<'_>,
    ) -> Vec<Result<Ratings, ServiceError>> {
        on_all_threads(requests, done, |(example, candidates)| {
            self.rate(example, candidates)
        })
    }
}

/// A model that turns texts into vectors. The dot product of two vectors is the similarity of their
/// texts.
pub trait Embedder: Send + Sync {
    /// The id that tells these embeddings from others: the model and a hash of its weights. Rows
    /// that were kept under another id are not taken for its own.
    fn id(&self) -> String;

    /// One row of unit length for each text, and a row of zeros for a text without content.
    ///
    /// # Shapes
    /// `[texts, D]`, with the same D at every call.
    ///
    /// # Errors
    /// [`ServiceError`] when the texts could not be embedded.
    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError>;

    /// [`embed`](Self::embed) in parts, of which some may fail. Each text is in one part. Whoever
    /// keeps the rows of the others need not pay for them again.
    ///
    /// All texts are one part, unless the embedder knows better.
    fn embed_parts(&self, texts: &[String]) -> Vec<EmbeddedPart> {
        vec![((0..texts.len()).collect(), self.embed(texts))]
    }
}

/// The places of some texts, and a row for each.
pub type EmbeddedPart = (Vec<usize>, Result<Array2<f32>, ServiceError>);

/// A source of texts about items: those outside the catalog that a teacher names, and those of the
/// catalog that came without metadata.
pub trait Describer: Send + Sync {
    /// A text about the item (people, keywords, plot), by which it is compared with catalog items.
    /// `None` means that nothing is known; the item is then compared by its name.
    ///
    /// # Errors
    /// [`ServiceError`] when there is no answer at all.
    fn describe(&self, item: &Item) -> Result<Option<String>, ServiceError>;

    /// [`describe`](Self::describe) for many items. A model on a server or a GPU answers them side
    /// by side.
    ///
    /// # Errors
    /// [`ServiceError`] for each item by itself.
    fn describe_all(
        &self,
        items: &[&Item],
        done: Done<'_>,
    ) -> Vec<Result<Option<String>, ServiceError>> {
        on_all_threads(items, done, |item| self.describe(item))
    }
}

/// A describer that knows nothing: items outside the catalog are compared by their names alone.
impl Describer for () {
    fn describe(&self, _: &Item) -> Result<Option<String>, ServiceError> {
        Ok(None)
    }
}

fn on_all_threads<R: Sync, T: Send>(
    requests: &[R],
    done: Done<'_>,
    answer: impl Fn(&R) -> T + Sync,
) -> Vec<T> {
    let answer = |request: &R| {
        let answer = answer(request);
        done(1);
        answer
    };
    requests.par_iter().map(answer).collect()
}

/// A service behind a pointer is a service.
macro_rules! behind_pointers {
    ($($pointer:ty),*) => {$(
        impl<S: ChatModel + ?Sized> ChatModel for $pointer {
            fn name(&self) -> String {
                (**self).name()
            }

            fn answer(
                &self,
                requests: &[ChatRequest],
                done: Done<'_>,
            ) -> Vec<Result<ChatAnswer, ServiceError>> {
                (**self).answer(requests, done)
            }
        }

        impl<S: Embedder + ?Sized> Embedder for $pointer {
            fn id(&self) -> String {
                (**self).id()
            }

            fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
                (**self).embed(texts)
            }

            fn embed_parts(&self, texts: &[String]) -> Vec<EmbeddedPart> {
                (**self).embed_parts(texts)
            }
        }
    )*};
}

behind_pointers!(&S, Box<S>, Arc<S>);
