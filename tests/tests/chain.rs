//! `golden/chain.json`: from sampled token ids to advantages per token, in one go.
//!
//! Once as the paper's public code does it, exactly; and once by this project's own path, which
//! must give the same where a list is well-formed and its items cannot be mistaken.

use std::collections::HashSet;

use convrec_catalog::reference::{hits, read_year};
use convrec_catalog::{Catalog, normalise, relevance_of_names};
use convrec_core::{CatalogItem, Item};
use convrec_metrics::rewards::RankReward;
use convrec_testdata::{golden_as, tokenizer_path};
use convrec_text::parse::parse_reference;
use convrec_text::segments::{END, Segmentation, TokenRanks, until_end};
use convrec_text::{ListFormat, ParsedList, TextTokenizer};
use rank_grpo::{
    LengthShaping, ListEnd, ScaleRewards, Segments, group_advantages, reference, spread,
};
use serde::Deserialize;
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    n_cases: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    num_generations: usize,
    rec_num: usize,
    year_tolerance: i64,
    scale_rewards: bool,
    reward: RankReward,
    eos_token_id: u32,
    end_of_list_reward: f64,
    extra_token_penalty: f64,
    early_stop_penalty: f64,
    completion_ids: Vec<Vec<u32>>,
    completion_texts: Vec<String>,
    #[serde(rename = "groundtruth")]
    ground_truth: Vec<Vec<(String, Value)>>,
    /// Titles.
    seen: Vec<Vec<String>>,
    catalog: Vec<(String, i32)>,
    rewards: Vec<Vec<f64>>,
    advantages: Vec<Vec<Option<f64>>>,
    item_seg_ids: Vec<Vec<i64>>,
    token_advantages: Vec<Vec<Option<f64>>>,
}

/// What one of the two paths makes of a completion.
struct Row {
    relevant: Vec<bool>,
    /// `[T]`, the end token with its segment, padding -1.
    ranks: Vec<i64>,
    end: ListEnd,
}

impl Case {
    fn ground_truth(&self, row: usize) -> Vec<Item> {
        let year = |year: &Value| match year {
            Value::String(text) => read_year(text),
            year => year.as_i64().and_then(|year| i32::try_from(year).ok()),
        };
        self.ground_truth[row]
            .iter()
            .map(|(title, y)| Item::new(title.as_str(), year(y)))
            .collect()
    }

    fn tolerance(&self) -> u32 {
        self.year_tolerance.max(0) as u32
    }

    fn shaping(&self) -> LengthShaping {
        let (exact, early) = (self.end_of_list_reward, self.early_stop_penalty);
        LengthShaping {
            exact,
            early,
            extra: self.extra_token_penalty,
        }
    }

    fn padded(&self, row: usize, ranks: impl Iterator<Item = i64>) -> Vec<i64> {
        let mut ranks: Vec<i64> = ranks.collect();
        ranks.resize(self.completion_ids[row].len(), -1);
        ranks
    }

    fn rewards(&self, rows: &[Row]) -> Vec<Vec<f64>> {
        rows.iter()
            .map(|row| self.reward.rewards(&row.relevant))
            .collect()
    }

    fn segments(&self, rows: &[Row]) -> Segments {
        let ids: Vec<i64> = rows
            .iter()
            .flat_map(|row| row.ranks.iter().copied())
            .collect();
        Segments::ranks_and_overflow(&ids, self.rec_num)
    }
}

