//! Between the world of conversations and that of token ids: what a policy is asked, and what its answer means.

use convrec_catalog::{Catalog, relevance};
use convrec_core::{Demonstration, Example, Item, ItemId};
use convrec_text::{Prompter, TokenizerError, segments};

/// A catalog, a way to write prompts, and the length of the lists that are wanted.
#[derive(Debug, Clone)]
pub struct Task {
    catalog: Catalog,
    prompter: Prompter,
    n_ranks: usize,
}

/// An [`Example`] in ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// [`Example::id`].
    pub id: String,
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// Catalog items already seen. Seen items outside the catalog need no id: they cannot be recommended.
    pub seen: Vec<ItemId>,
    /// Catalog items that are right.
    pub groundtruth: Vec<ItemId>,
}

/// A [`Demonstration`] in ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// The tokens to imitate, end token included.
    pub completion: Vec<u32>,
}

/// What a completion says, from one parse: the items that earn rewards and the tokens that are held to account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The items named, by rank.
    pub names: Vec<Item>,
    /// The same as catalog items; `None` where a name is not in the catalog.
    pub items: Vec<Option<ItemId>>,
    /// Lines that are neither items nor blank.
    pub unparsed_lines: usize,
    /// The rank of every token.
    pub segments: segments::Segments,
}

/// An example does not fit the catalog, or the tokenizer failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A right answer that no list from the catalog can hold.
    #[error(
        "sample `{id}`, field `groundtruth`: \"{item}\" is not in the catalog; add it, or remove it from the sample"
    )]
    NotInCatalog {
        /// The sample.
        id: String,
        /// The item.
        item: Item,
    },
    /// The tokenizer failed on a text of the sample.
    #[error("sample `{id}`: {source}")]
    Tokenizer {
        /// The sample.
        id: String,
        /// Why.
        source: TokenizerError,
    },
}

impl Task {
    /// # Panics
    /// When `n_ranks` is 0.
    pub fn new(catalog: Catalog, prompter: Prompter, n_ranks: usize) -> Self {
        assert!(n_ranks > 0, "a list has at least one rank");
        Self { catalog, prompter, n_ranks }
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// How prompts are written.
    pub fn prompter(&self) -> &Prompter {
        &self.prompter
    }

    /// N, the number of items wanted.
    pub fn n_ranks(&self) -> usize {
        self.n_ranks
    }

    /// # Errors
    /// When a ground-truth item is not in the catalog (by its exact title and year), or the tokenizer fails.
    pub fn sample(&self, example: &Example) -> Result<Sample, TaskError> {
        let find = |item: &Item| {
            let missing = || TaskError::NotInCatalog { id: example.id.clone(), item: item.clone() };
            self.catalog.find(item).ok_or_else(missing)
        };
        Ok(Sample {
            id: example.id.clone(),
            prompt: self.prompt(example)?,
            seen: example.seen.iter().filter_map(|item| self.catalog.find(item)).collect(),
            groundtruth: example.groundtruth.iter().map(find).collect::<Result<_, _>>()?,
        })
    }

    /// # Errors
    /// When the tokenizer fails.
    pub fn pair(&self, demonstration: &Demonstration) -> Result<TokenPair, TaskError> {
        let failed = |source| TaskError::Tokenizer { id: demonstration.example.id.clone(), source };
        let completion = self.prompter.completion(&demonstration.list).map_err(failed)?;
        Ok(TokenPair { prompt: self.prompt(&demonstration.example)?, completion })
    }

    fn prompt(&self, example: &Example) -> Result<Vec<u32>, TaskError> {
        let failed = |source| TaskError::Tokenizer { id: example.id.clone(), source };
        self.prompter.prompt(&example.dialog, &example.seen).map_err(failed)
    }

    /// Reads a completion. Never fails: what a policy writes is data.
    ///
    /// A name is a catalog item when title and year are exactly the item's: what is judged is what would be shown.
    pub fn read(&self, completion: &[u32]) -> Answer {
        let (tokens, ended) = segments::until_end(completion, self.prompter.end());
        let tokenizer = self.prompter.tokenizer();
        let text = tokenizer.decode(tokens);
        let parsed = self.prompter.format().list.parse(&text);
        let bytes = tokens.iter().map(|&token| tokenizer.token_bytes(token));
        let segments = segments::Segmentation::OneParse.segment(&parsed, bytes, ended);
        let items = parsed.items().map(|item| self.catalog.find(item)).collect();
        let names = parsed.items().cloned().collect();
        Answer { text, names, items, unparsed_lines: parsed.unparsed.len(), segments }
    }

    /// rel_k for the N ranks of an answer to `sample`: [`relevance`] of the list, cut or filled up to N.
    pub fn relevance(&self, answer: &Answer, sample: &Sample) -> Vec<bool> {
        let mut list = answer.items.clone();
        list.resize(self.n_ranks, None);
        relevance(&list, &sample.groundtruth, &sample.seen)
    }
}
