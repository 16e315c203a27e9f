//! Conversations of every format: what an independent writer wrote is read back, and every kind of
//! bad row or folder says what it is.

use std::fs;
use std::path::Path;

use convrec_core::{Item, Turn};
use convrec_formats::{read_conversations, read_demonstrations};
use serde_json::{Value, json};

fn row(prompt: &str, list: &str, ground_truth: Value, seen: &[&str]) -> Value {
    json!({
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": list}],
        "groundtruth_with_release_year": ground_truth,
        "seen_titles": seen,
    })
}

fn write(path: impl AsRef<Path>, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn a_row_becomes_an_example_and_a_demonstration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reddit/train.jsonl");
    let rows = [
        row(
            "one",
            "Heat (1995)\nUp (2009)",
            json!([["Ronin", "1998"], ["Sun Tzu", "-500"], ["Alien", ""]]),
            &["Heat"],
        ),
        row(
            "two",
            "1. Up (2009)",
            json!([["Ronin", 1998], ["Alien", null]]),
            &[],
        ),
        row("one", "Sure!\n\nUp (2009)\nThe end", json!([]), &[]),
    ];
    write(&path, lines(&rows));
    let examples = read_conversations(&path, None).unwrap();
    assert_eq!(examples[0].dialog, [Turn::user("one")]);
    assert_eq!(examples[0].seen, [Item::new("Heat", None)]);
    let ground_truth = [
        Item::new("Ronin", 1998),
        Item::new("Sun Tzu", -500),
        Item::new("Alien", None),
    ];
    assert_eq!(examples[0].ground_truth, ground_truth);
    assert_eq!(
        examples[1].ground_truth,
        [Item::new("Ronin", 1998), Item::new("Alien", None)]
    );

    // Rows of one prompt are samples of one dialog.
    let ids: Vec<&str> = examples.iter().map(|example| example.id.as_str()).collect();
    assert_eq!(
        ids,
        ["reddit-train-0-0", "reddit-train-1-1", "reddit-train-0-2"]
    );
    assert_eq!(examples[0].dialog_id(), examples[2].dialog_id());
    assert_ne!(examples[0].dialog_id(), examples[1].dialog_id());

    let read = read_demonstrations(&path, None).unwrap();
    assert_eq!(
        read.rows.iter().map(|row| &row.example).collect::<Vec<_>>(),
        examples.iter().collect::<Vec<_>>()
    );
    assert_eq!(
        read.rows[0].list,
        [Item::new("Heat", 1995), Item::new("Up", 2009)]
    );
    assert_eq!(read.rows[2].list, [Item::new("Up", 2009)]);
    let left_out: Vec<String> = read.left_out.iter().map(ToString::to_string).collect();
    assert_eq!((left_out.len(), read.left_out[0].row), (2, 2));
    assert!(left_out[0].ends_with(
        "line 3, field `completion[0].content`: `Sure!` (line 1 of the list) names no item: no year"
    ));
    assert!(left_out[1].contains("`The end` (line 4 of the list)"));
}

