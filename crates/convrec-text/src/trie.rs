//! Constrained decoding: the tokens that keep a list in the catalog.

mod among;
mod arrays;
mod cursor;
mod encode;
mod error;
mod file;
mod ids;
mod lines;
mod source;
mod twins;

use std::sync::Arc;

use convrec_core::{Candidates, Item, ItemId};

use self::among::Among;
use self::arrays::Arrays;
pub use self::cursor::{ListCursor, NotAllowed};
use self::encode::encode_lines;
pub use self::error::TrieError;
use self::lines::{Lines, line_arrays};
use self::source::Source;
use self::twins::Twins;
use crate::list::{ListFormat, Style};
use crate::tokenizer::TextTokenizer;

/// A token trie over the item lines of a catalog. It admits the lists of N different catalog items,
/// none of them excluded, and then the end token.
///
/// Each node is a beginning of lines; its edges are the tokens that go on to some item. A
/// [`ListCursor`] walks the trie, one cursor for each list. It knows how many items below each node
/// are used up, so it never enters a beginning without any item left. Lists outside the catalog,
/// repeated items, seen items, malformed lines and short lists are then impossible, at every
/// temperature.
///
/// A trie is made from a catalog and a tokenizer ([`new`](Self::new)), or from the token ids of the
/// items alone ([`from_token_ids`](Self::from_token_ids)), whoever made them.
///
/// ```
/// use convrec_core::{Item, ItemId};
/// use convrec_text::{ListFormat, ListTrie, TextTokenizer, TrainConfig};
///
/// let items = [Item::new("Heat", 1995), Item::new("Heat 2", 2026), Item::new("Alien", 1979)];
/// let corpus: Vec<String> = items.iter().map(|item| format!("{item}\n")).collect();
/// let config = TrainConfig { vocab_size: 300, ..TrainConfig::default() };
/// let tokenizer = TextTokenizer::train(corpus.iter(), &config)?;
/// let end = tokenizer.special_id("<eos>")?;
/// let trie = ListTrie::new(&tokenizer, ListFormat::default(), end, &items, 2)?;
///
/// // Two items, not Alien: of the two Heats, whichever comes first, only the other one can follow.
/// let mut cursor = trie.cursor(&[ItemId(2)])?;
/// let mut written = vec![];
/// while !cursor.allowed().is_empty() {
///     let token = cursor.allowed()[0];
///     cursor.push(token);
///     written.push(token);
/// }
/// let text = tokenizer.decode(&written);
/// assert!(text == "Heat (1995)\nHeat 2 (2026)\n" || text == "Heat 2 (2026)\nHeat (1995)\n");
/// assert_eq!(cursor.items().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The trie is stored as flat arrays (compressed sparse rows), shared by all cursors and clones. A
/// list format that numbers its lines has one trie for each rank.
///
/// A trie can be kept in a file, which is mapped into memory rather than read. A file made from
/// something else is refused. This loads what fits, and makes it anew otherwise:
///
/// ```
/// # use convrec_core::Item;
/// # use convrec_text::{ListFormat, ListTrie, TextTokenizer, TrainConfig, TrieError};
/// fn trie(
///     path: &str,
///     tokenizer: &TextTokenizer,
///     end: u32,
///     items: &[Item],
/// ) -> Result<ListTrie, TrieError> {
///     let format = ListFormat::default();
///     ListTrie::open(path, tokenizer, format, end, items, 20).or_else(|problem| {
///         eprintln!("making the trie: {problem}");
///         let trie = ListTrie::new(tokenizer, format, end, items, 20)?;
///         trie.save(path)?;
///         Ok(trie)
///     })
/// }
/// ```
///
/// De Cao, Izacard, Riedel, Petroni, "Autoregressive entity retrieval", ICLR 2021 (arXiv
/// 2010.00904).
#[derive(Debug, Clone)]
pub struct ListTrie {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The arrays of one rank, or of each.
    arrays: Arc<Arrays>,
    source: Source,
    twins: Twins,
}