/// The paper's public code: one rule reads the items, another counts line feeds.
fn by_reference(tokenizer: &TextTokenizer, case: &Case, row: usize) -> Row {
    let (ids, ended) = until_end(&case.completion_ids[row], case.eos_token_id);
    let text = tokenizer.decode(ids);
    assert_eq!(text, case.completion_texts[row], "{}, row {row}", case.id);
    let catalog: HashSet<Item> = case
        .catalog
        .iter()
        .map(|(title, year)| Item::new(title.as_str(), *year))
        .collect();
    let relevant = hits(
        &parse_reference(&text),
        &case.seen[row],
        &case.ground_truth(row),
        |item| catalog.contains(item),
        case.rec_num,
        case.tolerance(),
    );
    let bytes = ids.iter().map(|&id| tokenizer.token_bytes(id));
    let TokenRanks { ranks, items, .. } =
        Segmentation::Reference.segment(&ParsedList::default(), bytes, ended);
    let end = ListEnd {
        n_items: items,
        end_token: ended.then(|| ids.len() - 1),
    };
    Row {
        relevant,
        ranks: case.padded(row, ranks.into_iter().map(i64::from)),
        end,
    }
}

/// This project's way: one parse for items and tokens.
fn by_default(tokenizer: &TextTokenizer, case: &Case, row: usize) -> Row {
    let catalog = case.catalog.iter().map(|(title, year)| CatalogItem {
        title: title.clone(),
        year: Some(*year),
        genres: Vec::new(),
        metadata: String::new(),
    });
    let catalog = Catalog::new(catalog.collect()).unwrap();
    let (ids, ended) = until_end(&case.completion_ids[row], case.eos_token_id);
    let list = ListFormat::default().parse(&tokenizer.decode(ids));
    let names: Vec<Item> = list.items().take(case.rec_num).cloned().collect();
    let seen: Vec<Item> = case.seen[row]
        .iter()
        .map(|title| Item::new(title.as_str(), None))
        .collect();
    let mut relevant = relevance_of_names(
        &catalog,
        &names,
        &case.ground_truth(row),
        &seen,
        case.tolerance(),
    );
    relevant.resize(case.rec_num, false);
    let bytes = ids.iter().map(|&id| tokenizer.token_bytes(id));
    let TokenRanks { ranks, items, .. } = Segmentation::OneParse.segment(&list, bytes, ended);
    let last = items as i64 - 1;
    let ranks = ranks
        .into_iter()
        .map(|rank| if rank == END { last } else { i64::from(rank) });
    let end = ListEnd {
        n_items: items,
        end_token: ended.then(|| ids.len() - 1),
    };
    Row {
        relevant,
        ranks: case.padded(row, ranks),
        end,
    }
}

/// Whether both ways must read the same from a text: it is what this project would write for the
/// items it holds.
fn must_read_alike(case: &Case, row: usize) -> bool {
    let text = case.completion_texts[row].as_str();
    let items: Vec<Item> = ListFormat::default().parse(text).items().cloned().collect();
    ListFormat::default().render(&items).trim_end() == text && items == parse_reference(text)
}

/// Whether both ways must find the same items right: each title that is listed and right is right
/// once, in the catalog once, listed as it is there, and if seen, seen under that very name.
fn must_match_alike(case: &Case, row: usize) -> bool {
    let right = case.ground_truth(row);
    let list = parse_reference(&case.completion_texts[row]);
    list.iter().all(|item| {
        let title = normalise(&item.title);
        let right: Vec<&Item> = right
            .iter()
            .filter(|item| normalise(&item.title) == title)
            .collect();
        let films: Vec<_> = case
            .catalog
            .iter()
            .filter(|(other, _)| normalise(other) == title)
            .collect();
        let seen: Vec<_> = case.seen[row]
            .iter()
            .filter(|seen| normalise(seen) == title)
            .collect();
        right.is_empty()
            || right.len() == 1
                && right[0].year.is_some()
                && films.len() == 1
                && (&films[0].0, Some(films[0].1)) == (&item.title, item.year)
                && (seen.is_empty() || seen.contains(&&item.title))
    })
}

fn tokenizer() -> Option<TextTokenizer> {
    Some(TextTokenizer::load(tokenizer_path()?).unwrap())
}

fn cases() -> Vec<Case> {
    let golden: Golden = golden_as("chain.json");
    assert!(
        golden.n_cases == golden.cases.len() && golden.n_cases > 0,
        "chain.json is not whole"
    );
    golden.cases
}

