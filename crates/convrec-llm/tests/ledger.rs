//! The ledger's file: torn ends, damage, other writers, other files.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::thread;

use common::new_ledger;
use convrec_llm::{Ledger, Record, RequestKey, Tokens};
use proptest::prelude::*;

fn record(name: &str, text: &str) -> Record {
    Record {
        key: RequestKey::of(&name.into()),
        model: "test-model".into(),
        time: 1_700_000_000,
        tokens: Tokens {
            input: 3,
            output: 4,
        },
        finish: Some("stop".into()),
        text: text.into(),
    }
}

/// The file of a ledger with these texts, and where each record ends.
fn file_of(texts: &[String], path: &Path) -> (Vec<u8>, Vec<usize>) {
    let ledger = Ledger::open(path).unwrap();
    let mut ends = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        ledger.keep([record(&index.to_string(), text)]).unwrap();
        ends.push(std::fs::metadata(path).unwrap().len() as usize);
    }
    drop(ledger);
    (std::fs::read(path).unwrap(), ends)
}

#[test]
fn a_line_is_json_with_everything_in_it() {
    let (folder, ledger) = new_ledger();
    ledger.keep([record("a", "1. Heat\n\u{0}\"")]).unwrap();
    let text = std::fs::read_to_string(folder.path().join("ledger.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    // The key is the SHA-256 of `"a"`, quotes included.
    assert_eq!(
        line["key"],
        "ac8d8342bbb2362d13f0a559a3621bb407011368895164b628a54f7fc33fc43c"
    );
    assert_eq!(line["text"], "1. Heat\n\u{0}\"");
    assert_eq!(
        (line["time"].as_u64(), line["input_tokens"].as_u64()),
        (Some(1_700_000_000), Some(3))
    );
    assert_eq!(
        (line["model"].as_str(), line["finish"].as_str()),
        (Some("test-model"), Some("stop"))
    );
    assert_eq!(
        ledger.get(&RequestKey::of(&"a".into())).unwrap(),
        Some(record("a", "1. Heat\n\u{0}\""))
    );
    assert_eq!(ledger.get(&RequestKey::of(&"b".into())).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn cut_anywhere_it_opens_with_the_whole_records_before(
        texts in prop::collection::vec(".{0,20}", 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, ends) = file_of(&texts, &folder.path().join("whole"));
        let path = folder.path().join("cut");
        for len in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..len]).unwrap();
            let ledger = Ledger::open(&path).unwrap();
            let whole = ends.iter().filter(|&&end| end <= len).count();
            prop_assert_eq!(ledger.len(), whole);
            let start = if whole == 0 { 0 } else { ends[whole - 1] };
            prop_assert_eq!(ledger.torn(), (len - start) as u64);
            for (index, text) in texts[..whole].iter().enumerate() {
                let kept = ledger
                    .get(&RequestKey::of(&index.to_string().into()))
                    .unwrap()
                    .unwrap();
                prop_assert_eq!(&kept.text, text);
            }
            // It then goes on as usual. Waiting for the disk takes long, so this is not tested
            // every time.
            if len % 16 == 0 {
                ledger.keep([record("new", "text")]).unwrap();
                drop(ledger);
                prop_assert_eq!(Ledger::open(&path).unwrap().len(), whole + 1);
            }
        }
    }

    #[test]
    fn a_changed_byte_is_found_with_its_line(
        texts in prop::collection::vec(".{0,40}", 2..5),
        at in any::<prop::sample::Index>(),
        change in 1u8..=255,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let (mut bytes, ends) = file_of(&texts, &path);
        let at = at.index(bytes.len() - 1);
        bytes[at] ^= change;
        std::fs::write(&path, &bytes).unwrap();
        let error = Ledger::open(&path).unwrap_err().to_string();
        let line = ends.iter().filter(|&&end| end <= at).count() + 1;
        let name = format!("{}, line {line}", path.display());
        prop_assert!(
            error.starts_with(&name),
            "{} is not of line {}",
            error,
            line
        );
        prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conversations.jsonl");
    for text in [
        "{\"id\": \"c-1\"}\n",
        "{\"id\": \"c-1\"}",
        "one line",
        "\n\n",
    ] {
        std::fs::write(&path, text).unwrap();
        let error = Ledger::open(&path).unwrap_err().to_string();
        assert!(error.contains("line 1: not a line of a ledger"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn a_second_writer_is_told() {
    let (folder, ledger) = new_ledger();
    let path = folder.path().join("ledger.jsonl");
    let error = Ledger::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("ledger.jsonl is in use by another process; wait until it has ended"),
        "{error}"
    );
    drop(ledger);
    assert!(Ledger::open(&path).unwrap().is_empty());
}

#[test]
fn many_threads_write_whole_lines() {
    let (folder, ledger) = new_ledger();
    let name = |thread: usize, i: usize| format!("{thread} {i}");
    thread::scope(|scope| {
        for thread in 0..16 {
            let ledger = &ledger;
            scope.spawn(move || {
                for i in 0..50 {
                    ledger
                        .keep([record(&name(thread, i), &"x".repeat(i))])
                        .unwrap();
                    // Once kept, it is there for everyone.
                    assert!(ledger.contains(&RequestKey::of(&name(thread, i).into())));
                }
            });
        }
    });
    drop(ledger);
    let ledger = Ledger::open(folder.path().join("ledger.jsonl")).unwrap();
    assert_eq!((ledger.len(), ledger.torn()), (800, 0));
    let text = |thread: usize, i: usize| {
        ledger
            .get(&RequestKey::of(&name(thread, i).into()))
            .unwrap()
            .unwrap()
            .text
    };
    assert!((0..16).all(|thread| (0..50).all(|i| text(thread, i) == "x".repeat(i))));
}

#[test]
fn the_first_of_two_answers_counts() {
    let (folder, ledger) = new_ledger();
    ledger
        .keep([record("a", "first"), record("a", "second")])
        .unwrap();
    let text = |ledger: &Ledger| {
        ledger
            .get(&RequestKey::of(&"a".into()))
            .unwrap()
            .unwrap()
            .text
    };
    assert_eq!(text(&ledger), "first");
    drop(ledger);
    let ledger = Ledger::open(folder.path().join("ledger.jsonl")).unwrap();
    assert_eq!((text(&ledger).as_str(), ledger.len()), ("first", 1));
}

proptest! {
    #[test]
    fn the_order_of_fields_changes_no_key(
        fields in prop::collection::hash_map("[a-z]{1,5}", prop::option::of(any::<i64>()), 0..8),
    ) {
        let text = |fields: Vec<(&String, &Option<i64>)>| {
            let fields: Vec<String> = fields
                .into_iter()
                .map(|(k, v)| {
                    format!(
                        "\"{k}\": \
                    {}",
                        serde_json::json!(v)
                    )
                })
                .collect();
            serde_json::from_str::<serde_json::Value>(&format!("{{{}}}", fields.join(","))).unwrap()
        };
        let one: HashMap<_, _> = fields.clone();
        let mut sorted: Vec<_> = fields.iter().collect();
        sorted.sort();
        prop_assert_eq!(
            RequestKey::of(&text(one.iter().collect())),
            RequestKey::of(&text(sorted))
        );
    }
}

#[test]
fn only_regular_files_with_lines_of_a_stated_size_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.jsonl");
    std::fs::create_dir(&path).unwrap();
    assert!(Ledger::open(&path).is_err());
    #[cfg(unix)]
    {
        let error = Ledger::open("/dev/zero").unwrap_err().to_string();
        assert!(error.contains("/dev/zero"), "{error}");
    }
    // A file that has no end of a line, as large as a hole makes it.
    let path = folder.path().join("large");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(65 << 20)
        .unwrap();
    let error = Ledger::open(&path).unwrap_err().to_string();
    assert!(error.contains("line 1: more than 64 MiB"), "{error}");
    assert_eq!(path.metadata().unwrap().len(), 65 << 20);
}
