//! Lists under a [`ListTrie`] against an independent, slow rule for the allowed tokens.

use std::collections::BTreeSet;

use convrec_core::{Candidates, Item, ItemId};
use convrec_text::{ListFormat, ListTrie, Style, TextTokenizer, TrainConfig, TrieError, Years};
use proptest::prelude::*;
use proptest::sample::subsequence;
use sha2::{Digest, Sha256};

const PLAIN: ListFormat = ListFormat {
    style: Style::Plain,
    years: Years::Required,
};
const NUMBERED: ListFormat = ListFormat {
    style: Style::Numbered,
    years: Years::Required,
};

fn tokenizer(items: &[Item], vocab_size: usize) -> TextTokenizer {
    let corpus: Vec<String> = items.iter().map(|item| format!("{item}\n")).collect();
    TextTokenizer::train(
        corpus.iter(),
        &TrainConfig {
            vocab_size,
            ..Default::default()
        },
    )
    .unwrap()
}

/// Each line is one token.
fn whole_lines(items: &[Item]) -> TextTokenizer {
    let lines: Vec<String> = items.iter().map(|item| PLAIN.line(0, item)).collect();
    TextTokenizer::train(
        lines.iter(),
        &TrainConfig {
            vocab_size: 270,
            lines: lines.clone(),
            ..Default::default()
        },
    )
    .unwrap()
}

/// The tokens that may follow `written`: those that lead to a full list of items that are neither
/// excluded nor repeated. It tries every item at every rank.
fn slow(
    tokenizer: &TextTokenizer,
    format: ListFormat,
    end: u32,
    items: &[Item],
    n: usize,
    excluded: &[ItemId],
    written: &[u32],
) -> BTreeSet<u32> {
    let line = |rank, item| tokenizer.encode(&format.line(rank, item)).unwrap();
    let (mut rest, mut used) = (written, excluded.to_vec());
    for rank in 0..n {
        let lines = items
            .iter()
            .enumerate()
            .map(|(place, item)| (ItemId(place as u32), line(rank, item)));
        let open: Vec<(ItemId, Vec<u32>)> = lines.filter(|(id, _)| !used.contains(id)).collect();
        match open.iter().find(|(_, line)| rest.starts_with(line)) {
            Some((id, line)) => {
                used.push(*id);
                rest = &rest[line.len()..];
            }
            None => {
                return open
                    .iter()
                    .filter(|(_, line)| line.starts_with(rest))
                    .map(|(_, line)| line[rest.len()])
                    .collect();
            }
        }
    }
    if rest.is_empty() {
        [end].into()
    } else {
        BTreeSet::new()
    }
}

