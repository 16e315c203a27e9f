//! Tries from token ids alone.

use std::path::Path;

use super::arrays::Arrays;
use super::lines::line_arrays;
use super::source::Source;
use super::{ListTrie, TrieError, check_count};

impl ListTrie {
    /// The trie of lists of `n_ranks` items that are given by their tokens: of whatever tokenizer,
    /// or semantic ids that stand for no text. The id of an item is its place.
    ///
    /// A list is `items[a] separator items[b] separator ... end`: the separator follows every item,
    /// also the last. It may be empty where the tokens of no item begin those of another, as with
    /// semantic ids of one length.
    ///
    /// ```
    /// use convrec_core::ItemId;
    /// use convrec_text::ListTrie;
    ///
    /// let items = [vec![17, 4], vec![17, 4, 8], vec![3]];
    /// let (line_feed, end) = (13, 2);
    /// let trie = ListTrie::from_token_ids(&items, &[line_feed], end, 2)?;
    ///
    /// let mut cursor = trie.cursor(&[ItemId(2)])?;
    /// for token in [17, 4, 8, line_feed, 17, 4, line_feed, end] {
    ///     cursor.push(token);
    /// }
    /// assert!(cursor.is_done());
    /// assert_eq!(cursor.items(), [ItemId(1), ItemId(0)]);
    /// # Ok::<(), convrec_text::TrieError>(())
    /// ```
    ///
    /// # Errors
    /// [`TrieError::NoRanks`], [`TrieError::TooFew`], [`TrieError::NoTokens`],
    /// [`TrieError::Ambiguous`], [`TrieError::EndInside`] and [`TrieError::TooLarge`] as
    /// [`new`](Self::new).
    pub fn from_token_ids(
        items: &[impl AsRef<[u32]>],
        separator: &[u32],
        end: u32,
        n_ranks: usize,
    ) -> Result<Self, TrieError> {
        check_count(items.len(), n_ranks)?;
        let lines = lines(items, separator);
        let mut words = vec![];
        let nodes = line_arrays(&lines, end, &mut words).map_err(|problem| {
            let why = |a: usize, b: usize| match lines[a] == lines[b] {
                true => "they have the same tokens".into(),
                false => "the tokens of the first begin those of the second".into(),
            };
            problem.named(|item| format!("item {}", item + 1), why)
        })?;
        let source = Source::of_token_ids(&lines, end, n_ranks);
        Ok(Self::of(Arrays::new(words, &[nodes], items.len()), source))
    }

    /// The trie that [`from_token_ids`](Self::from_token_ids) would make of the same, from the file
    /// in which it was [saved](Self::save). [`open`](Self::open) says what holds for the file.
    ///
    /// # Errors
    /// [`TrieError::File`], [`TrieError::Damaged`] and [`TrieError::Differs`] as
    /// [`open`](Self::open), and [`TrieError::NoRanks`] and [`TrieError::TooFew`].
    pub fn open_token_ids(
        path: impl AsRef<Path>,
        items: &[impl AsRef<[u32]>],
        separator: &[u32],
        end: u32,
        n_ranks: usize,
    ) -> Result<Self, TrieError> {
        check_count(items.len(), n_ranks)?;
        let source = Source::of_token_ids(&lines(items, separator), end, n_ranks);
        Self::open_source(path.as_ref(), source, 1, items.len(), None)
    }
}

fn lines(items: &[impl AsRef<[u32]>], separator: &[u32]) -> Vec<Vec<u32>> {
    let line = |item: &_| [AsRef::<[u32]>::as_ref(item), separator].concat();
    items.iter().map(line).collect()
}
