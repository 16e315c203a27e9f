//! Between the world of conversations and that of token ids: what a policy is asked, and what its
//! answer means.

use std::path::Path;
use std::sync::Arc;

use convrec_catalog::{Catalog, ExampleError, ExampleIds, relevance};
use convrec_core::{Candidates, CatalogItem, Demonstration, Example, Item, ItemId, Role};
use convrec_policy::{Allowed, Constraint};
use convrec_retrieve::Retriever;
use convrec_text::segments::{self, Segmentation};
use convrec_text::{
    ChatError, ListCursor, ListTrie, Prompter, TokenizerError, TrieError, whole_lines,
};

/// A catalog, a way to write prompts, and the length of the lists that are wanted; constrained or
/// not.
///
/// Under a constraint ([`Task::constrained`]) every list, in rollouts and in evaluations, is one of
/// exactly N different catalog items that were not seen, and log-probabilities are renormalised
/// over what could be written instead.
#[derive(Debug, Clone)]
pub struct Task {
    catalog: Catalog,
    prompter: Prompter,
    n_ranks: usize,
    segmentation: Segmentation,
    trie: Option<Constraining>,
    retriever: Option<Arc<Retriever>>,
    /// The largest number of tokens in a prompt.
    longest_prompt: usize,
}

#[derive(Debug, Clone)]
struct Constraining {
    trie: ListTrie,
    /// [`ListTrie::longest_list`].
    longest: usize,
}

/// An [`Example`] in ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// [`Example::id`].
    pub id: String,
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// Catalog items already seen. Seen items outside the catalog need no id: they cannot be
    /// recommended.
    pub seen: Vec<ItemId>,
    /// Catalog items that are right, each once, without those seen: no list can be right about
    /// these.
    pub ground_truth: Vec<ItemId>,
    /// The only items that a constrained list may hold, where not all of the catalog:
    /// [`Task::among`].
    pub candidates: Option<Arc<Candidates>>,
}

/// A [`Demonstration`] in ids.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenPair {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// The tokens to imitate, end token included.
    pub completion: Vec<u32>,
    /// Catalog items already seen, as of a [`Sample`].
    pub seen: Vec<ItemId>,
    /// The only items that a constrained list may hold, as of a [`Sample`].
    pub candidates: Option<Arc<Candidates>>,
    /// Which tokens of the completion name an item of the example's ground truth.
    pub accepted: Vec<bool>,
}

/// What a completion says, from one parse: the items that earn rewards and the tokens that are held
/// to account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// The items named, by rank.
    pub names: Vec<Item>,
    /// The same as catalog items; `None` where a name is not in the catalog.
    pub items: Vec<Option<ItemId>>,
    /// Lines that are neither items nor blank. The last line of an answer that was cut is one of
    /// them where it is not whole ([`whole_lines`]).
    pub unparsed_lines: usize,
    /// The rank of every token.
    pub segments: segments::TokenRanks,
}

/// An example does not fit the catalog, or its prompt cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// An item that no list from the catalog can hold.
    #[error(
        "sample `{id}`, field `{field}`: \"{item}\" is not in the catalog; add it, or remove it from the sample"
    )]
    NotInCatalog {
        /// The sample.
        id: String,
        /// `list` of a demonstration.
        field: &'static str,
        /// The item.
        item: Item,
    },
    /// A relevant item is not in the catalog, or means several items.
    #[error(transparent)]
    Example(#[from] ExampleError),
    /// Too few items are left for a constrained list.
    #[error("sample `{id}`, field `seen`: {source}")]
    NoList {
        /// The sample.
        id: String,
        /// Why.
        source: TrieError,
    },
    /// The prompt does not fit the model, even with the last turn alone.
    #[error(
        "sample `{id}`: its last turn makes a prompt of {found} tokens, expected at most {most} beside a list; shorten it, or \
         take a model with more positions (`max_position_embeddings`)"
    )]
    TooLong {
        /// The sample.
        id: String,
        /// Tokens of the shortest prompt.
        found: usize,
        /// Tokens that fit.
        most: usize,
    },
    /// The tokenizer failed on a text of the sample, or the chat template refused it.
    #[error("sample `{id}`: {source}")]
    Prompt {
        /// The sample.
        id: String,
        /// Why.
        source: ChatError,
    },
}