impl ListTrie {
    /// The trie of lists of `n_ranks` of `items`, whose ids are their places, written in `format`
    /// and ended by the token `end`. Large catalogs are tokenized on all processors.
    ///
    /// # Errors
    /// [`TrieError::NoRanks`] when `n_ranks` is 0, [`TrieError::TooFew`] when there are fewer
    /// items, [`TrieError::Ambiguous`] when two lines cannot be told apart, [`TrieError::NoTokens`]
    /// when a line has no tokens, [`TrieError::EndInside`] when it holds the end token,
    /// [`TrieError::TooLarge`] beyond four billion tokens, and [`TrieError::Tokenizer`] when the
    /// tokenizer fails on a line or changes it.
    pub fn new(
        tokenizer: &TextTokenizer,
        format: ListFormat,
        end: u32,
        items: &[Item],
        n_ranks: usize,
    ) -> Result<Self, TrieError> {
        check_count(items.len(), n_ranks)?;
        let named = |place: usize| format!("\"{}\" (item {})", items[place], place + 1);
        let (mut words, mut nodes) = (vec![], vec![]);
        for rank in 0..ranks_apart(format, n_ranks) {
            let lines = encode_lines(tokenizer, format, rank, items)?;
            let rank_nodes = line_arrays(&lines, end, &mut words).map_err(|problem| {
                problem.named(named, |a, b| {
                    why_alike(&items[a], &items[b], &lines[a], &lines[b])
                })
            })?;
            nodes.push(rank_nodes);
        }
        let source = Source::new(tokenizer, format, end, items, n_ranks)?;
        Ok(Self::of(Arrays::new(words, &nodes, items.len()), source))
    }

    fn of(arrays: Arrays, source: Source) -> Self {
        Self {
            shared: Arc::new(Shared {
                arrays: arrays.into(),
                source,
                twins: Twins::default(),
            }),
        }
    }

    /// This trie with groups of items that are one: the same film twice in a catalog, for instance.
    /// Where one of a group is written or excluded, the others are used up with it.
    ///
    /// Twins are no part of a trie's [file](Self::save).
    ///
    /// # Errors
    /// [`TrieError::Twins`] when an item is in two groups or not in the trie, and
    /// [`TrieError::TooFew`] when fewer than N different items are left.
    pub fn with_twins(self, groups: &[Vec<ItemId>]) -> Result<Self, TrieError> {
        let n_items = self.arrays().n_items();
        let twins = Twins::new(groups, n_items)?;
        check_count(twins.distinct(n_items), self.n_ranks())?;
        Ok(Self {
            shared: Arc::new(Shared {
                arrays: self.shared.arrays.clone(),
                source: self.shared.source.clone(),
                twins,
            }),
        })
    }

    /// Begins a list without the items of `excluded`. Ids that are not in the catalog exclude
    /// nothing.
    ///
    /// # Errors
    /// [`TrieError::TooFew`] when fewer than N items are left.
    pub fn cursor(&self, excluded: &[ItemId]) -> Result<ListCursor, TrieError> {
        self.cursor_for(self.n_ranks(), excluded)
    }

    /// As [`cursor`](Self::cursor), for who writes the first `n` items alone: no more need be left.
    ///
    /// # Errors
    /// [`TrieError::TooFew`] when fewer than `n` items are left.
    pub fn cursor_for(&self, n: usize, excluded: &[ItemId]) -> Result<ListCursor, TrieError> {
        let (n_items, twins) = (self.arrays().n_items(), self.twins());
        let used = self.used(excluded);
        let all = twins.distinct(n_items);
        let left = all - twins.distinct_among(&used);
        if left < n {
            return Err(TrieError::TooFew {
                wanted: n,
                left,
                all,
            });
        }
        Ok(ListCursor::new(self.clone(), used, None))
    }