/// Titles that begin alike, and titles of any letters.
fn titles() -> impl Strategy<Value = Vec<Item>> {
    let title = prop_oneof![
        "(The )?(Heat|Up|Alien|Aliens)( [2-4]| II| Returns)?",
        "[a-c]{1,3}( [a-c]{1,3}){0,2}",
        "\\PC{0,6}[a-zA-Z\u{e9}\u{65e5}\u{1f600}]\\PC{0,3}",
    ];
    let year = prop_oneof![Just(None), (1990..1993i32).prop_map(Some)];
    prop::collection::btree_set((title, year), 1..40)
        .prop_map(|set| set.into_iter().map(Item::from).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn only_what_the_slow_version_allows(
        items in titles(),
        vocab in 270..600usize,
        whole: bool,
        numbered: bool,
        n in 1..6usize,
        seed in prop::collection::vec(any::<prop::sample::Index>(), 200),
        excluded in subsequence((0..40u32).collect::<Vec<_>>(), 0..20),
    ) {
        let tokenizer = if whole { whole_lines(&items) } else { tokenizer(&items, vocab) };
        let end = tokenizer.special_id("<eos>").unwrap();
        let format = if numbered { NUMBERED } else { PLAIN };
        let excluded: Vec<ItemId> = excluded.into_iter().map(ItemId).collect();
        let left = (0..items.len() as u32).filter(|id| !excluded.contains(&ItemId(*id))).count();
        let trie = match ListTrie::new(&tokenizer, format, end, &items, n) {
            // Titles that differ only in white space are one line.
            Err(TrieError::Ambiguous { items: [a, b], .. }) => {
                let line = |id: ItemId| format.line(0, &items[id.index()]);
                prop_assert!(line(b).starts_with(&line(a)), "{a:?} {b:?}");
                return Ok(());
            }
            Err(TrieError::TooFew { wanted, .. }) => {
                prop_assert_eq!(wanted, n);
                prop_assert!(items.len() < n);
                return Ok(());
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
            Ok(trie) => trie,
        };
        let mut cursor = match trie.cursor(&excluded) {
            Ok(cursor) => cursor,
            Err(error) => {
                prop_assert!(left < n, "{}", error);
                return Ok(());
            }
        };
        prop_assert!(left >= n);
        let file = tempfile::NamedTempFile::new().unwrap();
        trie.save(file.path()).unwrap();
        let opened = ListTrie::open(file.path(), &tokenizer, format, end, &items, n).unwrap();
        let mut same = opened.cursor(&excluded).unwrap();
        prop_assert_eq!(opened.first_tokens(), trie.first_tokens());
        prop_assert_eq!(opened.longest_list(), trie.longest_list());
        let mut written = vec![];
        for choice in seed.iter().cycle() {
            let allowed: BTreeSet<u32> = cursor.allowed().iter().copied().collect();
            prop_assert_eq!(allowed.len(), cursor.allowed().len());
            let expected = slow(&tokenizer, format, end, &items, n, &excluded, &written);
            prop_assert_eq!(&allowed, &expected, "after {:?}", tokenizer.decode(&written));
            prop_assert_eq!(same.allowed(), cursor.allowed());
            prop_assert!(cursor.allowed().is_sorted());
            prop_assert_eq!(cursor.forced(), expected.first().copied().filter(|_| expected.len() == 1));
            let token = *choice.get(cursor.allowed());
            // A clone is independent.
            let mut clone = cursor.clone();
            clone.push(*cursor.allowed().last().unwrap());
            drop(clone);
            cursor.push(token);
            same.push(token);
            written.push(token);
            if token == end {
                break;
            }
        }
        prop_assert!(cursor.allowed().is_empty() && same.allowed().is_empty());
        prop_assert_eq!(same.items(), cursor.items());
        prop_assert!(written.len() <= trie.longest_list());
        prop_assert!(!whole || numbered || written.len() == n + 1);
        let list: Vec<Item> = cursor.items().iter().map(|id| items[id.index()].clone()).collect();
        prop_assert_eq!(list.len(), n);
        prop_assert_eq!(cursor.items().iter().collect::<BTreeSet<_>>().len(), n);
        prop_assert!(cursor.items().iter().all(|id| !excluded.contains(id)));
        prop_assert_eq!(tokenizer.decode(&written[..written.len() - 1]), format.render(&list));
    }
}

#[test]
fn every_item_can_be_written() {
    let items: Vec<Item> = ["Heat", "Heat 2", "The Heat", "H"]
        .map(|title| Item::new(title, 1995))
        .to_vec();
    let tokenizer = tokenizer(&items, 300);
    let trie = ListTrie::new(&tokenizer, PLAIN, 0, &items, 1).unwrap();
    for (place, item) in items.iter().enumerate() {
        let mut cursor = trie.cursor(&[]).unwrap();
        tokenizer
            .encode(&PLAIN.line(0, item))
            .unwrap()
            .into_iter()
            .for_each(|token| cursor.push(token));
        assert_eq!(cursor.items(), [ItemId(place as u32)]);
        assert_eq!(cursor.allowed(), [0]);
    }
    let longest = items
        .iter()
        .map(|item| tokenizer.encode(&PLAIN.line(0, item)).unwrap().len())
        .max()
        .unwrap();
    assert_eq!(trie.longest_list(), longest + 1);
}

#[test]
fn what_cannot_be_asked_is_said() {
    let items = [Item::new("Heat", 1995), Item::new("Heat", 1995)];
    let tokenizer = tokenizer(&items, 300);
    let error = ListTrie::new(&tokenizer, PLAIN, 0, &items, 1)
        .unwrap_err()
        .to_string();
    assert!(
        error
            .contains("\"Heat (1995)\" (item 1) and \"Heat (1995)\" (item 2) cannot be told apart")
            && error.contains("they have the same name"),
        "{error}"
    );
    let error = ListTrie::new(&tokenizer, PLAIN, 0, &items[..1], 2)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a list of 2 items cannot be made of 1: there are 1 in the catalog"),
        "{error}"
    );
    let line_feed = *tokenizer
        .encode(&PLAIN.line(0, &items[0]))
        .unwrap()
        .last()
        .unwrap();
    let error = ListTrie::new(&tokenizer, PLAIN, line_feed, &items[..1], 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is among the tokens of \"Heat (1995)\""),
        "{error}"
    );
    let one = ListTrie::new(&tokenizer, PLAIN, 0, &items[..1], 1).unwrap();
    assert!(one.cursor(&[ItemId(0)]).is_err());
    assert!(one.cursor(&[ItemId(9)]).is_ok());
}

