//! Which lists can be written.

use std::path::Path;

use convrec_catalog::Catalog;
use convrec_core::{Candidates, CatalogItem, Item, ItemId};
use convrec_policy::{Allowed, Constraint};
use convrec_text::{ListCursor, ListTrie, TrieError};

use super::{Sample, Task, TaskError, TokenPair};

#[derive(Debug, Clone)]
pub(super) struct Constraining {
    trie: ListTrie,
    /// [`ListTrie::longest_list`].
    longest: usize,
}

pub(super) const ENOUGH: &str = "the samples of a constrained task are made by that task, which \
                                 refuses those with too few items left";

impl Task {
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
        let opened = match prompter.has_semantic_ids() {
            true => ListTrie::open_token_ids(path, &self.codes(&items)?, &[], end, self.n_ranks),
            false => ListTrie::open(path, tokenizer, list, end, &items, self.n_ranks),
        };
        let trie = match opened {
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
        match prompter.has_semantic_ids() {
            true => ListTrie::from_token_ids(&self.codes(items)?, &[], end, self.n_ranks),
            false => ListTrie::new(tokenizer, list, end, items, self.n_ranks),
        }
    }

    /// The tokens of the semantic id of each item. An alias has its text, which no list may hold.
    fn codes(&self, items: &[Item]) -> Result<Vec<Vec<u32>>, TrieError> {
        let (prompter, aliases) = (&self.prompter, self.catalog.aliases());
        let lacks = |(id, item): &(ItemId, &Item)| {
            aliases.binary_search(id).is_err() && !prompter.has_semantic_id(item)
        };
        let without: Vec<_> = (0..).map(ItemId).zip(items).filter(lacks).collect();
        if let Some((_, item)) = without.first() {
            return Err(TrieError::NoSemanticId {
                missing: without.len(),
                all: items.len(),
                item: (*item).clone(),
            });
        }
        let line = |item| Ok(prompter.line(0, item)?);
        items.iter().map(line).collect()
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
    /// [`TrieError::TooFew`] when fewer than `n` items are left, [`TrieError::NoCandidates`] when
    /// no candidate is.
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

    /// `sample` with constrained lists of these items alone: N of them, or all that are unseen
    /// where these are fewer. Scores of candidates are added to the policy's logits.
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

    /// The beginning of a list, where lists are constrained.
    pub(super) fn cursor(&self, open: Open<'_>) -> Option<Result<ListCursor, TrieError>> {
        let Constraining { trie, .. } = self.trie.as_ref()?;
        Some(match open.candidates {
            Some(candidates) => trie.cursor_among(open.seen, candidates),
            None => trie.cursor(open.seen),
        })
    }

    pub(super) fn check_open(&self, id: &str, open: Open<'_>) -> Result<(), TaskError> {
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
pub(super) fn without_aliases(catalog: &Catalog, mut seen: Vec<ItemId>) -> Vec<ItemId> {
    seen.extend_from_slice(catalog.aliases());
    seen
}

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