impl Task {
    /// # Panics
    /// When `n_ranks` is 0.
    pub fn new(catalog: Catalog, prompter: Prompter, n_ranks: usize) -> Self {
        assert!(n_ranks > 0, "a list has at least one rank");
        Self {
            catalog,
            prompter,
            n_ranks,
            segmentation: Segmentation::OneParse,
            trie: None,
            retriever: None,
            longest_prompt: usize::MAX,
        }
    }

    /// This task with prompts of at most so many tokens, so that a prompt and its list fit the
    /// positions of a model. The oldest turns of a longer conversation are left out, up to the next
    /// one of the user; where the last turn alone does not fit, the sample is refused.
    pub fn with_longest_prompt(self, tokens: usize) -> Self {
        Self {
            longest_prompt: tokens,
            ..self
        }
    }

    /// This task with constrained lists of what a retriever finds, [`Retriever::prior`]: nothing else
    /// can be written, and the scores are added to the policy's logits. A policy that adds nothing
    /// lists what the retriever ranks first.
    #[must_use]
    pub fn with_retriever(self, retriever: Arc<Retriever>) -> Self {
        Self {
            retriever: Some(retriever),
            ..self
        }
    }

    /// Whether a retriever finds what lists may hold.
    pub fn has_retriever(&self) -> bool {
        self.retriever.is_some()
    }

    /// This task with unconstrained lists read so. [`Segmentation::Reference`] pairs rewards and tokens as
    /// the public Python code does, which is for comparisons; constrained lists are never read
    /// as text, and the same either way.
    pub fn with_segmentation(self, segmentation: Segmentation) -> Self {
        Self {
            segmentation,
            ..self
        }
    }

    /// How the tokens of unconstrained lists are given to ranks.
    pub fn segmentation(&self) -> Segmentation {
        self.segmentation
    }

    /// This task with lists that cannot leave the catalog.
    ///
    /// # Errors
    /// When two items are written alike, or there are fewer than N.
    pub fn constrained(self) -> Result<Self, TrieError> {
        let trie = self.trie_of(&self.items())?;
        Ok(self.within(trie))
    }

    /// [`constrained`](Self::constrained) with the trie kept in the file at `path`, for catalogs so
    /// large that making it takes long: it is opened if it is this task's, else made and put
    /// there.
    ///
    /// # Errors
    /// As [`constrained`](Self::constrained), and when the file cannot be written.
    pub fn constrained_by_file(self, path: impl AsRef<Path>) -> Result<Self, TrieError> {
        let (path, items, prompter) = (path.as_ref(), self.items(), &self.prompter);
        let (tokenizer, list, end) = (prompter.tokenizer(), prompter.list(), prompter.end());
        let trie = match ListTrie::open(path, tokenizer, list, end, &items, self.n_ranks) {
            Err(TrieError::File(_) | TrieError::Damaged { .. } | TrieError::Differs { .. }) => {
                let trie = self.trie_of(&items)?;
                trie.save(path)?;
                trie
            }
            opened => opened?,
        };
        Ok(self.within(trie))
    }

    fn items(&self) -> Vec<Item> {
        let aliases = self.catalog.aliases();
        let line = |(id, item): (ItemId, &CatalogItem)| {
            let mut item = item.item();
            // No list may hold an alias. Its line only must not be that of its twin.
            if aliases.binary_search(&id).is_ok() {
                item.title = format!("{} [{}]", item.title, id.0);
            }
            item
        };
        self.catalog.iter().map(line).collect()
    }