#[test]
#[should_panic(expected = "cannot come here")]
fn other_tokens_are_refused() {
    let items = [Item::new("Heat", 1995)];
    let tokenizer = tokenizer(&items, 300);
    let end = tokenizer.special_id("<eos>").unwrap();
    ListTrie::new(&tokenizer, PLAIN, end, &items, 1)
        .unwrap()
        .cursor(&[])
        .unwrap()
        .push(end);
}

/// The bytes with the caller's changes and a correct checksum, for damaged files.
fn with_checksum(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes[..bytes.len() - 32].to_vec();
    change(&mut bytes);
    bytes.extend(Sha256::digest(&bytes));
    bytes
}

#[test]
fn damaged_files_are_refused_and_never_walked_out_of() {
    let items: Vec<Item> = ["Heat", "Heat 2", "The Heat", "Up"]
        .map(|title| Item::new(title, 1995))
        .to_vec();
    let tokenizer = tokenizer(&items, 300);
    let file = tempfile::NamedTempFile::new().unwrap();
    for format in [PLAIN, NUMBERED] {
        let trie = ListTrie::new(&tokenizer, format, 6, &items, 2).unwrap();
        trie.save(file.path()).unwrap();
        let good = std::fs::read(file.path()).unwrap();
        let path = file.path().with_extension("damaged");
        let open = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let opened = ListTrie::open(&path, &tokenizer, format, 6, &items, 2);
            // Some file systems wait for the disk when a file is overwritten.
            std::fs::remove_file(&path).unwrap();
            opened
        };
        assert!(open(&good).is_ok());
        for length in 0..good.len() {
            let error = open(&good[..length]).unwrap_err();
            assert!(matches!(error, TrieError::Damaged { .. }), "{error}");
            assert!(
                error.to_string().contains(&path.display().to_string()),
                "{error}"
            );
            if length >= 32 {
                assert!(open(&with_checksum(&good, |bytes| bytes.truncate(length - 32))).is_err());
            }
        }
        assert!(open(&[&good[..], &[0; 4]].concat()).is_err());
        assert!(open(&with_checksum(&good, |bytes| bytes.extend([0; 4]))).is_err());
        for at in 0..good.len() {
            for flip in [0x01, 0x02, 0x08, 0x80] {
                if at + 32 >= good.len() || flip == 0x80 {
                    let mut bytes = good.clone();
                    bytes[at] ^= flip;
                    assert!(open(&bytes).is_err());
                    continue;
                }
                // Where the arrays still make another trie, it can be walked.
                let Ok(trie) = open(&with_checksum(&good, |bytes| bytes[at] ^= flip)) else {
                    continue;
                };
                assert!(trie.longest_list() < 100);
                for choice in 0..4 {
                    let mut cursor = trie.cursor(&[ItemId(choice)]).unwrap();
                    while !cursor.allowed().is_empty() {
                        let token = cursor.allowed()[choice as usize % cursor.allowed().len()];
                        cursor.push(token);
                    }
                    assert!(cursor.items().len() == 2 && cursor.items()[0] != cursor.items()[1]);
                    assert!(!cursor.items().contains(&ItemId(choice)));
                }
            }
        }
    }
}

