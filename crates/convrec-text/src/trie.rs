//! What may be written next so that a list cannot leave the catalog.

mod arrays;
mod cursor;
mod file;
mod lines;
mod source;

use std::sync::Arc;

use convrec_core::{Item, ItemId, files};

use self::arrays::Arrays;
pub use self::cursor::ListCursor;
use self::lines::{Lines, line_arrays};
use self::source::Source;
use crate::list::{ListFormat, Style};
use crate::tokenizer::{TextTokenizer, TokenizerError};

/// A token trie over the item lines of a catalog: the lists that can be written are those of N
/// different catalog items, none of them excluded, and then the end token.
///
/// Each node is a beginning of lines; its edges are the tokens that go on to some item. A
/// [`ListCursor`] walks it, one per list, and knows how many items below each node are used up, so
/// a beginning without any item left is never entered. Lists outside the catalog, repeated items,
/// seen items, malformed lines and short lists are then impossible, at every temperature.
///
/// ```
/// use convrec_core::{Item, ItemId};
/// use convrec_text::{ListFormat, ListTrie, TextTokenizer, TrainConfig};
///
/// let items = [Item::new("Heat", 1995), Item::new("Heat 2", 2026), Item::new("Alien", 1979)];
/// let corpus: Vec<String> = items.iter().map(|item| format!("{item}\n")).collect();
/// let tokenizer = TextTokenizer::train(corpus.iter(), &TrainConfig { vocab_size: 300, ..Default::default() })?;
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
/// It can be kept in a file, which is mapped into memory rather than read. A file made from
/// something else is refused, so this loads what fits and makes it anew otherwise:
///
/// ```
/// # use convrec_core::Item;
/// # use convrec_text::{ListFormat, ListTrie, TextTokenizer, TrainConfig, TrieError};
/// fn trie(path: &str, tokenizer: &TextTokenizer, end: u32, items: &[Item]) -> Result<ListTrie, TrieError> {
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
    /// Of one rank, or of each.
    arrays: Arc<Arrays>,
    source: Source,
}

/// No list can be written as asked, or the trie cannot be had from its file.
#[derive(Debug, thiserror::Error)]
pub enum TrieError {
    /// The tokenizer failed on an item's line.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// N is 0.
    #[error("`n_ranks` is 0; expected lists of at least one item")]
    NoRanks,
    /// The same line, or one that goes on where another ends.
    #[error(
        "the lines of \"{0}\" and \"{1}\" cannot be told apart: the tokens of one begin those of the other; \
         remove one of them from the catalog, or name it differently"
    )]
    Ambiguous(Item, Item),
    /// The tokenizer drops the item's whole line.
    #[error(
        "the line of \"{0}\" has no tokens; remove it from the catalog, or name it differently"
    )]
    NoTokens(Item),
    /// The end token is one of an item's own.
    #[error(
        "the end token {end} is in the line of \"{item}\", so no list could be told from its beginning; take a special token"
    )]
    EndInside {
        /// The token.
        end: u32,
        /// The item.
        item: Item,
    },
    /// More items are wanted than there are.
    #[error(
        "a list of {wanted} items cannot be made of {left}: there are {all} in the catalog, and the others are excluded; \
         ask for shorter lists (`n_ranks`), or add items"
    )]
    TooFew {
        /// N.
        wanted: usize,
        /// Items that are not excluded.
        left: usize,
        /// Items in the catalog.
        all: usize,
    },
    /// The arrays count in 32 bits.
    #[error(
        "the lines of {0} items have more than four billion tokens; expected a smaller catalog"
    )]
    TooLarge(usize),
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] files::Error),
    /// The file holds no trie, or a damaged one.
    #[error("{file}: {problem}; make it anew")]
    Damaged {
        /// The file, as the caller named it.
        file: String,
        /// What was found and expected.
        problem: String,
    },
    /// The file's trie was made from something else.
    #[error(
        "{file} was made from something else: {problem}; make it anew, or give what it was made from"
    )]
    Differs {
        /// The file, as the caller named it.
        file: String,
        /// All that differs.
        problem: String,
    },
}

impl ListTrie {
    /// The trie of lists of `n_ranks` of `items`, whose ids are their places, written in `format`
    /// and ended by the token `end`.
    ///
    /// # Errors
    /// When two lines cannot be told apart, one has no tokens or holds the end token, there are
    /// fewer than `n_ranks` items or `n_ranks` is 0, or the tokenizer fails.
    pub fn new(
        tokenizer: &TextTokenizer,
        format: ListFormat,
        end: u32,
        items: &[Item],
        n_ranks: usize,
    ) -> Result<Self, TrieError> {
        check_count(items.len(), n_ranks)?;
        let (mut words, mut nodes) = (vec![], vec![]);
        for rank in 0..ranks_apart(format, n_ranks) {
            let line = |item| tokenizer.encode(&format.line(rank, item));
            let lines = items.iter().map(line).collect::<Result<Vec<_>, _>>()?;
            if let Some(place) = lines.iter().position(|line| line.contains(&end)) {
                return Err(TrieError::EndInside {
                    end,
                    item: items[place].clone(),
                });
            }
            nodes.push(line_arrays(&lines, items, &mut words)?);
        }
        let arrays = Arc::new(Arrays::new(words, &nodes, items.len()));
        Ok(Self {
            arrays,
            source: Source::new(tokenizer, format, end, items, n_ranks)?,
        })
    }

    /// Begins a list without the items of `excluded`; ids that are not in the catalog exclude
    /// nothing.
    ///
    /// # Errors
    /// When fewer than N items are left.
    pub fn cursor(&self, excluded: &[ItemId]) -> Result<ListCursor<'_>, TrieError> {
        let all = self.arrays.n_items();
        let mut used: Vec<ItemId> = excluded
            .iter()
            .copied()
            .filter(|id| id.index() < all)
            .collect();
        used.sort_unstable();
        used.dedup();
        let left = all - used.len();
        if left < self.n_ranks() {
            return Err(TrieError::TooFew {
                wanted: self.n_ranks(),
                left,
                all,
            });
        }
        Ok(ListCursor::new(self, used))
    }

    /// No list has more tokens, the end token included.
    pub fn longest_list(&self) -> usize {
        let ranks = self.arrays.ranks();
        let longest = |rank, count| self.arrays.lines(rank).longest(count).sum::<usize>();
        let lines: usize = if ranks == 1 {
            longest(0, self.n_ranks())
        } else {
            (0..ranks).map(|k| longest(k, 1)).sum()
        };
        lines + 1
    }

    /// Tokens that a list can begin with, when nothing is excluded.
    pub fn first_tokens(&self) -> &[u32] {
        let lines = self.arrays.lines(0);
        &lines.tokens[lines.root().edges(&lines)]
    }

    /// N.
    fn n_ranks(&self) -> usize {
        self.source.n_ranks as usize
    }

    /// The lines that can stand at a rank.
    fn lines(&self, rank: usize) -> Lines<'_> {
        self.arrays.lines(rank.min(self.arrays.ranks() - 1))
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
