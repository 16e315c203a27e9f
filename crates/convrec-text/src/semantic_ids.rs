//! Items as short sequences of codes.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use convrec_core::jsonl::{self, Check};
use convrec_core::{Item, files};
use serde::{Deserialize, Serialize};

use crate::tokenizer::{TextTokenizer, TokenizerError};

/// The most codes of an item. Items of equal vectors may need many.
const MOST_PLACES: usize = 64;
/// The largest number of codes at a place.
const MOST_CODES: u32 = 1 << 16;

/// The semantic ids of a catalog: a short sequence of codes for each item.
///
/// Items that are alike begin with the same codes, so a million items need some hundred tokens. A
/// code is a special token of its own at each place: `<1:17>` is code 17 at the first one. Nobody
/// who writes this text in a conversation writes the token.
///
/// ```
/// use convrec_core::Item;
/// use convrec_text::{PromptFormat, SemanticIds, TextTokenizer, TrainConfig};
///
/// let (heat, ronin) = (Item::new("Heat", 1995), Item::new("Ronin", 1998));
/// let ids = SemanticIds::new([(heat.clone(), vec![0, 1]), (ronin, vec![0, 0])]);
/// assert_eq!(ids.tokens(), ["<1:0>", "<2:0>", "<2:1>"]);
///
/// let mut config = TrainConfig::default();
/// config.special_tokens.extend(ids.tokens());
/// let tokenizer = TextTokenizer::train(["I loved Heat"].iter(), &config)?;
/// let prompter = PromptFormat::default().prompter(&tokenizer)?.with_semantic_ids(&ids)?;
/// let completion = prompter.completion(&[heat])?;
/// assert_eq!(tokenizer.decode_with_specials(&completion), "<1:0><2:1><eos>");
/// # Ok::<(), convrec_text::TokenizerError>(())
/// ```
///
/// Rajput et al., "Recommender systems with generative retrieval", NeurIPS 2023 (arXiv 2305.05065).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SemanticIds {
    rows: Vec<Row>,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    item: Item,
    codes: Vec<u32>,
}

impl Check for Row {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let fits = (1..=MOST_PLACES).contains(&self.codes.len());
        let largest = self.codes.iter().max().copied().unwrap_or(0);
        if fits && largest < MOST_CODES {
            return Ok(());
        }
        let problem = format!(
            "{} codes, of which the largest is {largest}; expected 1 to {MOST_PLACES} codes below \
             {MOST_CODES}",
            self.codes.len()
        );
        Err(("codes", problem))
    }
}

impl SemanticIds {
    /// The semantic ids of items. Where an item is given twice, the later codes count.
    #[must_use]
    pub fn new(items: impl IntoIterator<Item = (Item, Vec<u32>)>) -> Self {
        let row = |(item, codes)| Row { item, codes };
        Self {
            rows: items.into_iter().map(row).collect(),
        }
    }

    /// Reads a file that [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// [`jsonl::Error`] when the file cannot be read, or one of its lines is bad.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, jsonl::Error> {
        let rows = jsonl::read_file(path)?;
        Ok(Self { rows })
    }

    /// Writes the file: a line for each item, `{"item":["Heat",1995],"codes":[17,4,90]}`.
    ///
    /// # Errors
    /// [`files::Error`] when the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), files::Error> {
        jsonl::write_file(path, &self.rows)
    }

    /// What [`write`](Self::write) writes.
    ///
    /// # Panics
    /// Never: numbers and texts can be written down.
    #[must_use]
    pub fn to_text(&self) -> String {
        let line = |row: &Row| serde_json::to_string(row).expect("numbers and texts") + "\n";
        self.rows.iter().map(line).collect()
    }

    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The items with their codes.
    pub fn iter(&self) -> impl Iterator<Item = (&Item, &[u32])> {
        self.rows
            .iter()
            .map(|row| (&row.item, row.codes.as_slice()))
    }

    /// The special tokens that the codes need, by place and code.
    #[must_use]
    pub fn tokens(&self) -> Vec<String> {
        let of_place = |(place, codes): (usize, u32)| (0..codes).map(move |code| name(place, code));
        let counts = self.counts().into_iter().enumerate();
        counts.flat_map(of_place).collect()
    }

    /// Checks that each item has codes of its own, which the tokenizer has tokens for.
    ///
    /// # Errors
    /// The fault, with the names of the items.
    pub fn check(&self, tokenizer: &TextTokenizer) -> Result<(), String> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        for row in &rows {
            for (place, code) in row.codes.iter().enumerate() {
                let token = name(place, *code);
                if tokenizer.special_id(&token).is_err() {
                    return Err(format!(
                        "\"{}\" has the code {code} at place {}, but the tokenizer has no token \
                         `{token}`; expected the file that was written with tokenizer.json",
                        row.item,
                        place + 1
                    ));
                }
            }
        }
        rows.sort_by(|a, b| a.codes.cmp(&b.codes));
        let clash = rows
            .windows(2)
            .find(|pair| pair[1].codes.starts_with(&pair[0].codes));
        if let Some([a, b]) = clash {
            return Err(format!(
                "the codes {:?} of \"{}\" begin those of \"{}\"; expected codes of its own for each \
                 item",
                a.codes, a.item, b.item
            ));
        }
        let mut seen = HashSet::new();
        match self.rows.iter().find(|row| !seen.insert(&row.item)) {
            Some(row) => Err(format!(
                "\"{}\" stands twice; expected a line an item",
                row.item
            )),
            None => Ok(()),
        }
    }

    /// Whether a tokenizer was made for semantic ids.
    #[must_use]
    pub fn has_tokens(tokenizer: &TextTokenizer) -> bool {
        tokenizer.special_id(&name(0, 0)).is_ok()
    }

    /// The number of codes at each place.
    fn counts(&self) -> Vec<u32> {
        let mut counts = vec![];
        for row in &self.rows {
            counts.resize(counts.len().max(row.codes.len()), 0);
            for (count, code) in counts.iter_mut().zip(&row.codes) {
                *count = (*count).max(code + 1);
            }
        }
        counts
    }

    /// The tokens of each item.
    ///
    /// # Errors
    /// [`TokenizerError::NoSpecial`] when the tokenizer lacks the token of a code.
    pub(crate) fn encode(
        &self,
        tokenizer: &TextTokenizer,
    ) -> Result<HashMap<Item, Box<[u32]>>, TokenizerError> {
        let of_place = |(place, codes): (usize, u32)| {
            let token = |code| tokenizer.special_id(&name(place, code));
            (0..codes).map(token).collect::<Result<Vec<u32>, _>>()
        };
        let counts = self.counts().into_iter().enumerate();
        let places = counts.map(of_place).collect::<Result<Vec<_>, _>>()?;
        let tokens = |row: &Row| {
            let codes = row.codes.iter().zip(&places);
            let tokens = codes.map(|(code, place)| place[*code as usize]).collect();
            (row.item.clone(), tokens)
        };
        Ok(self.rows.iter().map(tokens).collect())
    }
}

/// The token of a code; places are named from 1.
fn name(place: usize, code: u32) -> String {
    format!("<{}:{code}>", place + 1)
}
