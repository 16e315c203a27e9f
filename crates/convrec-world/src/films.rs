//! The bundled films.

use convrec_core::jsonl::{self, Check};
use convrec_core::{CatalogItem, Item};
use serde::Deserialize;

use crate::features::{Feature, Kind};

const FILMS: &str = include_str!("../data/films.jsonl");
const ELSEWHERE: &str = include_str!("../data/elsewhere.jsonl");

/// A film with the features that tastes are about.
#[derive(Debug, Clone, PartialEq)]
pub struct Film {
    /// Title, year and genres. The metadata is the director and the themes, separated by commas.
    pub item: CatalogItem,
    /// Genres, themes and the era.
    pub features: Vec<Feature>,
    /// Its fame in the world at large, from 0 to 1. A teacher takes it for popularity.
    pub fame: f64,
}

impl Film {
    /// Its title and year.
    pub fn name(&self) -> Item {
        self.item.item()
    }
}

/// The films of the catalog, by year.
pub(crate) fn catalog() -> Vec<Film> {
    read(FILMS, "films.jsonl")
}

/// Films that exist but are not in the catalog.
pub(crate) fn elsewhere() -> Vec<Film> {
    read(ELSEWHERE, "elsewhere.jsonl")
}

fn read(text: &str, name: &str) -> Vec<Film> {
    let lines: Vec<Line> =
        jsonl::read(text.as_bytes(), name).expect("the bundled file is well-formed, tests read it");
    lines.into_iter().map(Line::into_film).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    title: String,
    year: i32,
    genres: Vec<String>,
    metadata: String,
    fame: u8,
}

impl Line {
    /// The director comes first.
    fn themes(&self) -> impl Iterator<Item = &str> {
        self.metadata.split(", ").skip(1)
    }

    fn into_film(self) -> Film {
        let genres = self
            .genres
            .iter()
            .filter_map(|name| Feature::find(Kind::Genre, name));
        let themes = self
            .themes()
            .filter_map(|name| Feature::find(Kind::Theme, name));
        let features = genres
            .chain(themes)
            .chain([Feature::of_year(self.year)])
            .collect();
        let fame = f64::from(self.fame - 1) / 6.0;
        let Line {
            title,
            year,
            genres,
            metadata,
            ..
        } = self;
        Film {
            item: CatalogItem {
                title,
                year: Some(year),
                genres,
                metadata,
            },
            features,
            fame,
        }
    }
}

impl Check for Line {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(name) = self
            .genres
            .iter()
            .find(|name| Feature::find(Kind::Genre, name).is_none())
        {
            return Err(("genres", format!("`{name}` is no genre of this world")));
        }
        if let Some(name) = self
            .themes()
            .find(|name| Feature::find(Kind::Theme, name).is_none())
        {
            return Err(("metadata", format!("`{name}` is no theme of this world")));
        }
        if !(1..=7).contains(&self.fame) {
            return Err(("fame", format!("{}; expected 1 to 7", self.fame)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn films_are_complete_and_named_once() {
        let (catalog, elsewhere) = (catalog(), elsewhere());
        assert!(
            (400..=450).contains(&catalog.len()),
            "{} films",
            catalog.len()
        );
        assert!(
            (100..=150).contains(&elsewhere.len()),
            "{} films elsewhere",
            elsewhere.len()
        );
        let mut names = HashSet::new();
        for film in catalog.iter().chain(&elsewhere) {
            let name = film.name();
            assert!((1930..=2023).contains(&name.year.unwrap()), "{name}");
            let count = |kind| film.features.iter().filter(|f| f.kind() == kind).count();
            assert!(
                (1..=3).contains(&count(Kind::Genre)) && (1..=5).contains(&count(Kind::Theme)),
                "{name}"
            );
            assert_eq!(count(Kind::Era), 1, "{name}");
            assert!(names.insert(name.clone()), "{name} twice");
        }
    }

    #[test]
    fn every_feature_has_several_films() {
        let catalog = catalog();
        for feature in Feature::all() {
            let films = catalog
                .iter()
                .filter(|film| film.features.contains(&feature))
                .count();
            assert!(films >= 5, "{feature}: {films} films");
        }
    }
}