#[test]
fn a_file_made_from_something_else_is_refused() {
    let items = ["Heat", "Alien", "Up"].map(|title| Item::new(title, 1995));
    let (tokenizer, other) = (tokenizer(&items, 300), tokenizer(&items, 264));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper/trie");
    let trie = ListTrie::new(&tokenizer, PLAIN, 6, &items, 2).unwrap();
    trie.save(&path).unwrap();
    let open =
        |tokenizer, format, end, items, n| ListTrie::open(&path, tokenizer, format, end, items, n);
    let differs = |opened: Result<ListTrie, TrieError>, says: &str| {
        let error = opened.unwrap_err();
        assert!(matches!(error, TrieError::Differs { .. }), "{error}");
        assert!(
            error.to_string().contains("deeper/trie") && error.to_string().contains(says),
            "{error}"
        );
    };
    assert!(open(&tokenizer, PLAIN, 6, &items, 2).is_ok());
    // Years only matter for reading.
    assert!(
        open(
            &tokenizer,
            ListFormat {
                years: Years::Optional,
                ..PLAIN
            },
            6,
            &items,
            2
        )
        .is_ok()
    );
    differs(
        open(&tokenizer, NUMBERED, 6, &items, 2),
        "the list style differs",
    );
    differs(
        open(&tokenizer, PLAIN, 5, &items, 2),
        "the end token: 6 in the file, 5 asked for",
    );
    differs(
        open(&tokenizer, PLAIN, 6, &items, 3),
        "items in a list: 2 in the file, 3 asked for",
    );
    differs(
        open(&tokenizer, PLAIN, 6, &items[..2], 2),
        "items in the catalog: 3 in the file, 2 asked for",
    );
    let reversed = [items[2].clone(), items[1].clone(), items[0].clone()];
    differs(
        open(&tokenizer, PLAIN, 6, &reversed, 2),
        "names, or their order, differ",
    );
    differs(open(&other, PLAIN, 6, &items, 2), "the tokenizer differs");
    assert!(matches!(
        open(&tokenizer, PLAIN, 6, &items, 4),
        Err(TrieError::TooFew { .. })
    ));

    // The same tokenizer from its file is the same.
    let saved = folder.path().join("tokenizer.json");
    tokenizer.save(&saved).unwrap();
    let loaded = TextTokenizer::load(&saved).unwrap();
    let opened = open(&loaded, PLAIN, 6, &items, 2).unwrap();
    // An open file stays readable when another one takes its place.
    ListTrie::new(&other, NUMBERED, 6, &items, 3)
        .unwrap()
        .save(&path)
        .unwrap();
    assert_eq!(opened.clone().first_tokens(), trie.first_tokens());

    std::fs::write(&path, "no trie").unwrap();
    assert!(
        open(&tokenizer, PLAIN, 6, &items, 2)
            .unwrap_err()
            .to_string()
            .contains("is no token trie")
    );
    std::fs::remove_file(&path).unwrap();
    assert!(
        open(&tokenizer, PLAIN, 6, &items, 2)
            .unwrap_err()
            .to_string()
            .contains("cannot read")
    );
}

