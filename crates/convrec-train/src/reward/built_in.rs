//! The reward functions that come with the crate.

use std::collections::{BTreeSet, HashSet};

use convrec_catalog::Catalog;
use convrec_config::ConfigError;
use convrec_core::ItemId;
use convrec_metrics::rewards;

use super::{Listed, RewardFunction};
use crate::task::Sample;

/// The reward function `relevance`: rel_k, the paper's only one.
#[derive(Debug, Clone, Copy)]
pub struct RelevanceReward;

impl RewardFunction for RelevanceReward {
    fn name(&self) -> &str {
        "relevance"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        rewards::gains(list.relevant)
    }
}

/// The number of training samples in which each catalog item is relevant.
#[derive(Debug, Clone)]
pub struct Popularity {
    counts: Vec<usize>,
    largest: usize,
}

impl Popularity {
    /// Counts the ground-truth items of `samples`; the catalog has `n_items`.
    ///
    /// # Panics
    /// When a ground-truth item is not one of the `n_items`.
    #[must_use]
    pub fn of(samples: &[Sample], n_items: usize) -> Self {
        let mut counts = vec![0; n_items];
        samples
            .iter()
            .flat_map(|sample| &sample.ground_truth)
            .for_each(|id| counts[id.0 as usize] += 1);
        let largest = counts.iter().copied().max().unwrap_or(0).max(1);
        Self { counts, largest }
    }

    /// Returns the item's count divided by the largest count: 0 to 1.
    #[must_use]
    pub fn share(&self, item: ItemId) -> f64 {
        self.counts[item.0 as usize] as f64 / self.largest as f64
    }

    /// Returns the item's novelty: 0 for the most popular item, 1 for one that was never relevant.
    /// It is the -log of the smoothed share of all counts, scaled.
    #[must_use]
    pub fn novelty(&self, item: ItemId) -> f64 {
        let largest = (self.largest as f64 + 1.0).ln();
        1.0 - (self.counts[item.0 as usize] as f64 + 1.0).ln() / largest
    }
}

/// The reward function `novelty`: the self-information of an item ([`Popularity::novelty`]), and 0
/// where there is no item.
#[derive(Debug, Clone)]
pub struct NoveltyReward(pub Popularity);

impl RewardFunction for NoveltyReward {
    fn name(&self) -> &str {
        "novelty"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        each(list, |id| self.0.novelty(id))
    }
}

/// The reward function `popularity`: the popularity of an item ([`Popularity::share`]). With a
/// negative weight it is a penalty.
#[derive(Debug, Clone)]
pub struct PopularityReward(pub Popularity);

impl RewardFunction for PopularityReward {
    fn name(&self) -> &str {
        "popularity"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        each(list, |id| self.0.share(id))
    }
}

/// The reward function `diversity`: 1 minus the largest Jaccard similarity of an item's genres to
/// those of an item before it (maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998).
/// A repeated item earns 0.
#[derive(Debug, Clone)]
pub struct DiversityReward {
    genres: Vec<HashSet<String>>,
}

impl DiversityReward {
    /// Reads the genres of the catalog's items.
    #[must_use]
    pub fn of(catalog: &Catalog) -> Self {
        Self {
            genres: catalog
                .iter()
                .map(|(_, item)| item.genres.iter().cloned().collect())
                .collect(),
        }
    }

    fn similarity(&self, a: ItemId, b: ItemId) -> f64 {
        if a == b {
            return 1.0;
        }
        let (a, b) = (&self.genres[a.0 as usize], &self.genres[b.0 as usize]);
        let shared = a.intersection(b).count();
        shared as f64 / (a.len() + b.len() - shared).max(1) as f64
    }
}

impl RewardFunction for DiversityReward {
    fn name(&self) -> &str {
        "diversity"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        let mut before: Vec<ItemId> = Vec::new();
        let mut reward = |id: ItemId| {
            let nearest = before
                .iter()
                .map(|other| self.similarity(id, *other))
                .fold(0.0, f64::max);
            before.push(id);
            1.0 - nearest
        };
        list.items
            .iter()
            .map(|item| item.map_or(0.0, &mut reward))
            .collect()
    }
}