#[test]
fn every_kind_of_bad_row_says_what_is_wrong() {
    let good = row("one", "Heat (1995)", json!([["Ronin", "1998"]]), &["Heat"]);
    let with = |field: &str, value: Value| {
        let mut row = good.clone();
        row[field] = value;
        row
    };
    let without = |field: &str| {
        let mut row = good.clone();
        row.as_object_mut().unwrap().remove(field);
        row
    };
    let bot = json!([{"role": "assistant", "content": "hi"}]);
    let folder = tempfile::tempdir().unwrap();
    for (bad, part) in [
        (
            with(
                "groundtruth_with_release_year",
                json!([["A", "1"], ["B", "soon"]]),
            ),
            "field `groundtruth_with_release_year[1][1]`: `soon` is no year",
        ),
        (
            with("groundtruth_with_release_year", json!([["A", true]])),
            "field `groundtruth_with_release_year[0][1]`: invalid type: boolean `true`, expected a year",
        ),
        (
            with("groundtruth_with_release_year", json!([["A"]])),
            "field `groundtruth_with_release_year[0]`: invalid length 1",
        ),
        (
            with("groundtruth_with_release_year", Value::Null),
            "field `groundtruth_with_release_year`: invalid type: null",
        ),
        (with("prompt", json!([])), "field `prompt`: no turns"),
        (
            with("prompt", bot.clone()),
            "field `prompt`: the last turn is the assistant's; expected the user's",
        ),
        (
            with("prompt", json!([{"role": "human", "content": ""}])),
            "field `prompt[0].role`: unknown variant `human`",
        ),
        (
            with("prompt", json!("hi")),
            "field `prompt`: invalid type: string \"hi\", expected a sequence",
        ),
        (
            with("seen_titles", json!(["A", 7])),
            "field `seen_titles[1]`: invalid type: integer `7`",
        ),
        (without("seen_titles"), "missing field `seen_titles`"),
        (
            without("groundtruth_with_release_year"),
            "missing field `groundtruth_with_release_year`",
        ),
        (
            without("completion"),
            "field `completion`: there is none; expected the list to imitate",
        ),
        (
            with("completion", json!([])),
            "field `completion`: expected one turn, the assistant's",
        ),
        (
            with(
                "completion",
                json!([{"role": "user", "content": "Heat (1995)"}]),
            ),
            "field `completion`: expected one turn, the assistant's",
        ),
        (
            with(
                "completion",
                json!([{"role": "assistant", "content": "No idea"}]),
            ),
            "field `completion[0].content`: no line names an item",
        ),
    ] {
        let path = folder.path().join("bad.jsonl");
        write(&path, lines(&[good.clone(), bad]));
        let message = read_demonstrations(&path, None).unwrap_err().to_string();
        assert!(
            message.contains("bad.jsonl, line 2") && message.contains(part),
            "{message} does not say {part}"
        );
    }
}

#[test]
fn what_is_no_data_set_says_what_was_expected() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(at("x.txt"), "");
    write(at("other.jsonl"), "\n{\"text\": 1}\n");
    write(at("empty.jsonl"), "\n\n");
    write(
        at("plain/train.jsonl"),
        lines(&[row("one", "Heat (1995)", json!([]), &[])]),
    );
    write(at("plain/both.jsonl"), "{}");
    write(at("plain/both.parquet"), "");
    write(
        at("dict/dataset_dict.json"),
        "{\"splits\": [\"train\", \"test\", \"../x\"]}",
    );
    write(
        at("dict/train/state.json"),
        "{\"_data_files\": [{\"filename\": \"../../secret.arrow\"}]}",
    );
    write(at("dict/test/state.json"), "{\"_data_files\": []}");
    write(
        at("indices/state.json"),
        "{\"_data_files\": [], \"_indices_data_files\": [{\"filename\": \"indices.arrow\"}]}",
    );
    write(
        at("broken/state.json"),
        "{\"_data_files\": [{\"name\": 1}]}",
    );
    write(at("alone/dataset_dict.json"), "{\"splits\": [\"../x\"]}");
    for (path, split, part) in [
        ("no", None, "expected one of `no.jsonl`"),
        ("no.jsonl", None, "cannot read"),
        ("no/train", None, "cannot read"),
        (
            "x.txt",
            None,
            "expected a file `.jsonl`, `.parquet` or `.arrow`, or a folder",
        ),
        (
            "other.jsonl",
            None,
            "line 2: expected a conversation, with `dialog` or `prompt`; found the fields [\"text\"]",
        ),
        (
            "other.jsonl",
            Some("train"),
            "it is one split itself; leave out the split `train`",
        ),
        ("empty.jsonl", None, "holds no line with data"),
        ("plain", None, "name the split"),
        (
            "plain",
            Some("test"),
            "`test-00000-of-00001.parquet`, ...; found 0 such files",
        ),
        ("plain", Some("both"), "found 2 such files"),
        ("dict", None, "name one of its splits: train, test, ../x"),
        ("dict", Some("validation"), "name one of its splits"),
        ("dict", Some("../x"), "`../x` is no name of a split"),
        (
            "dict",
            Some("train"),
            "it names the file `../../secret.arrow`; expected one in its folder",
        ),
        ("dict/test", None, "it names no files in `_data_files`"),
        ("dict/test", Some("test"), "it is one split itself"),
        ("indices", None, "save `dataset.flatten_indices()`"),
        ("broken", None, "_data_files[0]: missing field `filename`"),
        ("alone", None, "name one of its splits"),
    ] {
        let message = read_conversations(at(path), split).unwrap_err().to_string();
        assert!(message.contains(part), "{message} does not say {part}");
    }
    assert_eq!(
        read_conversations(at("plain"), Some("train"))
            .unwrap()
            .len(),
        1
    );
    // The split as the last part of the path; the rows are named alike.
    let named = read_conversations(at("plain"), Some("train")).unwrap();
    assert_eq!(read_conversations(at("plain/train"), None).unwrap(), named);
}