#[test]
fn no_ranks_are_refused() {
    let items = [Item::new("Heat", 1995)];
    let tokenizer = tokenizer(&items, 300);
    for items in [&items[..], &[]] {
        let error = ListTrie::new(&tokenizer, NUMBERED, 0, items, 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`n_ranks` is 0"), "{error}");
    }
}

/// The share of forced tokens in a list, for the catalog of the paper's data with a real model's
/// tokenizer.
#[test]
fn a_real_catalog_with_a_real_tokenizer() {
    let Some(catalog) = convrec_testdata::data_path("catalog/reddit_v2.jsonl") else {
        return;
    };
    let Some(model) = convrec_testdata::model_path("smollm2-135m-instruct/tokenizer.json") else {
        return;
    };
    let items: Vec<convrec_core::CatalogItem> = convrec_core::jsonl::read_file(catalog).unwrap();
    let items: Vec<Item> = items.iter().map(|item| item.item()).collect();
    let tokenizer = TextTokenizer::load(model).unwrap();
    let trie = ListTrie::new(&tokenizer, PLAIN, 2, &items, 20).unwrap();
    let (mut tokens, mut decisions) = (0, 0);
    for (place, item) in items.iter().enumerate() {
        let mut cursor = trie.cursor(&[]).unwrap();
        for token in tokenizer.encode(&PLAIN.line(0, item)).unwrap() {
            tokens += 1;
            decisions += usize::from(cursor.allowed().len() > 1);
            cursor.push(token);
        }
        assert_eq!(cursor.items(), [ItemId(place as u32)]);
    }
    // Whole lists, drawn at random, with a different half of the catalog excluded each time.
    let mut state = 7u64;
    let mut draw = |n: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for _ in 0..200 {
        let excluded: Vec<ItemId> = (0..items.len() as u32)
            .filter(|_| draw(2) == 0)
            .map(ItemId)
            .collect();
        let mut cursor = trie.cursor(&excluded).unwrap();
        let mut written = vec![];
        while !cursor.allowed().is_empty() {
            let token = cursor.allowed()[draw(cursor.allowed().len())];
            cursor.push(token);
            written.push(token);
        }
        assert_eq!(written.pop(), Some(2));
        let mut found = cursor.items().to_vec();
        let text = tokenizer.decode(&written);
        let names: Vec<String> = found
            .iter()
            .map(|id| items[id.index()].to_string() + "\n")
            .collect();
        assert_eq!(text, names.concat());
        assert!(found.iter().all(|id| excluded.binary_search(id).is_err()));
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 20);
    }
    let of_item = |count: usize| count as f64 / items.len() as f64;
    let (tokens, decisions) = (of_item(tokens), of_item(decisions));
    println!(
        "{tokens:.2} tokens, {decisions:.2} decisions an item; {} first tokens",
        trie.first_tokens().len()
    );
    assert!(decisions < tokens / 3.0);
}

/// Twins are used up together, whether seen or written, and nothing else changes.
#[test]
fn twins_are_written_once() {
    let items: Vec<Item> = ["Heat", "Heat ", "Alien", "Up", "Jaws"]
        .map(|title| Item::new(title, 1995))
        .to_vec();
    let tokenizer = tokenizer(&items, 300);
    for format in [PLAIN, NUMBERED] {
        let trie = ListTrie::new(&tokenizer, format, 6, &items, 2).unwrap();
        let groups = [vec![ItemId(0), ItemId(1)], vec![ItemId(3), ItemId(2)]];
        let trie = trie.with_twins(&groups).unwrap();
        let rest = |written: usize, excluded: &[ItemId]| -> Vec<Item> {
            let mut cursor = trie.cursor(excluded).unwrap();
            for (rank, item) in items[written..=written].iter().enumerate() {
                let line = tokenizer.encode(&format.line(rank, item)).unwrap();
                line.into_iter().for_each(|token| cursor.push(token));
            }
            let goes_on = |(_, item): &(usize, &Item)| {
                let mut cursor = cursor.clone();
                let line = tokenizer.encode(&format.line(1, item)).unwrap();
                line.into_iter().all(|token| cursor.try_push(token).is_ok())
            };
            let open = items.iter().enumerate().filter(goes_on);
            open.map(|(_, item)| item.clone()).collect()
        };
        assert_eq!(rest(0, &[]), items[2..]);
        assert_eq!(rest(4, &[ItemId(1)]), items[2..4]);
        assert_eq!(rest(2, &[ItemId(4)]), items[..2]);
        let error = trie.cursor(&[ItemId(0), ItemId(4)]).unwrap_err();
        assert!(
            matches!(
                error,
                TrieError::TooFew {
                    wanted: 2,
                    left: 1,
                    all: 3
                }
            ),
            "{error}"
        );
        for groups in [
            vec![vec![ItemId(0), ItemId(0)]],
            vec![vec![ItemId(9)]],
            vec![vec![ItemId(0)], vec![ItemId(0)]],
        ] {
            let error = trie.clone().with_twins(&groups).unwrap_err();
            assert!(matches!(error, TrieError::Twins { .. }), "{error}");
        }
        let all: Vec<ItemId> = (0..5).map(ItemId).collect();
        assert!(matches!(
            trie.clone().with_twins(&[all]),
            Err(TrieError::TooFew { .. })
        ));
    }
}