/// The reward function `blocklist`: -1 for each listed item that should not be recommended. With a
/// weight of 1 such an item costs as much as a hit earns.
#[derive(Debug, Clone)]
pub struct BlocklistReward(pub HashSet<ItemId>);

impl RewardFunction for BlocklistReward {
    fn name(&self) -> &str {
        "blocklist"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        each(list, |id| if self.0.contains(&id) { -1.0 } else { 0.0 })
    }
}

/// The reward function `blocked`: 1 for each listed item that should not be recommended. Its mean
/// is the share of such items, for a target such as "at most 1%". [`BlocklistReward`] is a fixed
/// penalty in its place.
#[derive(Debug, Clone)]
pub struct BlockedReward(pub HashSet<ItemId>);

impl RewardFunction for BlockedReward {
    fn name(&self) -> &str {
        "blocked"
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        each(list, |id| f64::from(u8::from(self.0.contains(&id))))
    }
}

/// The beginning of the names of [`GenreReward`]s.
pub(crate) const GENRE: &str = "genre:";

/// The reward function `genre:NAME`: 1 for each listed item of this genre. Its mean is the share of
/// such items.
#[derive(Debug, Clone)]
pub struct GenreReward {
    name: String,
    is_in: Vec<bool>,
}

impl GenreReward {
    /// Reads which of the catalog's items are of `genre`, which is written as in the catalog.
    #[must_use]
    pub fn of(catalog: &Catalog, genre: &str) -> Self {
        Self {
            name: format!("{GENRE}{genre}"),
            is_in: catalog
                .iter()
                .map(|(_, item)| item.genres.iter().any(|other| other == genre))
                .collect(),
        }
    }

    /// Returns the number of items of the genre.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.is_in.iter().filter(|is_in| **is_in).count()
    }
}

impl RewardFunction for GenreReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn rewards(&self, list: &Listed<'_>) -> Vec<f64> {
        each(list, |id| f64::from(u8::from(self.is_in[id.0 as usize])))
    }
}

fn each(list: &Listed<'_>, reward: impl Fn(ItemId) -> f64) -> Vec<f64> {
    list.items
        .iter()
        .map(|item| item.map_or(0.0, &reward))
        .collect()
}

/// The reward functions that need nothing but the catalog and the popularity of its items: the
/// fixed ones, and one for each genre that settings name. `named` has the fields and the names.
///
/// # Errors
/// [`ConfigError`] when a genre is not in the catalog.
pub(crate) fn built_in(
    catalog: &Catalog,
    popularity: &Popularity,
    named: &[(String, &str)],
) -> Result<Vec<Box<dyn RewardFunction>>, ConfigError> {
    let mut functions: Vec<Box<dyn RewardFunction>> = vec![
        Box::new(RelevanceReward),
        Box::new(NoveltyReward(popularity.clone())),
        Box::new(PopularityReward(popularity.clone())),
        Box::new(DiversityReward::of(catalog)),
    ];
    let mut seen = BTreeSet::new();
    for (field, name) in named {
        let Some(genre) = name.strip_prefix(GENRE) else {
            continue;
        };
        if !seen.insert(genre) {
            continue;
        }
        let function = GenreReward::of(catalog, genre);
        if function.n_items() == 0 {
            return Err(no_such_genre(catalog, field, genre));
        }
        functions.push(Box::new(function));
    }
    Ok(functions)
}

fn no_such_genre(catalog: &Catalog, field: &str, genre: &str) -> ConfigError {
    let genres = catalog.iter().flat_map(|(_, item)| &item.genres);
    let known: BTreeSet<&str> = genres.map(String::as_str).collect();
    let shown: Vec<&str> = known.iter().copied().take(MOST_SHOWN).collect();
    let expected = match known.len() {
        0 => "another reward: the items of the catalog have no genres".to_string(),
        n if n > MOST_SHOWN => format!("one of the {n} genres: {}, ...", shown.join(", ")),
        _ => format!("one of the genres {}", shown.join(", ")),
    };
    ConfigError {
        found: format!("genre `{genre}`, which no item has"),
        ..ConfigError::new(field, "", expected)
    }
}

