//! A list as text or JSON, item by item.

use convrec_core::ItemId;
use convrec_policy::Written;
use convrec_train::evaluate::judge_ranking;
use serde_json::{Value, json};

use super::response_format::JsonList;
use super::stop;
use crate::asked::List;
use crate::deployment::Shelf;
use crate::listing::{ListReader, Ranked};

/// An item as clients get it.
pub(super) fn item(shelf: &Shelf, rank: usize, ranked: &Ranked) -> Value {
    let catalog_item = &shelf.task.catalog()[ranked.id];
    json!({
        "rank": rank, "id": ranked.id.0, "title": catalog_item.title, "year": catalog_item.year,
        "genres": catalog_item.genres, "name": catalog_item.item().to_string(),
        "score": ranked.log_prob.exp(),
    })
}

/// The items of a whole list.
pub(super) fn items(list: &List, shelf: &Shelf, written: &Written) -> Vec<Ranked> {
    let completion = &written.completion;
    if let Some(constraint) = &list.constraint {
        let mut reader = ListReader::new(constraint.clone());
        return reader.read(&completion.tokens, &completion.log_probs);
    }
    // What an unconstrained policy wrote: seen and repeated items are left out.
    let answer = shelf.task.read(&completion.tokens);
    let ranking: Vec<ItemId> = answer.items.iter().copied().flatten().collect();
    let (kept, _) = judge_ranking(&ranking, &list.sample.seen, &[], list.n);
    let rank_of = |id: &ItemId| answer.items.iter().position(|item| *item == Some(*id));
    let ranked = |id: &ItemId| {
        let rank = rank_of(id).unwrap_or(0);
        let tokens = answer.segments.ranks.iter().zip(&completion.log_probs);
        let of_rank = tokens.filter(|(of, _)| usize::try_from(**of) == Ok(rank));
        Ranked {
            id: *id,
            log_prob: of_rank.map(|(_, log_prob)| f64::from(*log_prob)).sum(),
            first: 0,
        }
    };
    kept.iter().map(ranked).collect()
}

/// The content of an answer, and where it ends.
pub(super) struct Content {
    json: Option<JsonList>,
    stops: Vec<String>,
    text: String,
    items: usize,
    is_over: bool,
}

impl Content {
    pub(super) fn new(json: Option<JsonList>, stops: Vec<String>) -> Self {
        let text = json.as_ref().map(JsonList::opening).unwrap_or_default();
        Self {
            json,
            stops,
            text,
            items: 0,
            is_over: false,
        }
    }

    /// What comes before the first item.
    pub(super) fn opening(&self) -> &str {
        &self.text
    }

    /// The piece for one more item; nothing behind the end.
    pub(super) fn push(&mut self, item: &Value) -> Option<String> {
        if self.is_over {
            return None;
        }
        self.items += 1;
        let piece = match &self.json {
            Some(list) => {
                let comma = if self.items > 1 { "," } else { "" };
                format!("{comma}{}", list.item(item))
            }
            None => {
                let line = if self.items > 1 { "\n" } else { "" };
                let name = item["name"].as_str().unwrap_or_default();
                format!("{line}{}. {name}", self.items)
            }
        };
        Some(self.add(&piece))
    }

    /// The piece behind the last item.
    pub(super) fn close(&mut self) -> Option<String> {
        match self.json.is_some() && !self.is_over {
            true => Some(self.add(JsonList::CLOSING)),
            false => None,
        }
    }

    fn add(&mut self, piece: &str) -> String {
        let from = self.text.len();
        self.text.push_str(piece);
        if let Some(end) = stop::find(&self.text, from, &self.stops) {
            self.text.truncate(end);
            self.is_over = true;
        }
        self.text.get(from..).unwrap_or_default().to_string()
    }

    pub(super) fn text(self) -> String {
        self.text
    }

    /// Whether a stop text ended it.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }
}