/// A trie of token ids is the trie of their text; cursors own what they need.
#[test]
fn token_ids_alone_make_the_same_trie() {
    let items: Vec<Item> = ["Heat", "Heat 2", "The Heat", "Up"]
        .map(|title| Item::new(title, 1995))
        .to_vec();
    let tokenizer = tokenizer(&items, 300);
    let name = |item: &Item| tokenizer.encode(&item.to_string()).unwrap();
    let names: Vec<Vec<u32>> = items.iter().map(name).collect();
    let line_feed = tokenizer.encode("\n").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let made = ListTrie::from_token_ids(&names, &line_feed, 6, 3).unwrap();
    made.save(file.path()).unwrap();
    let opened = ListTrie::open_token_ids(file.path(), &names, &line_feed, 6, 3).unwrap();
    let error = ListTrie::open_token_ids(file.path(), &names, &[0], 6, 3).unwrap_err();
    assert!(matches!(error, TrieError::Differs { .. }), "{error}");
    let mut cursors = [made, opened].map(|trie| trie.cursor(&[ItemId(3)]).unwrap());
    let handle = std::thread::spawn(move || {
        while !cursors[0].is_done() {
            assert_eq!(cursors[0].allowed(), cursors[1].allowed());
            let token = cursors[0].allowed()[0];
            cursors.iter_mut().for_each(|cursor| cursor.push(token));
        }
        cursors[0].items().to_vec()
    });
    let mut list = handle.join().unwrap();
    list.sort_unstable();
    assert_eq!(list, [ItemId(0), ItemId(1), ItemId(2)]);

    let problem = |items: &[&[u32]], separator: &[u32]| {
        ListTrie::from_token_ids(items, separator, 6, 1)
            .unwrap_err()
            .to_string()
    };
    let apart = problem(&[&[1], &[2], &[1, 2]], &[]);
    assert!(
        apart.contains("item 1 and item 3 cannot be told apart"),
        "{apart}"
    );
    assert!(problem(&[&[1], &[1]], &[7]).contains("the same tokens"));
    assert!(problem(&[&[1], &[]], &[]).contains("item 2 has no tokens"));
    assert!(problem(&[&[1, 6]], &[]).contains("the end token 6 is among the tokens of item 1"));
    assert!(problem(&[], &[]).contains("a list of 1 items cannot be made of 0"));
}

