//! What a request may say of a list: what was seen, what may not be in it, and how long it is.

use std::collections::HashSet;
use std::sync::Arc;

use convrec_core::{Candidates, Example, Item, ItemId, Turn};
use convrec_text::TrieError;
use convrec_train::Sample;
use serde::Deserialize;

use crate::config::Limits;
use crate::deployment::Shelf;
use crate::listing::{ListConstraint, Quota};
use crate::object::Object;
use crate::refusal::Refusal;

/// An item of the catalog.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected an item's place in the catalog, or its name as in `Heat (1995)`"
)]
pub(crate) enum Name {
    Place(u32),
    Text(String),
}

/// The items that may be in a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of items, or an object with `items` or `genres`"
)]
pub(crate) enum Only {
    Items(Vec<Name>),
    Of(Group),
}

/// Items, named one by one or by their genres.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    #[serde(default)]
    items: Vec<Name>,
    #[serde(default)]
    genres: Vec<String>,
}

/// At most or at least so many items of a kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct AskedQuota {
    #[serde(default)]
    items: Vec<Name>,
    genre: Option<String>,
    at_most: Option<usize>,
    at_least: Option<usize>,
}

/// The constraints of a request, in every protocol.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) seen: Vec<Name>,
    pub(crate) exclude: Vec<Name>,
    pub(crate) only: Option<Only>,
    pub(crate) quotas: Vec<Object<AskedQuota>>,
    /// Items of the list; all that the model writes where there is none.
    pub(crate) n: Option<usize>,
    /// What the request calls `n`.
    pub(crate) n_field: &'static str,
}

/// A list that can be written.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) sample: Sample,
    /// None where lists are unconstrained.
    pub(crate) constraint: Option<ListConstraint>,
    pub(crate) n: usize,
}

impl Name {
    /// The catalog items that are meant.
    ///
    /// # Errors
    /// When one is not in the catalog; the nearest items are named.
    fn items(all: &[Self], field: &str, shelf: &Shelf) -> Result<Vec<ItemId>, Refusal> {
        let most = shelf.task.catalog().len();
        let mut found = vec![];
        for name in all {
            match name {
                Self::Place(place) if (*place as usize) < most => found.push(ItemId(*place)),
                Self::Place(place) => {
                    let problem = format!("{place}; expected a place below {most}");
                    return Err(Refusal::field(field, problem));
                }
                Self::Text(name) => found.extend(
                    shelf
                        .named(name)
                        .map_err(|e| Refusal::field(field, e).coded("unknown_item"))?,
                ),
            }
        }
        Ok(found)
    }
}

fn genre<'s>(name: &str, field: &str, shelf: &'s Shelf) -> Result<&'s [ItemId], Refusal> {
    shelf.genre(name).ok_or_else(|| {
        let mut known: Vec<_> = shelf.genres().collect();
        known.sort_unstable_by_key(|(name, items)| (usize::MAX - items, *name));
        let names: Vec<&str> = known.iter().take(30).map(|(name, _)| *name).collect();
        let expected = match names.is_empty() {
            true => "the catalog has no genres".to_string(),
            false => format!("expected one of {}", names.join(", ")),
        };
        Refusal::field(field, format!("`{name}` is no genre; {expected}"))
    })
}