    /// Begins a list of candidates alone, without the items of `excluded`. It holds N items, or all
    /// candidates that are left where these are fewer. Ids that are not in the catalog are passed
    /// over.
    ///
    /// The scores of candidates become [`ListCursor::prior`].
    ///
    /// ```
    /// use convrec_core::{Candidates, ItemId};
    /// use convrec_text::ListTrie;
    ///
    /// let trie = ListTrie::from_token_ids(&[[1, 2], [1, 3], [4, 5]], &[], 9, 3)?;
    /// let candidates = Candidates::new([ItemId(1), ItemId(2)]);
    /// let mut cursor = trie.cursor_among(&[], &candidates)?;
    /// assert_eq!(cursor.allowed(), [1, 4]);
    /// for token in [1, 3, 4, 5, 9] {
    ///     cursor.push(token); // two items, and the end
    /// }
    /// assert!(cursor.is_done());
    /// # Ok::<(), convrec_text::TrieError>(())
    /// ```
    ///
    /// # Errors
    /// [`TrieError::NoCandidates`] when no candidate is left.
    pub fn cursor_among(
        &self,
        excluded: &[ItemId],
        candidates: &Candidates,
    ) -> Result<ListCursor, TrieError> {
        let used = self.used(excluded);
        let among = Among::new(self, &used, candidates);
        match among.distinct {
            0 => Err(TrieError::NoCandidates {
                given: candidates.len(),
            }),
            _ => Ok(ListCursor::new(self.clone(), used, Some(among))),
        }
    }

    /// Excluded items that are in the trie, each once, with their twins.
    fn used(&self, excluded: &[ItemId]) -> Vec<ItemId> {
        let n_items = self.arrays().n_items();
        let mut used = vec![];
        for id in excluded.iter().filter(|id| id.index() < n_items) {
            self.twins().add(*id, &mut used);
        }
        used.sort_unstable();
        used.dedup();
        used
    }

    /// No list has more tokens, the end token included.
    pub fn longest_list(&self) -> usize {
        let ranks = self.arrays().ranks();
        let longest = |rank, count| self.arrays().lines(rank).longest(count).sum::<usize>();
        let lines: usize = if ranks == 1 {
            longest(0, self.n_ranks())
        } else {
            (0..ranks).map(|k| longest(k, 1)).sum()
        };
        lines + 1
    }

    /// The tokens that a list can begin with, when nothing is excluded.
    pub fn first_tokens(&self) -> &[u32] {
        let lines = self.arrays().lines(0);
        &lines.tokens[lines.root().edges(&lines)]
    }

    /// The number of items in the trie.
    pub fn n_items(&self) -> usize {
        self.arrays().n_items()
    }

    /// N, the number of items in each list.
    pub fn n_ranks(&self) -> usize {
        self.source().n_ranks as usize
    }

    /// The token that ends a list.
    pub fn end(&self) -> u32 {
        self.source().end
    }

    fn arrays(&self) -> &Arrays {
        &self.shared.arrays
    }

    fn source(&self) -> &Source {
        &self.shared.source
    }

    fn twins(&self) -> &Twins {
        &self.shared.twins
    }

    /// The lines that can stand at a rank.
    fn lines(&self, rank: usize) -> Lines<'_> {
        self.arrays().lines(rank.min(self.arrays().ranks() - 1))
    }
}

fn check_count(n_items: usize, n_ranks: usize) -> Result<(), TrieError> {
    match n_ranks {
        0 => Err(TrieError::NoRanks),
        _ if n_items < n_ranks => Err(TrieError::TooFew {
            wanted: n_ranks,
            left: n_items,
            all: n_items,
        }),
        _ if u32::try_from(n_items).is_err() => Err(TrieError::TooLarge(n_items)),
        _ => Ok(()),
    }
}

/// The number of ranks whose lines have tokens of their own.
fn ranks_apart(format: ListFormat, n_ranks: usize) -> usize {
    if format.style == Style::Numbered {
        n_ranks
    } else {
        1
    }
}

/// What makes two items' tokens alike.
fn why_alike(a: &Item, b: &Item, tokens_a: &[u32], tokens_b: &[u32]) -> String {
    if a == b {
        return "they have the same name".into();
    }
    if tokens_a != tokens_b {
        return "the tokens of the first begin those of the second".into();
    }
    // Names that look alike: composed and decomposed letters, or kinds of white space.
    let shown = |item: &Item| -> String {
        let show = |c: char| match c {
            ' '..='~' => c.to_string(),
            other => other.escape_unicode().to_string(),
        };
        item.to_string().chars().map(show).collect()
    };
    format!(
        "they have the same tokens, as the tokenizer or the list does not keep what differs; with \
         escapes they are {} and {}",
        shown(a),
        shown(b)
    )
}