/// A catalog that several threads tokenize has the trie of its lines in order.
#[test]
fn large_catalogs_are_tokenized_in_order() {
    let name = |n: i32| Item::new(format!("Film {}", n * 7919 % 10_007), 1930 + n % 90);
    let items: Vec<Item> = (0..9000).map(name).collect();
    let tokenizer = tokenizer(&items[..200], 300);
    let end = tokenizer.special_id("<eos>").unwrap();
    let lines = items.iter().map(|item| {
        let line = PLAIN.line(0, item);
        tokenizer.encode_exactly(&line).unwrap()
    });
    let lines: Vec<Vec<u32>> = lines.collect();
    let folder = tempfile::tempdir().unwrap();
    let arrays = |name: &str, trie: ListTrie| {
        let path = folder.path().join(name);
        trie.save(&path).unwrap();
        // Without the hashes of what each was made from, and of the whole file.
        let bytes = std::fs::read(path).unwrap();
        bytes[96..bytes.len() - 32].to_vec()
    };
    let several = ListTrie::new(&tokenizer, PLAIN, end, &items, 20).unwrap();
    let one = ListTrie::from_token_ids(&lines, &[], end, 20).unwrap();
    assert!(arrays("several", several) == arrays("one", one));
}

/// All tokens but the allowed ones are masked, at every step, for any logits.
#[test]
fn a_mask_leaves_what_is_allowed() {
    let items: Vec<Item> = ["Heat", "Heat 2", "Up"]
        .map(|title| Item::new(title, 1995))
        .to_vec();
    let tokenizer = tokenizer(&items, 300);
    let trie = ListTrie::new(&tokenizer, PLAIN, 6, &items, 3).unwrap();
    let mut cursor = trie.cursor(&[]).unwrap();
    loop {
        // There may be more logits than tokens, as vocabularies are padded.
        let mut logits: Vec<f32> = (0..tokenizer.vocab_size() + 9)
            .map(|id| -(id as f32))
            .collect();
        cursor.mask(&mut logits);
        for (id, logit) in logits.iter().enumerate() {
            let is_allowed = cursor.is_allowed(id as u32);
            assert_eq!(*logit == -(id as f32), is_allowed, "{id}");
            assert_eq!(*logit == f32::NEG_INFINITY, !is_allowed, "{id}");
        }
        let mut bits = vec![0xdead_beef; logits.len().div_ceil(32)];
        cursor.mask_bits(&mut bits);
        for id in 0..32 * bits.len() {
            let is_set = bits[id / 32] >> (id % 32) & 1 == 1;
            assert_eq!(is_set, cursor.is_allowed(id as u32), "{id}");
        }
        let Some(token) = logits.iter().position(|logit| logit.is_finite()) else {
            break;
        };
        let before = cursor.clone();
        let error = cursor.try_push(299).unwrap_err();
        assert!(
            error.to_string().contains("token 299 cannot come here"),
            "{error}"
        );
        assert_eq!(cursor.allowed(), before.allowed());
        cursor.push(token as u32);
    }
    assert!(cursor.is_done() && cursor.items().len() == 3);
}