    fn trie_of(&self, items: &[Item]) -> Result<ListTrie, TrieError> {
        let prompter = &self.prompter;
        let (tokenizer, list, end) = (prompter.tokenizer(), prompter.list(), prompter.end());
        ListTrie::new(tokenizer, list, end, items, self.n_ranks)
    }

    fn within(self, trie: ListTrie) -> Self {
        Self {
            trie: Some(Constraining {
                longest: trie.longest_list(),
                trie,
            }),
            ..self
        }
    }

    /// Whether lists are constrained.
    pub fn is_constrained(&self) -> bool {
        self.trie.is_some()
    }

    /// The tokens of the longest list that can be written, where lists are constrained: cut
    /// shorter, one might lack items.
    pub fn longest_list(&self) -> Option<usize> {
        self.trie.as_ref().map(|constraining| constraining.longest)
    }

    /// A list whose first `n` items are written without those of `excluded`, where lists are
    /// constrained; of candidates alone, where they are given: then it may be shorter. Twins of
    /// other items are never in it.
    ///
    /// # Errors
    /// [`TrieError::TooFew`] when fewer than `n` items are left, [`TrieError::NoCandidates`] when no
    /// candidate is.
    pub fn list_cursor(
        &self,
        n: usize,
        excluded: &[ItemId],
        candidates: Option<&Candidates>,
    ) -> Result<Option<ListCursor>, TrieError> {
        let Some(Constraining { trie, .. }) = &self.trie else {
            return Ok(None);
        };
        let excluded = without_aliases(&self.catalog, excluded.to_vec());
        let cursor = match candidates {
            Some(candidates) => trie.cursor_among(&excluded, candidates),
            None => trie.cursor_for(n, &excluded),
        };
        cursor.map(Some)
    }