/// The most genres that an error lists.
const MOST_SHOWN: usize = 30;

#[cfg(test)]
pub(super) mod tests {
    use convrec_core::CatalogItem;

    use super::*;

    pub(in super::super) fn catalog() -> Catalog {
        let item = |(title, genres): (&str, &[&str])| CatalogItem {
            title: title.into(),
            year: Some(2000),
            genres: genres.iter().map(|genre| genre.to_string()).collect(),
            metadata: String::new(),
        };
        let items: [(&str, &[&str]); 4] = [
            ("A", &["crime", "drama"]),
            ("B", &["crime"]),
            ("C", &["comedy"]),
            ("D", &[]),
        ];
        Catalog::new(items.map(item).into()).unwrap()
    }

    pub(in super::super) fn sample(ground_truth: &[u32]) -> Sample {
        let ground_truth = ground_truth.iter().copied().map(ItemId).collect();
        Sample {
            id: "a-1".into(),
            prompt: vec![1],
            seen: vec![],
            ground_truth,
            candidates: None,
        }
    }

    fn rewards(function: &dyn RewardFunction, items: &[Option<u32>]) -> Vec<f64> {
        let items: Vec<Option<ItemId>> = items.iter().map(|item| item.map(ItemId)).collect();
        let relevant: Vec<bool> = items.iter().map(|item| *item == Some(ItemId(2))).collect();
        function.rewards(&Listed {
            sample: &sample(&[2]),
            items: &items,
            relevant: &relevant,
        })
    }

    #[test]
    fn each_function_gives_what_it_says() {
        let samples = [sample(&[0]), sample(&[0, 1]), sample(&[0])];
        let popularity = Popularity::of(&samples, 4);
        let list = [Some(0), Some(1), None, Some(2), Some(1)];
        assert_eq!(rewards(&RelevanceReward, &list), [0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(
            rewards(&PopularityReward(popularity.clone()), &list),
            [1.0, 1.0 / 3.0, 0.0, 0.0, 1.0 / 3.0]
        );
        let novelty = rewards(&NoveltyReward(popularity), &list);
        assert_eq!([novelty[0], novelty[2], novelty[3]], [0.0, 0.0, 1.0]);
        assert!((novelty[1] - 0.5).abs() < 1e-12, "{novelty:?}"); // ln 2 / ln 4
        // B shares one of two genres with A. The second B is a repetition. D has no genre to share.
        let diversity = DiversityReward::of(&catalog());
        assert_eq!(rewards(&diversity, &list), [1.0, 0.5, 0.0, 1.0, 0.0]);
        assert_eq!(rewards(&diversity, &[Some(3), Some(0)]), [1.0, 1.0]);
        assert_eq!(
            rewards(&BlocklistReward(HashSet::from([ItemId(1)])), &list),
            [0.0, -1.0, 0.0, 0.0, -1.0]
        );
        assert_eq!(
            rewards(&BlockedReward(HashSet::from([ItemId(1)])), &list),
            [0.0, 1.0, 0.0, 0.0, 1.0]
        );
        let crime = GenreReward::of(&catalog(), "crime");
        assert_eq!((crime.name(), crime.n_items()), ("genre:crime", 2));
        assert_eq!(rewards(&crime, &list), [1.0, 1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn genres_are_rewarded_where_settings_name_them() {
        let popularity = Popularity::of(&[], 4);
        let functions = |name| {
            let named = [("reward_targets".to_string(), name), (String::new(), name)];
            built_in(&catalog(), &popularity, &named)
        };
        let found = functions("genre:comedy").unwrap();
        let names: Vec<&str> = found.iter().map(|function| function.name()).collect();
        assert_eq!(names[4..], ["genre:comedy"]);
        let error = functions("genre:horror").err().unwrap().to_string();
        assert!(
            error.contains("`reward_targets`") && error.contains("comedy, crime, drama"),
            "{error}"
        );
    }
}