/// The lists that can be written, by trying every order of the candidates that are left.
fn lists(n: usize, left: &[u32]) -> BTreeSet<Vec<u32>> {
    if n == 0 {
        return [vec![]].into();
    }
    let with = |first: &u32| {
        let others: Vec<u32> = left.iter().copied().filter(|id| id != first).collect();
        lists(n - 1, &others)
            .into_iter()
            .map(|rest| [vec![*first], rest].concat())
            .collect::<Vec<_>>()
    };
    left.iter().flat_map(with).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Candidates that are drawn by their scores alone: every token that the cursor allows goes on
    /// to some list, and a list is as likely as when its items are drawn one by one without the
    /// others' spelling.
    #[test]
    fn candidates_alone_are_written_and_their_prior_is_that_of_items(
        tokens in prop::collection::btree_set(prop::collection::vec(0..3u32, 3), 2..8),
        n in 1..4usize,
        scores in prop::collection::vec(-3.0..3.0f32, 8),
        candidates in subsequence((0..10u32).collect::<Vec<_>>(), 0..7),
        excluded in subsequence((0..8u32).collect::<Vec<_>>(), 0..3),
    ) {
        let items: Vec<Vec<u32>> = tokens.into_iter().collect();
        prop_assume!(items.len() >= n);
        let trie = ListTrie::from_token_ids(&items, &[], 9, n).unwrap();
        let left: Vec<u32> = candidates
            .iter()
            .copied()
            .filter(|id| (*id as usize) < items.len() && !excluded.contains(id))
            .collect();
        let excluded: Vec<ItemId> = excluded.into_iter().map(ItemId).collect();
        let ids = || candidates.iter().map(|id| ItemId(*id));
        let score = |id: u32| scores[id as usize % 8];
        let scored = Candidates::scored(ids().map(|id| (id, score(id.0))));
        let Ok(cursor) = trie.cursor_among(&excluded, &scored) else {
            prop_assert!(left.is_empty());
            return Ok(());
        };
        let plain = trie.cursor_among(&excluded, &Candidates::new(ids())).unwrap();
        let n = n.min(left.len());
        prop_assert_eq!(cursor.n_ranks(), n);
        let mut found = BTreeSet::new();
        let mut open = vec![(cursor, plain, 1.0f64)];
        while let Some((cursor, plain, probability)) = open.pop() {
            prop_assert_eq!(cursor.allowed(), plain.allowed());
            prop_assert!(plain.prior().is_none());
            if cursor.is_done() {
                let list: Vec<u32> = cursor.items().iter().map(|id| id.0).collect();
                let mut others = left.clone();
                let mut expected = 1.0;
                for item in &list {
                    let all: f64 = others.iter().map(|id| f64::from(score(*id)).exp()).sum();
                    expected *= f64::from(score(*item)).exp() / all;
                    others.retain(|id| id != item);
                }
                prop_assert!((probability / expected - 1.0).abs() < 1e-4, "{probability} {expected}");
                found.insert(list);
                continue;
            }
            let weights: Vec<f64> = match cursor.prior() {
                Some(prior) => prior.iter().map(|logit| f64::from(*logit).exp()).collect(),
                None => vec![1.0],
            };
            prop_assert_eq!(weights.len(), cursor.allowed().len());
            let all: f64 = weights.iter().sum();
            for (token, weight) in cursor.allowed().iter().zip(weights) {
                let (mut next, mut plain) = (cursor.clone(), plain.clone());
                next.push(*token);
                plain.push(*token);
                open.push((next, plain, probability * weight / all));
            }
        }
        prop_assert_eq!(found, lists(n, &left));
    }
}

#[test]
fn candidates_that_are_twins_are_one_and_numbered_lists_may_be_short() {
    let items: Vec<Item> = ["Heat", "Heat 2", "The Heat", "Up"]
        .map(|title| Item::new(title, 1995))
        .to_vec();
    let tokenizer = tokenizer(&items, 300);
    let trie = ListTrie::new(&tokenizer, NUMBERED, 6, &items, 3).unwrap();
    let trie = trie
        .with_twins(&[vec![ItemId(0), ItemId(1), ItemId(3)]])
        .unwrap_err();
    assert!(matches!(trie, TrieError::TooFew { .. }));
    let trie = ListTrie::new(&tokenizer, NUMBERED, 6, &items, 2)
        .unwrap()
        .with_twins(&[vec![ItemId(0), ItemId(1), ItemId(3)]])
        .unwrap();
    let candidates = Candidates::new([ItemId(0), ItemId(3)]);
    let mut cursor = trie.cursor_among(&[], &candidates).unwrap();
    assert_eq!(cursor.n_ranks(), 1);
    while !cursor.is_done() {
        cursor.push(cursor.allowed()[0]);
    }
    assert_eq!(cursor.items().len(), 1);
    assert_eq!(
        trie.cursor_among(&[ItemId(1)], &candidates)
            .unwrap_err()
            .to_string(),
        "none of the 2 candidates can be listed; expected at least one item of the catalog that \
         was not seen"
    );
    let both = Candidates::new([ItemId(2), ItemId(3)]);
    let mut cursor = trie.cursor_among(&[], &both).unwrap();
    while !cursor.is_done() {
        cursor.push(cursor.allowed()[0]);
    }
    let written: BTreeSet<ItemId> = cursor.items().iter().copied().collect();
    assert_eq!(written, [ItemId(2), ItemId(3)].into());
}