    /// The constraint on lists for `sample`, where lists are constrained.
    pub fn constraint(&self, sample: &Sample) -> Option<Box<dyn Constraint + '_>> {
        let cursor = self.cursor(sample.open())?.expect(ENOUGH);
        Some(Box::new(InCatalog(cursor)))
    }

    /// `sample` with constrained lists of these items alone: N of them, or all that are unseen where
    /// these are fewer. Scores of candidates are added to the policy's logits.
    ///
    /// # Errors
    /// [`TaskError::NoList`] when lists are constrained and no candidate is unseen.
    pub fn among(&self, sample: Sample, candidates: Candidates) -> Result<Sample, TaskError> {
        let sample = Sample {
            candidates: Some(candidates.into()),
            ..sample
        };
        self.check_open(&sample.id, sample.open())?;
        Ok(sample)
    }

    /// Candidates that another search found for `example`, with what the retriever says of each. They
    /// stay as they are where there is no retriever or they have scores.
    #[must_use]
    pub fn prior_among(&self, example: &Example, candidates: Candidates) -> Candidates {
        match &self.retriever {
            Some(retriever) if candidates.scores().is_none() => {
                retriever.prior_among(example, candidates.items())
            }
            _ => candidates,
        }
    }

    /// The beginning of a list, where lists are constrained.
    fn cursor(&self, open: Open<'_>) -> Option<Result<ListCursor, TrieError>> {
        let Constraining { trie, .. } = self.trie.as_ref()?;
        Some(match open.candidates {
            Some(candidates) => trie.cursor_among(open.seen, candidates),
            None => trie.cursor(open.seen),
        })
    }

    fn check_open(&self, id: &str, open: Open<'_>) -> Result<(), TaskError> {
        let failed = |source| TaskError::NoList {
            id: id.into(),
            source,
        };
        let begun = self.cursor(open).transpose().map_err(failed)?;
        drop(begun);
        Ok(())
    }

    /// Whether the constraint, if any, lets a completion be written that ends where the list does.
    pub(crate) fn admits(&self, open: Open<'_>, completion: &[u32]) -> bool {
        let mut cursor = match self.cursor(open) {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(cursor)) => cursor,
        };
        let admitted = completion.iter().all(|token| {
            let allowed = cursor.allowed().binary_search(token).is_ok();
            if allowed {
                cursor.push(*token);
            }
            allowed
        });
        admitted && cursor.allowed().is_empty()
    }

    /// The tokens that the constraint allowed at each place of a completion of `sample`, recomputed
    /// from it alone. `None` where lists are unconstrained.
    ///
    /// # Panics
    /// When the task is constrained and the completion was not sampled under its constraint.
    pub fn allowed(&self, sample: &Sample, completion: &[u32]) -> Option<Allowed> {
        self.allowed_along(sample.open(), completion)
    }

    pub(crate) fn allowed_along(&self, open: Open<'_>, completion: &[u32]) -> Option<Allowed> {
        let cursor = self.cursor(open)?.expect(ENOUGH);
        Some(Allowed::along(&mut InCatalog(cursor), completion))
    }

    /// Reads a completion for `sample`. A constrained one is walked again, which gives its items
    /// and ranks as they were chosen; others are [`read`](Self::read) as text.
    ///
    /// # Panics
    /// When the task is constrained and the completion is not.
    pub fn answer(&self, sample: &Sample, completion: &[u32]) -> Answer {
        let Some(cursor) = self.cursor(sample.open()) else {
            return self.read(completion);
        };
        let mut cursor = cursor.expect(ENOUGH);
        let mut ranks = Vec::with_capacity(completion.len());
        for token in completion {
            let rank = cursor.items().len();
            ranks.push(if rank == cursor.n_ranks() {
                segments::END
            } else {
                rank as i32
            });
            cursor.push(*token);
        }
        let (text, ended) = segments::until_end(completion, self.prompter.end());
        let items = cursor.items();
        Answer {
            text: self
                .prompter
                .tokenizer()
                .decode(&text[..text.len() - usize::from(ended)]),
            names: items.iter().map(|id| self.catalog[*id].item()).collect(),
            items: items.iter().copied().map(Some).collect(),
            unparsed_lines: 0,
            segments: segments::TokenRanks {
                ranks,
                items: items.len(),
                ended,
            },
        }
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
    /// When a ground-truth item means no item of the catalog ([`Catalog::meant`]), the prompt
    /// cannot be written, or, under a constraint, fewer than N items are unseen.
    pub fn sample(&self, example: &Example) -> Result<Sample, TaskError> {
        Ok(self.sample_and_cut(example)?.0)
    }

    /// The same where [`list_cursor`](Self::list_cursor) says whether a list can be written, which
    /// may be shorter than N.
    ///
    /// # Errors
    /// When a ground-truth item means no item of the catalog, or the prompt cannot be written.
    pub fn sample_unchecked(&self, example: &Example) -> Result<Sample, TaskError> {
        Ok(self.unchecked(example)?.0)
    }

    /// The sample, and whether its conversation was shortened.
    pub(crate) fn sample_and_cut(&self, example: &Example) -> Result<(Sample, bool), TaskError> {
        let (sample, is_cut) = self.unchecked(example)?;
        self.check_open(&example.id, sample.open())?;
        Ok((sample, is_cut))
    }

    fn unchecked(&self, example: &Example) -> Result<(Sample, bool), TaskError> {
        let ExampleIds { seen, ground_truth } = self.catalog.example_ids(example)?;
        let seen = without_aliases(&self.catalog, seen);
        let candidates = self.found(example).map(Arc::from);
        let (prompt, is_cut) = self.prompt(example)?;
        let sample = Sample {
            id: example.id.clone(),
            prompt,
            seen,
            ground_truth,
            candidates,
        };
        Ok((sample, is_cut))
    }

    /// # Errors
    /// When an item of the list is not in the catalog (by its exact title and year), or the prompt
    /// cannot be written.
    pub fn pair(&self, demonstration: &Demonstration) -> Result<TokenPair, TaskError> {
        let found = self.found(&demonstration.example);
        Ok(self.pair_and_cut(demonstration, found)?.0)
    }

    /// The pair, and whether its conversation was shortened. `found` is what the retriever
    /// [finds](Self::found) for the example.
    pub(crate) fn pair_and_cut(
        &self,
        demonstration: &Demonstration,
        found: Option<Candidates>,
    ) -> Result<(TokenPair, bool), TaskError> {
        let id = &demonstration.example.id;
        let listed = demonstration.list.iter().map(|item| {
            let found = self.catalog.find(item);
            found.ok_or_else(|| not_in_catalog(id, "list", item))
        });
        let listed = listed.collect::<Result<Vec<ItemId>, TaskError>>()?;
        // As the catalog writes them: only so can a constrained list be written.
        let list: Vec<Item> = listed.iter().map(|id| self.catalog[*id].item()).collect();
        let failed = |source| TaskError::Prompt {
            id: demonstration.example.id.clone(),
            source,
        };
        let completion = self
            .prompter
            .completion(&list)
            .map_err(|e| failed(e.into()))?;
        let seen = self.seen(&demonstration.example);
        let (prompt, is_cut) = self.prompt(&demonstration.example)?;
        let pair = TokenPair {
            prompt,
            completion,
            seen,
            candidates: found.map(|found| with_listed(found, &listed).into()),
            accepted: self
                .accepted(&demonstration.example, &listed)
                .map_err(|e| failed(e.into()))?,
        };
        Ok((pair, is_cut))
    }

    /// Which tokens of a list's completion name an item of the ground truth.
    fn accepted(&self, example: &Example, listed: &[ItemId]) -> Result<Vec<bool>, TokenizerError> {
        let right = example.ground_truth.iter();
        let right: Vec<ItemId> = right.filter_map(|x| self.catalog.meant(x).ok()).collect();
        let (tokenizer, format) = (self.prompter.tokenizer(), self.prompter.list());
        let mut accepted = vec![];
        for (rank, id) in listed.iter().enumerate() {
            let line = format.line(rank, &self.catalog[*id].item());
            let tokens = tokenizer.encode_exactly(&line)?.len();
            accepted.extend(std::iter::repeat_n(right.contains(id), tokens));
        }
        accepted.push(false); // the end
        Ok(accepted)
    }

    /// What the retriever finds, where there is one.
    pub(crate) fn found(&self, example: &Example) -> Option<Candidates> {
        Some(self.retriever.as_ref()?.prior(example))
    }

    fn seen(&self, example: &Example) -> Vec<ItemId> {
        without_aliases(&self.catalog, self.catalog.seen_ids(&example.seen))
    }

    /// The prompt, and whether the oldest turns of the conversation were left out of it.
    fn prompt(&self, example: &Example) -> Result<(Vec<u32>, bool), TaskError> {
        let written = |first: usize| {
            let written = self
                .prompter
                .prompt(&example.dialog[first..], &example.seen);
            written.map_err(|source| TaskError::Prompt {
                id: example.id.clone(),
                source,
            })
        };
        let whole = written(0)?;
        if whole.len() <= self.longest_prompt {
            return Ok((whole, false));
        }
        // A conversation begins with its user: templates want the roles by turns.
        let later = example.dialog.iter().enumerate().skip(1);
        let starts: Vec<usize> = later
            .filter(|(_, turn)| turn.role == Role::User)
            .map(|(place, _)| place)
            .collect();
        let (mut low, mut high) = (0, starts.len());
        let mut best = None;
        while low < high {
            let middle = (low + high) / 2;
            let prompt = written(starts[middle])?;
            if prompt.len() <= self.longest_prompt {
                best = Some(prompt);
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        match (best, starts.last()) {
            (Some(prompt), _) => Ok((prompt, true)),
            (None, last) => Err(TaskError::TooLong {
                id: example.id.clone(),
                found: last.map_or(Ok(whole.len()), |last| written(*last).map(|p| p.len()))?,
                most: self.longest_prompt,
            }),
        }
    }

    /// Reads a completion. Never fails: what a policy writes is data.
    ///
    /// A name is a catalog item when title and year are exactly the item's: what is judged is what
    /// would be shown.
    pub fn read(&self, completion: &[u32]) -> Answer {
        let (tokens, ended) = segments::until_end(completion, self.prompter.end());
        let tokenizer = self.prompter.tokenizer();
        // A token that ends turns may be no special token, and would be text.
        let text = tokenizer.decode(&tokens[..tokens.len() - usize::from(ended)]);
        let in_catalog = |item: &Item| self.catalog.find(item).is_some();
        // A half line names nothing, whatever it reads as.
        let whole = match ended {
            true => text.as_str(),
            false => whole_lines(&text),
        };
        let half_lines = usize::from(whole.len() < text.len());
        let parsed = self.prompter.list().parse_known(whole, in_catalog);
        let bytes = tokens.iter().map(|&token| tokenizer.token_bytes(token));
        let segments = self.segmentation.segment(&parsed, bytes, ended);
        let items = parsed.items().map(|item| self.catalog.find(item)).collect();
        let names = parsed.items().cloned().collect();
        Answer {
            names,
            items,
            unparsed_lines: parsed.unparsed.len() + half_lines,
            segments,
            text,
        }
    }

    /// Returns rel_k for the N ranks of an answer to `sample`: [`relevance`] of the list, cut or
    /// filled up to N.
    #[must_use]
    pub fn relevance(&self, answer: &Answer, sample: &Sample) -> Vec<bool> {
        relevance(&self.by_rank(answer), &sample.ground_truth, &sample.seen)
    }

    /// The items of an answer, cut or filled up to N.
    pub(crate) fn by_rank(&self, answer: &Answer) -> Vec<Option<ItemId>> {
        let mut items = answer.items.clone();
        items.resize(self.n_ranks, None);
        items
    }
}

/// Which items a list may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open<'a> {
    seen: &'a [ItemId],
    candidates: Option<&'a Candidates>,
}

impl Sample {
    pub(crate) fn open(&self) -> Open<'_> {
        Open {
            seen: &self.seen,
            candidates: self.candidates.as_deref(),
        }
    }
}

