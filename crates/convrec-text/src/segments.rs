//! The rank that each token of a completion belongs to.
//!
//! Rewards are given per rank, and losses are taken per token. This module brings the two together.
//! By default the ranks of tokens come from the *same* parse that gave the items, so a reward at
//! rank k can only meet tokens of item k.
//!
//! ```
//! use convrec_text::{ListFormat, segments::{Ending, NO_RANK, END, Segmentation}};
//!
//! // The last token is <eos>.
//! let tokens: [&[u8]; 7] =
//!     [b"Sure:", b"\n\n", b"Heat", b" (1995)\n", b"Up", b" (2009)", b""];
//! let text = String::from_utf8(tokens.concat()).unwrap();
//! let list = ListFormat::default().parse(&text);
//!
//! let segments = Segmentation::OneParse.segment(&list, tokens, true);
//! assert_eq!(segments.ranks, [NO_RANK, NO_RANK, 0, 0, 1, 1, END]);
//! assert_eq!(segments.ending(2), Ending::Complete);
//!
//! // The reference counts line feeds, and so pays item 0's reward to the preamble.
//! assert_eq!(Segmentation::Reference.segment(&list, tokens, true).ranks, [0, 0, 2, 2, 3, 3, 3]);
//! ```

use serde::{Deserialize, Serialize};

use crate::list::ParsedList;
use crate::reasoning::Reasoning;

/// The rank of a token that belongs to no item: preambles, remarks, blank lines.
pub const NO_RANK: i32 = -1;

/// The rank of the end token, under [`Segmentation::OneParse`].
pub const END: i32 = -2;

/// The rule by which tokens get their ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Segmentation {
    /// A token belongs to the item on whose line it stands, by the parse that gave the items.
    ///
    /// A token of several lines belongs to the line of its first byte that is not white space, else
    /// to that of its first byte. The line feed that ends an item's line therefore belongs to the
    /// item. Tokens of no item, of lines with several items, and of
    /// [reasoning](crate::Reasoning) get [`NO_RANK`], the end token gets [`END`], and items past
    /// the N-th get ranks from N on.
    #[default]
    OneParse,
    /// The rank of a token is the number of line feeds before it, whatever the lines hold. This is
    /// what the public Python code does, kept for parity.
    ///
    /// Blank lines, preambles and remarks take ranks of their own, which pairs the rewards with the
    /// tokens of other items (quirk S2). The end token belongs to the last line (S3). After a
    /// trailing line feed that is one line too many: a complete list counts as too long, and a list
    /// that is an item short counts as complete (S4).
    Reference,
}

/// The rank of each token of a completion, from [`Segmentation::segment`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRanks {
    /// The ranks, `[tokens]`: from 0, or [`NO_RANK`], or [`END`].
    pub ranks: Vec<i32>,
    /// The number of items written; under [`Segmentation::Reference`] the number of lines (S5).
    pub items: usize,
    /// Whether the last token is the end token.
    pub ended: bool,
}

/// The way in which a completion ended. Length shaping depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The end token came after exactly N items.
    Complete,
    /// The end token came before N items.
    Early,
    /// More than N items were written.
    Overflow,
    /// There is no end token: the limit of tokens cut the list.
    Cut,
}

impl Segmentation {
    /// The rank of each token.
    ///
    /// `list` is the parse of the text that `tokens` decode to. `tokens` are the bytes of each
    /// token ([`TextTokenizer::token_bytes`](crate::TextTokenizer::token_bytes)), without padding
    /// ([`until_end`]). `ended` says whether the last of them is the end token.
    pub fn segment<'a>(
        self,
        list: &ParsedList,
        tokens: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>,
        ended: bool,
    ) -> TokenRanks {
        let tokens = tokens.into_iter();
        match self {
            Self::OneParse => by_parse(list, tokens, ended),
            Self::Reference => by_line_feeds(tokens, ended),
        }
    }
}

impl TokenRanks {
    /// The way in which the completion ended, where `n_ranks` items are wanted.
    pub fn ending(&self, n_ranks: usize) -> Ending {
        match self.items {
            items if items > n_ranks => Ending::Overflow,
            _ if !self.ended => Ending::Cut,
            items if items == n_ranks => Ending::Complete,
            _ => Ending::Early,
        }
    }
}

/// The tokens through the first end token, and whether there is one. Those behind it are padding.
///
/// ```
/// # use convrec_text::segments::until_end;
/// assert_eq!(until_end(&[7, 8, 2, 2, 2], 2), (&[7, 8, 2][..], true));
/// assert_eq!(until_end(&[7, 8], 2), (&[7, 8][..], false));
/// ```
pub fn until_end(ids: &[u32], end: u32) -> (&[u32], bool) {
    match ids.iter().position(|&id| id == end) {
        Some(at) => (&ids[..=at], true),
        None => (ids, false),
    }
}

fn by_parse<'a>(
    list: &ParsedList,
    tokens: impl Iterator<Item = &'a [u8]> + Clone,
    ended: bool,
) -> TokenRanks {
    let reasoning = in_reasoning(list, tokens.clone());
    // Lines are counted in bytes, not in decoded text. A character may be spread over tokens, but a
    // line feed never is.
    let mut line = 0;
    let mut rank = 0;
    let rank_of = |(index, token): (usize, &[u8])| {
        let leading = token
            .iter()
            .position(|byte| !byte.is_ascii_whitespace())
            .unwrap_or(0);
        let own_line = line + line_feeds(&token[..leading]);
        line += line_feeds(token);
        while list
            .entries
            .get(rank)
            .is_some_and(|entry| entry.line < own_line)
        {
            rank += 1;
        }
        let is_on_line = |rank: usize| {
            list.entries
                .get(rank)
                .is_some_and(|entry| entry.line == own_line)
        };
        // Items that share a line, as in a JSON list, would take each other's rewards.
        let is_item = is_on_line(rank) && !is_on_line(rank + 1);
        if is_item && !reasoning.get(index).copied().unwrap_or(false) {
            rank as i32
        } else {
            NO_RANK
        }
    };
    let mut ranks: Vec<i32> = tokens.enumerate().map(rank_of).collect();
    if let (true, Some(last)) = (ended, ranks.last_mut()) {
        *last = END;
    }
    TokenRanks {
        ranks,
        items: list.entries.len(),
        ended,
    }
}

/// Whether each token begins in reasoning; empty where there is none.
fn in_reasoning<'a>(list: &ParsedList, tokens: impl Iterator<Item = &'a [u8]>) -> Vec<bool> {
    if list.reasoning.spans.is_empty() {
        return vec![];
    }
    let (mut bytes, mut starts) = (vec![], vec![]);
    for token in tokens {
        starts.push(bytes.len());
        bytes.extend_from_slice(token);
    }
    // Where bytes are not UTF-8, the decoded text is longer, so the blocks are found again.
    let spans = Reasoning::find_in_bytes(&bytes).spans;
    let inside = |start: usize| spans.iter().any(|span| span.contains(&start));
    starts.into_iter().map(inside).collect()
}

fn by_line_feeds<'a>(tokens: impl Iterator<Item = &'a [u8]>, ended: bool) -> TokenRanks {
    let mut line = 0;
    let rank_of = |token: &[u8]| {
        let rank = line as i32;
        line += line_feeds(token);
        rank
    };
    let ranks: Vec<i32> = tokens.map(rank_of).collect();
    let items = ranks.last().map_or(0, |&last| last as usize + 1);
    TokenRanks {
        ranks,
        items,
        ended,
    }
}

fn line_feeds(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}
