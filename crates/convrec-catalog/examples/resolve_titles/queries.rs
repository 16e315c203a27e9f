//! Inexact names with the items that they mean. They are made from catalogs by rule, or are real
//! lines labelled by hand.

use std::collections::HashMap;

use convrec_catalog::{Catalog, Resolution, YEAR_TOLERANCE};
use convrec_core::{CatalogItem, Item, ItemId, jsonl};
use convrec_testdata::data_path;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rapidfuzz::fuzz;
use serde::{Deserialize, Serialize};

use crate::mutate;

/// Queries of one category from one catalog at most.
const PER_CATEGORY: usize = 200;

/// A name, and the item of its catalog that it means; none where it means no item.
#[derive(Debug, Clone, Serialize)]
pub struct Query {
    pub category: &'static str,
    pub name: Item,
    pub answer: Option<ItemId>,
    /// Whether weights and thresholds may look at it.
    pub training: bool,
}

/// A catalog, some items of which were taken out, with names to be looked up in it.
pub struct QuerySet {
    pub source: String,
    pub catalog: Catalog,
    pub queries: Vec<Query>,
}

/// All of them; none where there is no data folder.
pub fn all() -> Option<Vec<QuerySet>> {
    let mut sets = Vec::new();
    for source in [
        "reddit_v2",
        "redial",
        "opendialkg_movies",
        "opendialkg_books",
    ] {
        sets.push(by_rule(source)?);
    }
    for source in ["reddit_v2", "redial", "inspired"] {
        sets.push(by_hand(source)?);
    }
    Some(sets)
}

fn items(source: &str) -> Option<Vec<CatalogItem>> {
    let text = std::fs::read_to_string(data_path(&format!("catalog/{source}.jsonl"))?).unwrap();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("\"title\": \"\","))
        .collect();
    Some(jsonl::read(lines.join("\n").as_bytes(), source).unwrap())
}

