//! A model with a catalog in use. New weights or a new catalog make another one.

use std::collections::HashMap;
use std::sync::Arc;

use convrec_catalog::{Catalog, FuzzyIndex, Mentions, UnknownName, normalise};
use convrec_core::{Item, ItemId};
use convrec_policy::ModelConfig;
use convrec_train::{Language, ModelError, Task};

use crate::config::ServerConfig;
use crate::worker::Worker;

/// Requests hold on to the one that they began with.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// Counts from 1.
    pub(crate) version: u64,
    pub(crate) language: Language,
    /// Ends a completion where a request names no other.
    pub(crate) end_token: u32,
    pub(crate) shelf: Option<Arc<Shelf>>,
    /// Catalogs may change over one model.
    pub(crate) worker: Arc<Worker>,
}

/// A catalog with all that is made of it once.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) task: Task,
    pub(crate) mentions: Mentions,
    /// As it was given: before twins were merged.
    pub(crate) catalog: Catalog,
    /// Titles, normalised, for searches.
    titles: Vec<String>,
    /// Items by genre, in lower case.
    genres: HashMap<String, Vec<ItemId>>,
}

impl Shelf {
    pub(crate) fn new(
        catalog: Catalog,
        language: &Language,
        config: &ServerConfig,
    ) -> Result<Self, ModelError> {
        let merged = match config.keep_twins {
            true => catalog.clone(),
            false => catalog.clone().merge_twins(),
        };
        let task = language.task_for(merged, config.unconstrained)?;
        let mut genres: HashMap<String, Vec<ItemId>> = HashMap::new();
        for (id, item) in task.catalog().iter() {
            for genre in &item.genres {
                genres.entry(normalise(genre)).or_default().push(id);
            }
        }
        let title =
            |(_, item): (ItemId, &convrec_core::CatalogItem)| normalise(&item.item().to_string());
        Ok(Self {
            mentions: Mentions::new(task.catalog()),
            titles: task.catalog().iter().map(title).collect(),
            genres,
            catalog,
            task,
        })
    }

    /// The items of a genre.
    pub(crate) fn genre(&self, name: &str) -> Option<&[ItemId]> {
        self.genres.get(&normalise(name)).map(Vec::as_slice)
    }

    /// All genres with their items.
    pub(crate) fn genres(&self) -> impl Iterator<Item = (&str, usize)> {
        self.genres
            .iter()
            .map(|(name, items)| (name.as_str(), items.len()))
    }

    /// The items whose name begins with a text, then those that hold it, then those most like it.
    pub(crate) fn search(&self, text: &str, n: usize) -> Vec<ItemId> {
        let wanted = normalise(text);
        let aliases = self.task.catalog().aliases();
        let mut found: Vec<(bool, ItemId)> = self
            .titles
            .iter()
            .enumerate()
            .filter_map(|(place, title)| Some((title.find(&wanted)? > 0, ItemId(place as u32))))
            .filter(|(_, id)| !aliases.contains(id))
            .collect();
        found.sort_unstable();
        found.truncate(n);
        if found.is_empty() && !wanted.is_empty() {
            return FuzzyIndex::new(self.task.catalog()).nearest(&Item::from_line(text.trim()), n);
        }
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// The items that a name means.
    pub(crate) fn named(&self, name: &str) -> Result<Vec<ItemId>, UnknownName> {
        self.task.catalog().named(name)
    }
}

impl Deployment {
    pub(crate) fn new(
        version: u64,
        language: Language,
        shelf: Option<Arc<Shelf>>,
        worker: Arc<Worker>,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            version,
            end_token: language.end()?,
            language,
            shelf,
            worker,
        })
    }

    /// The shape of the model.
    pub(crate) fn shape(&self) -> &ModelConfig {
        self.worker.shape()
    }
}