/// NaN equals NaN here.
fn assert_same(what: &str, found: &[f64], expected: impl IntoIterator<Item = Option<f64>>) {
    let expected: Vec<Option<f64>> = expected.into_iter().collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = expected.map_or(found.is_nan(), |expected| {
            (found - expected).abs() <= TOLERANCE
        });
        assert!(same, "{what}, entry {place}: {found} is not {expected:?}");
    }
}

#[test]
fn the_reference_from_ids_to_token_advantages() {
    let Some(tokenizer) = tokenizer() else { return };
    for case in cases() {
        let rows: Vec<Row> = (0..case.completion_ids.len())
            .map(|row| by_reference(&tokenizer, &case, row))
            .collect();
        let rewards = case.rewards(&rows);
        assert_same(
            &format!("{}: rewards", case.id),
            &rewards.concat(),
            case.rewards.concat().into_iter().map(Some),
        );
        for (row, expected) in rows.iter().zip(&case.item_seg_ids) {
            assert_eq!(row.ranks, *expected, "{}", case.id);
        }
        let advantages =
            reference::group_advantages(&rewards, case.num_generations, case.scale_rewards)
                .unwrap();
        assert_same(
            &format!("{}: advantages", case.id),
            &advantages.concat(),
            case.advantages.concat(),
        );
        let ends: Vec<Option<usize>> = rows.iter().map(|row| row.end.end_token).collect();
        let tokens =
            reference::token_advantages(&advantages, &case.segments(&rows), &ends, &case.shaping())
                .unwrap();
        assert_same(
            &format!("{}: token advantages", case.id),
            &tokens,
            case.token_advantages.concat(),
        );
    }
}

#[test]
fn the_default_path_agrees_on_well_formed_lists() {
    let Some(tokenizer) = tokenizer() else { return };
    let (mut read_alike, mut matched_alike) = (0, 0);
    for case in cases() {
        let rows: Vec<Row> = (0..case.completion_ids.len())
            .map(|row| by_default(&tokenizer, &case, row))
            .collect();
        // Advantages compare completions of which not all are well-formed, so they start from the
        // golden rewards.
        let scale = if case.scale_rewards {
            ScaleRewards::Group
        } else {
            ScaleRewards::None
        };
        let advantages = group_advantages(&case.rewards, case.num_generations, scale)
            .unwrap()
            .values;
        let segments = case.segments(&rows);
        let mut tokens = spread(&advantages, &segments).unwrap();
        let ends: Vec<ListEnd> = rows.iter().map(|row| row.end).collect();
        case.shaping().apply(&mut tokens, &segments, &ends).unwrap();
        let width = tokens.len() / rows.len();
        for row in (0..rows.len()).filter(|&row| must_read_alike(&case, row)) {
            let what = format!("{}, row {row}", case.id);
            assert_eq!(rows[row].ranks, case.item_seg_ids[row], "{what}");
            // A group of one has no advantage where the reference has NaN.
            let expected = case.advantages[row]
                .iter()
                .map(|advantage| Some(advantage.unwrap_or(0.0)));
            assert_same(&format!("{what}: advantages"), &advantages[row], expected);
            if case.advantages[row].iter().all(Option::is_some) {
                let tokens = &tokens[row * width..(row + 1) * width];
                assert_same(
                    &format!("{what}: token advantages"),
                    tokens,
                    case.token_advantages[row].iter().copied(),
                );
            }
            read_alike += 1;
            if must_match_alike(&case, row) {
                let rewards = case.reward.rewards(&rows[row].relevant);
                assert_same(
                    &format!("{what}: rewards"),
                    &rewards,
                    case.rewards[row].iter().copied().map(Some),
                );
                matched_alike += 1;
            }
        }
    }
    println!("{read_alike} completions read alike, {matched_alike} of them matched alike");
    assert!(
        read_alike > 0 && matched_alike > 0,
        "chain.json holds no well-formed list"
    );
}