#[test]
fn parts_belong_together_and_none_is_missing() {
    let split = |files: &[&str], split: &str| {
        let folder = tempfile::tempdir().unwrap();
        for (i, file) in files.iter().enumerate() {
            write(
                folder.path().join(file),
                lines(&[row(&format!("{i}"), "Heat (1995)", json!([]), &[])]),
            );
        }
        let examples =
            read_conversations(folder.path(), Some(split)).map_err(|error| error.to_string())?;
        Ok::<_, String>(examples[0].dialog[0].content.clone())
    };
    // Other splits beside it, whose names begin alike.
    let others = [
        "train-extra-00000-of-00001.jsonl",
        "train2.jsonl",
        "train-extra.jsonl",
        "train-1.jsonl",
    ];
    for whole in [
        "train.jsonl",
        "train-00000-of-00001.jsonl",
        "train-00000-of-00001-a09b74b3ef9c3b56.jsonl",
    ] {
        assert_eq!(
            split(&[&others[..], &[whole]].concat(), "train").unwrap(),
            "4"
        );
    }
    assert!(
        split(&others, "train-extra")
            .unwrap_err()
            .contains("`train-extra.jsonl` and parts of it")
    );
    let refused: [(&[&str], &str); 9] = [
        (&others, "found 0 such files"),
        (
            &["train.parquet", "train-00000-of-00001.parquet"],
            "`train.parquet` and parts of it",
        ),
        (
            &["train-00000-of-00002.parquet"],
            "number 00001 of 00002 is missing",
        ),
        (
            &[
                "train-00000-of-00003.parquet",
                "train-00002-of-00003.parquet",
            ],
            "number 00001 of 00003 is missing",
        ),
        (
            &["train-00001-of-00002.jsonl"],
            "number 00000 of 00002 is missing",
        ),
        (
            &[
                "train-00000-of-00001.parquet",
                "train-00000-of-00002.parquet",
            ],
            "some are of 1, some of 2",
        ),
        (
            &["train-00000-of-00001.parquet", "train-0-of-1.parquet"],
            "2 files for 1 parts",
        ),
        (
            &[
                "train-00000-of-00001.parquet",
                "train-00001-of-00001.parquet",
            ],
            "2 files for 1 parts",
        ),
        (
            &["train-00000-of-99999999999999999999999.parquet"],
            "found 0 such files",
        ),
    ];
    for (files, part) in refused {
        let message = split(files, "train").unwrap_err();
        assert!(message.contains(part), "{message} does not say {part}");
    }
}

#[test]
#[cfg(not(any(feature = "arrow", feature = "parquet")))]
fn formats_that_are_not_built_in_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path().join("state.json"),
        "{\"_data_files\": [{\"filename\": \"data-00000-of-00001.arrow\"}]}",
    );
    write(folder.path().join("train.parquet"), "");
    for (path, split, feature) in [("", None, "arrow"), ("train.parquet", None, "parquet")] {
        let message = read_conversations(folder.path().join(path), split)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(&format!(
                "build with the feature `{feature}` of convrec-formats"
            )),
            "{message}"
        );
    }
}