impl TokenPair {
    pub(crate) fn open(&self) -> Open<'_> {
        Open {
            seen: &self.seen,
            candidates: self.candidates.as_deref(),
        }
    }
}

/// `seen` with the items that a twin stands for: no list may hold these.
/// What a retriever found, and all items of `listed`: those that it did not find are worth as much
/// as the last that it did.
fn with_listed(found: Candidates, listed: &[ItemId]) -> Candidates {
    if listed.iter().all(|id| found.items().contains(id)) {
        return found;
    }
    let scores = found.scores().unwrap_or_default();
    let last = scores.last().copied().unwrap_or(0.0);
    let all = found.items().iter().copied().zip(scores.iter().copied());
    Candidates::scored(all.chain(listed.iter().map(|id| (*id, last))))
}

fn without_aliases(catalog: &Catalog, mut seen: Vec<ItemId>) -> Vec<ItemId> {
    seen.extend_from_slice(catalog.aliases());
    seen
}

fn not_in_catalog(id: &str, field: &'static str, item: &Item) -> TaskError {
    TaskError::NotInCatalog {
        id: id.into(),
        field,
        item: item.clone(),
    }
}

const ENOUGH: &str = "the samples of a constrained task are made by that task, which refuses those with too few items left";

/// A cursor in a catalog's trie as the constraint of a policy.
pub struct InCatalog(pub ListCursor);

impl Constraint for InCatalog {
    fn allowed(&self) -> &[u32] {
        self.0.allowed()
    }

    fn prior(&self) -> Option<&[f32]> {
        self.0.prior()
    }

    fn push(&mut self, token: u32) {
        self.0.push(token);
    }
}
