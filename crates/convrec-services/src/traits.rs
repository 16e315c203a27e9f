use convrec_core::{CatalogItem, Example, Item, Turn};
use ndarray::Array2;
use rayon::prelude::*;

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
        Self {
            service: service.into(),
            problem: problem.into(),
        }
    }
}

/// Told how many more requests are answered, from any thread.
pub type Done<'a> = &'a (dyn Fn(usize) + Sync);

/// A request to a chat model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRequest {
    /// The conversation; its last turn is the user's.
    pub turns: Vec<Turn>,
    /// Tokens after which the answer is cut.
    pub max_tokens: usize,
}

/// A language model that continues conversations: on a server, or a policy of one's own.
///
/// The module `chat` of `convrec-demonstrations` makes a teacher, a judge and a describer of it.
pub trait ChatModel: Sync {
    /// What tells this model from others, for manifests: its name, and where it runs.
    fn name(&self) -> String;

    /// The text of one answer for each request, in their order; as many at a time as the model
    /// likes.
    ///
    /// # Errors
    /// For each request by itself, when it got no answer at all.
    fn answer(&self, requests: &[ChatRequest], done: Done<'_>)
    -> Vec<Result<String, ServiceError>>;
}

impl<M: ChatModel + ?Sized> ChatModel for &M {
    fn name(&self) -> String {
        (**self).name()
    }

    fn answer(
        &self,
        requests: &[ChatRequest],
        done: Done<'_>,
    ) -> Vec<Result<String, ServiceError>> {
        (**self).answer(requests, done)
    }
}

/// A black box that recommends: a large language model, recorded answers, a script.
pub trait Teacher: Sync {
    /// The raw text of its answer to the conversation when asked for `n` items. The text may hold
    /// anything: it is data.
    ///
    /// # Errors
    /// When there is no answer at all.
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError>;

    /// [`recommend`](Self::recommend) for many conversations; a model on a server or a GPU answers
    /// them side by side.
    ///
    /// # Errors
    /// For each conversation by itself.
    fn recommend_all(
        &self,
        examples: &[&Example],
        n: usize,
        done: Done<'_>,
    ) -> Vec<Result<String, ServiceError>> {
        on_all_threads(examples, done, |example| self.recommend(example, n))
    }
}

/// Conversation and candidates, as a [`Judge`] is asked.
pub type Candidates<'a> = (&'a Example, Vec<&'a CatalogItem>);

/// What a [`Judge`] says: a rating in -2..=2 for each candidate, in their order; `None` where it
/// was not rated.
pub type Ratings = Vec<Option<i8>>;

/// One who rates how well items fit a conversation; in the paper the teacher itself, asked again.
pub trait Judge: Sync {
    /// A rating in -2..=2 for each candidate, in their order; `None` where it was not rated.
    ///
    /// # Errors
    /// When there is no answer at all.
    fn rate(&self, example: &Example, candidates: &[&CatalogItem])
    -> Result<Ratings, ServiceError>;

    /// [`rate`](Self::rate) for many conversations; a model on a server or a GPU answers them side
    /// by side.
    ///
    /// # Errors
    /// For each conversation by itself.
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

/// Turns texts into vectors whose dot product tells how alike they are.
pub trait Embedder: Sync {
    /// What tells these embeddings from others: the model and a hash of its weights. Rows that were
    /// kept under another id are not taken for its own.
    fn id(&self) -> String;

    /// One row of unit length for each text (a row of zeros for a text without content).
    ///
    /// # Shapes
    /// `[texts, D]`, the same D at every call.
    ///
    /// # Errors
    /// When the texts could not be embedded.
    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError>;

    /// As [`embed`](Self::embed), in parts of which some may fail: who keeps the others need not
    /// pay for them again. Each text is in one part. In one go, unless the embedder knows
    /// better.
    fn embed_parts(&self, texts: &[String]) -> Vec<EmbeddedPart> {
        vec![((0..texts.len()).collect(), self.embed(texts))]
    }
}

/// The places of some texts, and a row for each.
pub type EmbeddedPart = (Vec<usize>, Result<Array2<f32>, ServiceError>);

/// One who knows something about items: those outside the catalog that a teacher names, and those
/// of the catalog that came without metadata.
pub trait Describer: Sync {
    /// A text about the item (people, keywords, plot), by which it is compared with catalog items;
    /// `None` where nothing is known, and its name alone must do.
    ///
    /// # Errors
    /// When there is no answer at all.
    fn describe(&self, item: &Item) -> Result<Option<String>, ServiceError>;

    /// [`describe`](Self::describe) for many items; a model on a server or a GPU answers them side
    /// by side.
    ///
    /// # Errors
    /// For each item by itself.
    fn describe_all(
        &self,
        items: &[&Item],
        done: Done<'_>,
    ) -> Vec<Result<Option<String>, ServiceError>> {
        on_all_threads(items, done, |item| self.describe(item))
    }
}

/// Knows nothing: off-catalog items are compared by their name alone.
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