/// The letters and digits of a title, without an article in front. It is not the index's own
/// reading, so that labels do not depend on it.
fn squashed(title: &str) -> String {
    let title = mutate::starts_with_article(title).map_or(title, |(_, rest)| rest);
    title
        .replace('&', "and")
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The common beginning of the titles of a series: all before a colon, a dash, a bracket or a
/// number.
fn series(title: &str) -> String {
    let head = title
        .split([':', '(', ';'])
        .next()
        .unwrap()
        .split(" - ")
        .next()
        .unwrap()
        .split(" – ")
        .next()
        .unwrap();
    let is_number = |word: &str| {
        word.chars().any(|c| c.is_ascii_digit())
            || [
                "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "Part",
            ]
            .contains(&word)
    };
    let words: Vec<&str> = head
        .split(' ')
        .enumerate()
        .take_while(|(n, word)| *n == 0 || !is_number(word))
        .map(|(_, word)| word)
        .collect();
    squashed(&words.join(" "))
}

/// The two halves: names of one series go together.
fn in_training(title: &str) -> bool {
    let hash = series(title)
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    (hash >> 20) % 2 == 0
}

fn years_apart(a: Option<i32>, b: Option<i32>) -> Option<u32> {
    a.zip(b).map(|(a, b)| a.abs_diff(b))
}

/// Whether two items may be one work: the same title, or one the other's without a subtitle, and no
/// year that tells them apart.
fn may_be_same(a: &Item, b: &Item) -> bool {
    let head = |item: &Item| mutate::without_subtitle(&item.title).map(|head| squashed(&head));
    let (full_a, full_b) = (squashed(&a.title), squashed(&b.title));
    let titled = full_a == full_b || head(a) == Some(full_b) || head(b) == Some(full_a);
    titled && years_apart(a.year, b.year).is_none_or(|years| years <= 2)
}

fn by_rule(source: &str) -> Option<QuerySet> {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let all: Vec<CatalogItem> = items(source)?;
    let (out, kept) = take_out(all, &mut rng);
    let catalog = Catalog::new(kept).unwrap();
    let mut queries = Vec::new();
    for (category, item) in out {
        let same = |(_, other): (ItemId, &CatalogItem)| may_be_same(&item, &other.item());
        if !catalog.iter().any(same) {
            queries.push(Query {
                category,
                training: in_training(&item.title),
                name: item,
                answer: None,
            });
        }
    }
    rewritten(&catalog, &mut queries, &mut rng);
    for other in ["reddit_v2", "redial", "inspired", "opendialkg_movies"] {
        if other != source && source != "opendialkg_books" {
            elsewhere(&catalog, items(other)?, &mut queries);
        }
    }
    // Names that the exact rules decide are no queries.
    queries.retain(|query| catalog.resolve(&query.name, YEAR_TOLERANCE) == Resolution::NotFound);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    queries.retain(|query| {
        let count = counts.entry(query.category).or_default();
        *count += 1;
        // Wrong years are rarer than remakes, as in what models write.
        *count
            <= if query.category == "wrong year" {
                PER_CATEGORY / 4
            } else {
                PER_CATEGORY
            }
    });
    Some(QuerySet {
        source: format!("{source}, by rule"),
        catalog,
        queries,
    })
}

/// Takes items out of a catalog: some that similar items stay in for, and some others.
fn take_out(
    items: Vec<CatalogItem>,
    rng: &mut ChaCha8Rng,
) -> (Vec<(&'static str, Item)>, Vec<CatalogItem>) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.shuffle(rng);
    let (mut by_series, mut by_title): (HashMap<String, Vec<usize>>, HashMap<String, Vec<usize>>) =
        Default::default();
    for (n, item) in items.iter().enumerate() {
        by_series.entry(series(&item.title)).or_default().push(n);
        by_title.entry(squashed(&item.title)).or_default().push(n);
    }
    let mut out: HashMap<usize, &'static str> = HashMap::new();
    let lower: Vec<String> = items.iter().map(|item| item.title.to_lowercase()).collect();
    let mut tried = 0;
    for n in order {
        let item = &items[n];
        let stays = |others: &[usize]| {
            others
                .iter()
                .any(|other| *other != n && !out.contains_key(other))
        };
        let remade = by_title[&squashed(&item.title)].iter().any(|&other| {
            years_apart(item.year, items[other].year).is_some_and(|years| years > 2)
                && !out.contains_key(&other)
        });
        let (titled, in_series) = (
            &by_title[&squashed(&item.title)],
            &by_series[&series(&item.title)],
        );
        if remade && rng.random_bool(0.4) {
            out.insert(n, "remake");
        } else if titled.len() == 1
            && in_series.len() > 1
            && stays(in_series)
            && rng.random_bool(0.3)
        {
            out.insert(n, "sequel");
        } else if in_series.len() == 1 && tried < 900 {
            tried += 1;
            let ratio = |other: usize| fuzz::ratio(lower[n].chars(), lower[other].chars());
            let nearest = (0..items.len())
                .filter(|&other| other != n)
                .map(ratio)
                .fold(0.0, f64::max);
            if nearest > 0.72 {
                out.insert(n, "near name");
            } else if rng.random_bool(0.25) {
                out.insert(n, "unknown");
            }
        }
    }
    let taken =
        |(n, item): (usize, &CatalogItem)| out.get(&n).map(|category| (*category, item.item()));
    let queries = items.iter().enumerate().filter_map(taken).collect();
    let kept = items
        .iter()
        .enumerate()
        .filter(|(n, _)| !out.contains_key(n))
        .map(|(_, item)| item.clone())
        .collect();
    (queries, kept)
}

/// Titles of the catalog in other spellings.
fn rewritten(catalog: &Catalog, queries: &mut Vec<Query>, rng: &mut ChaCha8Rng) {
    type Rewrite = fn(&str, &mut ChaCha8Rng) -> Option<String>;
    const WAYS: [(&str, Rewrite); 8] = [
        ("article", mutate::article),
        ("punctuation", mutate::punctuation),
        ("& and", mutate::and),
        ("numeral", mutate::numeral),
        ("accents", mutate::accents),
        ("typo", mutate::typo),
        ("edition added", mutate::edition),
        ("two at once", |title, rng| {
            mutate::typo(
                &mutate::punctuation(title, rng).or_else(|| mutate::article(title, rng))?,
                rng,
            )
        }),
    ];
    let mut titled: HashMap<String, Vec<ItemId>> = HashMap::new();
    let mut headed: HashMap<String, Vec<ItemId>> = HashMap::new();
    for (id, item) in catalog.iter() {
        titled.entry(squashed(&item.title)).or_default().push(id);
        if let Some(head) = mutate::without_subtitle(&item.title) {
            headed.entry(squashed(&head)).or_default().push(id);
        }
    }
    let mut order: Vec<(ItemId, &CatalogItem)> = catalog.iter().collect();
    order.shuffle(rng);
    for (id, item) in order {
        let training = in_training(&item.title);
        let mut add = |category, title: String, year, answer| {
            queries.push(Query {
                category,
                name: Item { title, year },
                answer,
                training,
            });
        };
        let alone = titled[&squashed(&item.title)].len() == 1;
        for (category, rewrite) in WAYS {
            // Half of the names without a year; some of the years are the next ones.
            let nearly = |year: i32| {
                if alone && rng.random_bool(0.15) {
                    year + [-1, 1][rng.random_range(0..2)]
                } else {
                    year
                }
            };
            let year = item
                .year
                .map(nearly)
                .filter(|_| !alone || rng.random_bool(0.5));
            let Some(title) = rewrite(&item.title, rng) else {
                continue;
            };
            let is_another = titled
                .get(&squashed(&title))
                .is_some_and(|ids| ids.len() > 1 || ids[0] != id);
            if !is_another && (alone || year.is_some()) {
                add(category, title, year, Some(id));
            }
        }
        if let Some(head) = mutate::without_subtitle(&item.title) {
            let year = item.year.filter(|_| rng.random_bool(0.7));
            let key = squashed(&head);
            let others: Vec<ItemId> = headed[&key]
                .iter()
                .copied()
                .filter(|other| *other != id)
                .collect();
            let of_another_year = |other: &ItemId| {
                years_apart(year, catalog[*other].year).is_some_and(|years| years > 0)
            };
            // "Smurfs" means "The Smurfs" where that exists, whatever it was made from.
            if !titled.contains_key(&key) {
                add(
                    "subtitle dropped",
                    head,
                    year,
                    others.iter().all(of_another_year).then_some(id),
                );
            }
        }
        if let Some(year) = item.year {
            if alone {
                add(
                    "wrong year",
                    item.title.clone(),
                    Some(mutate::wrong_year(year, rng)),
                    Some(id),
                );
            }
            let sharing = &titled[&squashed(&item.title)];
            if sharing.iter().all(|&other| {
                other == id
                    || years_apart(Some(year), catalog[other].year).is_some_and(|years| years > 2)
            }) {
                add(
                    "year in title",
                    mutate::year_in_title(&item.title, year, rng),
                    None,
                    Some(id),
                );
            }
        }
        if let Some(title) =
            mutate::sequel(&item.title, rng).filter(|title| !titled.contains_key(&squashed(title)))
        {
            let year = item
                .year
                .filter(|_| rng.random_bool(0.5))
                .map(|year| year + rng.random_range(1..5));
            if rng.random_bool(0.3)
                && series(&item.title) == squashed(&item.title)
                && by_series_is_alone(catalog, item)
            {
                add("sequel made up", title, year, None);
            }
        }
    }
}

/// Whether no other title of the catalog begins like this one.
fn by_series_is_alone(catalog: &Catalog, item: &CatalogItem) -> bool {
    let key = squashed(&item.title);
    catalog
        .iter()
        .filter(|(_, other)| squashed(&other.title).starts_with(&key))
        .count()
        == 1
}

/// Items of another catalog that are written otherwise here: the same year, and one title is the
/// other without its subtitle, articles or punctuation.
fn elsewhere(catalog: &Catalog, items: Vec<CatalogItem>, queries: &mut Vec<Query>) {
    let mut by_year: HashMap<i32, Vec<(ItemId, Item)>> = HashMap::new();
    for (id, item) in catalog.iter() {
        if let Some(year) = item.year {
            by_year.entry(year).or_default().push((id, item.item()));
        }
    }
    for item in items.iter().map(CatalogItem::item) {
        let Some(same_year) = item.year.and_then(|year| by_year.get(&year)) else {
            continue;
        };
        let same: Vec<ItemId> = same_year
            .iter()
            .filter(|(_, other)| may_be_same(&item, other))
            .map(|(id, _)| *id)
            .collect();
        if let [answer] = same[..] {
            queries.push(Query {
                category: "another catalog's",
                training: in_training(&item.title),
                name: item,
                answer: Some(answer),
            });
        }
    }
}

/// A line of a teacher's answer that names nothing of a catalog exactly, and what it means there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Label {
    /// The catalog.
    pub catalog: String,
    /// The sample.
    pub id: String,
    /// The line of the answer, from 0.
    pub line: usize,
    /// The item that it means; none where it is not in the catalog, or might be several.
    pub item: Option<Item>,
}

#[derive(Deserialize)]
struct Answer {
    id: String,
    raw: String,
}

/// The name in a line "7. Heat (1995)"; none where the line has no number.
pub fn name_in(line: &str) -> Option<Item> {
    let (number, rest) = line.trim().split_once(['.', ')'])?;
    number.parse::<u32>().ok()?;
    let rest = rest.trim();
    let year = rest
        .strip_suffix(')')
        .and_then(|inner| inner.rsplit_once(" ("))
        .and_then(|(title, year)| Some((title, year.parse().ok()?)));
    Some(year.map_or_else(
        || Item::new(rest, None),
        |(title, year)| Item::new(title, Some(year)),
    ))
}

/// The teacher's lines by sample and place.
pub fn lines() -> Option<HashMap<(String, usize), Item>> {
    let text = std::fs::read_to_string(data_path("teacher/inspired_gpt4.jsonl")?).unwrap();
    let answers = text
        .lines()
        .map(|line| serde_json::from_str::<Answer>(line).unwrap());
    let of = |answer: Answer| -> Vec<_> {
        let named = answer
            .raw
            .lines()
            .enumerate()
            .filter_map(|(n, line)| Some(((answer.id.clone(), n), name_in(line)?)));
        named.collect()
    };
    Some(answers.flat_map(of).collect())
}

fn by_hand(source: &str) -> Option<QuerySet> {
    let lines = lines()?;
    let catalog = Catalog::new(items(source)?).unwrap();
    let labels = include_str!("labels.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<Label>(line).unwrap());
    let query = |label: Label| {
        let name = lines[&(label.id, label.line)].clone();
        let answer = label.item.map(|item| {
            catalog
                .find(&item)
                .unwrap_or_else(|| panic!("{source} has no {item}"))
        });
        let category = if answer.is_some() {
            "GPT-4's line, in the catalog"
        } else {
            "GPT-4's line, not there"
        };
        Query {
            category,
            training: in_training(&name.title),
            name,
            answer,
        }
    };
    let queries = labels
        .filter(|label| label.catalog == source)
        .map(query)
        .collect();
    Some(QuerySet {
        source: format!("{source}, GPT-4's lines"),
        catalog,
        queries,
    })
}