impl Asked {
    /// Whether no more items are named than may be.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        let only = match &self.only {
            None => 0,
            Some(Only::Items(items)) => items.len(),
            Some(Only::Of(group)) => group.items.len() + group.genres.len(),
        };
        if self.quotas.len() > limits.quotas {
            let problem = format!(
                "{} quotas; expected at most {}",
                self.quotas.len(),
                limits.quotas
            );
            return Err(Refusal::field("quotas", problem));
        }
        let quotas: usize = self.quotas.iter().map(|quota| 1 + quota.items.len()).sum();
        for (field, found) in [
            ("seen", self.seen.len()),
            ("exclude", self.exclude.len()),
            ("only", only),
            ("quotas", quotas),
        ] {
            if found > limits.items {
                let problem = format!("{found} items; expected at most {}", limits.items);
                return Err(Refusal::field(field, problem));
            }
        }
        Ok(())
    }

    /// The list for a conversation, without the items that it names in full.
    pub(crate) fn list(&self, turns: Vec<Turn>, shelf: &Shelf) -> Result<List, Refusal> {
        let task = &shelf.task;
        let catalog = task.catalog();
        let mut ids: Vec<ItemId> = shelf.mentions.in_turns(&turns);
        let mut known: HashSet<ItemId> = ids.iter().copied().collect();
        for id in Name::items(&self.seen, "seen", shelf)? {
            if known.insert(id) {
                ids.push(id);
            }
        }
        let seen: Vec<Item> = ids.iter().map(|id| catalog[*id].item()).collect();
        let example = Example {
            id: "asked-1".into(),
            dialog: turns,
            seen,
            ground_truth: vec![],
        };
        let sample = task.sample_unchecked(&example).map_err(|e| {
            let message = e.to_string();
            let message = message.strip_prefix("sample `asked-1`").unwrap_or(&message);
            Refusal::bad(message.trim_start_matches([',', ':', ' ']))
        })?;
        let (n, constraint) = self.constraint(&sample.seen, Some((&example, &sample)), shelf)?;
        Ok(List {
            sample,
            constraint,
            n,
        })
    }

    /// The constraint on a list whose prompt somebody else wrote.
    pub(crate) fn completion(&self, shelf: &Shelf) -> Result<Option<ListConstraint>, Refusal> {
        let seen = Name::items(&self.seen, "seen", shelf)?;
        Ok(self.constraint(&seen, None, shelf)?.1)
    }

    /// The constraint on a list, with its length. What a retriever says of the items is part of it
    /// where there is a conversation.
    fn constraint(
        &self,
        seen: &[ItemId],
        conversation: Option<(&Example, &Sample)>,
        shelf: &Shelf,
    ) -> Result<(usize, Option<ListConstraint>), Refusal> {
        let task = &shelf.task;
        let (catalog, most) = (task.catalog(), task.n_ranks());
        let n = self.n.unwrap_or(most);
        if !(1..=most).contains(&n) {
            let problem = format!("{n}; expected 1 to {most}, the length of the model's lists");
            return Err(Refusal::field(self.n_field, problem));
        }
        let mut excluded = seen.to_vec();
        excluded.extend(Name::items(&self.exclude, "exclude", shelf)?);
        let mut candidates = conversation.and_then(|(_, sample)| sample.candidates.clone());
        if let Some(only) = &self.only {
            let (items, genres): (&[Name], &[String]) = match only {
                Only::Items(items) => (items, &[]),
                Only::Of(group) => (&group.items, &group.genres),
            };
            let mut kept: HashSet<ItemId> =
                Name::items(items, "only", shelf)?.into_iter().collect();
            for name in genres {
                kept.extend(genre(name, "only", shelf)?);
            }
            let kept = Candidates::new(kept.iter().map(|id| catalog.representative(*id)));
            let kept = match conversation {
                Some((example, _)) => task.prior_among(example, kept),
                None => kept,
            };
            candidates = Some(kept.into());
        }
        let cursor = task
            .list_cursor(n, &excluded, candidates.as_deref())
            .map_err(|e| self.too_few(e))?;
        let Some(cursor) = cursor else {
            let is_free = self.exclude.is_empty() && self.only.is_none() && self.quotas.is_empty();
            return match is_free {
                true => Ok((n, None)),
                false => Err(Refusal::bad(
                    "fields `exclude`, `only` and `quotas` need a server whose lists are constrained",
                )),
            };
        };
        // Fewer where there are fewer candidates.
        let n = n.min(cursor.n_ranks());
        let among: Option<HashSet<ItemId>> =
            candidates.map(|candidates| candidates.items().iter().copied().collect());
        let quotas = self.quotas(n, &excluded, among.as_ref(), shelf)?;
        let limit = (n < cursor.n_ranks()).then_some(n);
        Ok((n, Some(ListConstraint::new(cursor, limit, n, quotas))))
    }

    /// Why no list can be written.
    fn too_few(&self, problem: TrieError) -> Refusal {
        match problem {
            TrieError::TooFew { wanted, left, .. } if self.n.is_some() => Refusal::field(
                self.n_field,
                format!(
                    "{wanted}; expected at most {left}, the items that `seen`, `exclude` and the \
                     conversation leave"
                ),
            ),
            TrieError::TooFew { wanted, left, .. } => Refusal::field(
                "seen",
                format!(
                    "leaves {left} items; expected at least {wanted}, those of a list (`exclude` and \
                     the conversation count as well), or a smaller `{}`",
                    self.n_field
                ),
            ),
            TrieError::NoCandidates { .. } if self.only.is_some() => {
                let problem = format!("{problem} (`seen`, `exclude` and the conversation count)");
                Refusal::field("only", problem)
            }
            TrieError::NoCandidates { .. } => {
                Refusal::field("exclude", "leaves none of what the retriever finds")
            }
            other => Refusal::bad(other.to_string()),
        }
    }

    /// The quotas, where all of them can be met whatever is written first.
    fn quotas(
        &self,
        n: usize,
        excluded: &[ItemId],
        among: Option<&HashSet<ItemId>>,
        shelf: &Shelf,
    ) -> Result<Vec<Quota>, Refusal> {
        if self.quotas.is_empty() {
            return Ok(vec![]);
        }
        let catalog = shelf.task.catalog();
        let mut quotas: Vec<Quota> = vec![];
        for (place, asked) in self.quotas.iter().enumerate() {
            let field = format!("quotas[{place}]");
            let mut items: HashSet<ItemId> = Name::items(&asked.items, &field, shelf)?
                .into_iter()
                .collect();
            if let Some(name) = &asked.genre {
                items.extend(genre(name, &field, shelf)?);
            }
            let items: HashSet<ItemId> =
                items.iter().map(|id| catalog.representative(*id)).collect();
            if items.is_empty() || asked.at_most.is_none() && asked.at_least.is_none() {
                let expected = "`genre` or `items`, and `at_most` or `at_least`";
                return Err(Refusal::field(&field, format!("expected {expected}")));
            }
            let quota = Quota {
                items: Arc::new(items),
                at_most: asked.at_most,
                at_least: asked.at_least.unwrap_or(0),
            };
            // Two of the same items are one with both bounds.
            match quotas.iter_mut().find(|other| other.items == quota.items) {
                Some(other) => {
                    let bounds = other.at_most.into_iter().chain(quota.at_most);
                    other.at_most = bounds.min();
                    other.at_least = other.at_least.max(quota.at_least);
                }
                None => quotas.push(quota),
            }
        }
        let excluded: HashSet<ItemId> = excluded
            .iter()
            .map(|id| catalog.representative(*id))
            .collect();
        let is_open =
            |id: &ItemId| !excluded.contains(id) && among.is_none_or(|among| among.contains(id));
        let is_free = |id: &ItemId| {
            let limited = |quota: &Quota| quota.at_most.is_some() && quota.items.contains(id);
            is_open(id) && !quotas.iter().any(limited)
        };
        let refuse = |field: &str, problem: String| Err(Refusal::field(field, problem));
        for (place, quota) in quotas.iter().enumerate() {
            let field = format!("quotas[{place}]");
            let (least, most) = (quota.at_least, quota.at_most.unwrap_or(usize::MAX));
            let elsewhere = |id: &ItemId| {
                let others = quotas.iter().enumerate().filter(|(n, _)| *n != place);
                others
                    .filter(|(_, other)| other.at_most.is_some())
                    .any(|(_, other)| other.items.contains(id))
            };
            let is_left = |id: &&ItemId| is_open(id) && !elsewhere(id);
            let left = quota.items.iter().filter(is_left).count();
            if least > left.min(most) {
                let all = quota.items.iter().filter(|id| is_open(id)).count();
                let why = match left < all.min(most) {
                    true => format!(
                        ": {} of the {all} that are left are in another quota with `at_most`",
                        all - left
                    ),
                    false => String::new(),
                };
                let problem = format!(
                    "at least {least} of {} that may be written{why}",
                    left.min(most)
                );
                return refuse(&field, problem);
            }
        }
        let least: usize = quotas.iter().map(|quota| quota.at_least).sum();
        if least > n {
            let problem = format!("at least {least} items in all; expected at most {n}");
            return refuse("quotas", problem);
        }
        let twins: HashSet<ItemId> = catalog.aliases().iter().copied().collect();
        let free = catalog
            .iter()
            .filter(|(id, _)| !twins.contains(id) && is_free(id))
            .count();
        if free < n {
            let problem =
                format!("{free} items are in none that is limited; expected at least {n}");
            return refuse("quotas", problem);
        }
        Ok(quotas)
    }
}
