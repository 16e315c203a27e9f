//! Conversations of every format: files of an independent writer are read back, and every kind of
//! bad row or folder has its message.

use std::fs;
use std::path::Path;

use convrec_core::{Demonstration, Example, Item, Turn};
use convrec_formats::{Error, ReadOptions, Records};
use proptest::prelude::*;
use serde_json::{Value, json};

fn options(split: Option<&str>) -> ReadOptions {
    match split {
        Some(split) => ReadOptions::default().split(split),
        None => ReadOptions::default(),
    }
}

fn read_conversations(path: impl AsRef<Path>, split: Option<&str>) -> Result<Vec<Example>, Error> {
    convrec_formats::read_conversations(path, &options(split)).map(|read| read.rows)
}

fn read_demonstrations(
    path: impl AsRef<Path>,
    split: Option<&str>,
) -> Result<Records<Demonstration>, Error> {
    convrec_formats::read_demonstrations(path, &options(split))
}

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
    let unparsed = &read.unparsed_lines;
    assert_eq!(
        (unparsed.count, unparsed.rows_read, unparsed.listed[0].row),
        (2, 6, 2)
    );
    let left_out: Vec<String> = unparsed.listed.iter().map(ToString::to_string).collect();
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
            "field `groundtruth_with_release_year[0][1]`: found true; expected an integer",
        ),
        (
            with("groundtruth_with_release_year", json!([["A"]])),
            "field `groundtruth_with_release_year[0]`: found a list of 1; expected an item",
        ),
        (with("prompt", json!([])), "field `prompt`: no turns"),
        (
            with("prompt", Value::Null),
            "field `prompt`: null; expected a list of turns",
        ),
        (
            with("prompt", bot.clone()),
            "field `prompt`: the last turn is the assistant's; expected the user's",
        ),
        (
            with("prompt", json!([{"role": "owl", "content": ""}])),
            "field `prompt[0].role`: found `owl`; expected user (human, seeker), assistant",
        ),
        (
            with("prompt", json!(7)),
            "field `prompt`: found the number 7; expected a list of turns",
        ),
        (
            with("seen_titles", json!(["A", 7.5])),
            "field `seen_titles[1]`: found the number 7.5; expected an item",
        ),
        (
            with("Groundtruths", json!([])),
            "field `groundtruths`: this field is not read; call it `ground_truth`",
        ),
        (
            with("id", json!([])),
            "field `id`: found a list; expected text",
        ),
        (with("id", json!(" ")), "field `id`: blank"),
        (
            without("prompt"),
            "there is no conversation; found the fields `completion`, `groundtruth_with",
        ),
        (
            without("completion"),
            "there is no list to imitate; expected `list` or `completion`",
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
            "field `completion[0].content`: no line names an item; found `No idea`",
        ),
        (
            with("list", json!([])),
            "field `list`: no items; expected at least one",
        ),
        (
            json!(7),
            "found the number 7; expected an object with a `dialog`",
        ),
    ] {
        let bad = match bad {
            mut row if row.get("Groundtruths").is_some() => {
                row.as_object_mut()
                    .unwrap()
                    .remove("groundtruth_with_release_year");
                row
            }
            row => row,
        };
        let path = folder.path().join("bad.jsonl");
        write(&path, lines(&[good.clone(), bad]));
        let message = read_demonstrations(&path, None).unwrap_err().to_string();
        assert!(
            message.contains("1 of 2 rows is bad")
                && message.contains("bad.jsonl, line 2")
                && message.contains(part),
            "{message} does not say {part}"
        );
    }
}

#[test]
fn rows_of_other_schemas_mean_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, text: &str| {
        write(folder.path().join(name), text);
        let read = read_demonstrations(folder.path().join(name), None).unwrap();
        assert_eq!(read.rows.len(), 1, "{name}");
        read.rows.into_iter().next().unwrap()
    };
    let expected = Demonstration {
        example: Example {
            id: "d-1".into(),
            dialog: vec![Turn::user("hi"), Turn::assistant("yo"), Turn::user("so?")],
            seen: vec![Item::new("Up", 2009)],
            ground_truth: vec![Item::new("Heat", 1995), Item::new("Alien", None)],
        },
        list: vec![Item::new("Heat", 1995), Item::new("Ronin", 1998)],
    };
    let turns = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yo"},
        {"role": "user", "content": "so?"}
    ]);
    let share = json!([
        {"from": "human", "value": "hi"},
        {"from": "gpt", "value": "yo"},
        {"from": "human", "value": "so?"},
        {"from": "gpt", "value": "1. Heat (1995)\n2. Ronin (1998)"}]);
    for row in [
        json!({"id": "d-1", "dialog": turns, "seen": [["Up", 2009]], "ground_truth": [["Heat", 1995], ["Alien", null]],
            "list": [["Heat", 1995], ["Ronin", 1998]]}),
        json!({"id": "d-1", "conversations": share, "seen": ["Up (2009)"], "groundtruth": ["Heat (1995)", "Alien"]}),
        json!({"id": "d-1", "messages": share, "prompt": "hi", "seen": "Up (2009)", "groundtruth": [{"title": "Heat", "year": 1995}, {"title": "Alien"}]}),
        json!({"id": "d-1", "prompt": turns, "completion": "Heat (1995)\nRonin \
            (1998)", "seen_titles": [["Up", "2009"]],
            "groundtruth_with_release_year": [["Heat", "1995"], ["Alien", ""]]}),
    ] {
        assert_eq!(read("a.jsonl", &format!("{row}\n")), expected, "{row}");
    }
    // The cells are as `json.dumps` of one list writes them, and as pandas writes lists into CSV.
    let array = json!([{"id": "d-1", "dialog": turns, "seen": ["Up (2009)"], "ground_truth": "Heat (1995)|Alien", "list": "Heat (1995)|Ronin (1998)"}]);
    assert_eq!(
        read("a.json", &serde_json::to_string_pretty(&array).unwrap()),
        expected
    );
    let pandas = "id,dialog,seen,ground_truth,list\nd-1,\"[{'role': 'user', 'content': 'hi'}, \
                  {'role': 'assistant', 'content': 'yo'}, {'role': 'user', 'content': \
                  'so?'}]\",\"[('Up', 2009)]\",\"[['Heat', 1995.0], ['Alien', nan]]\",Heat \
                  (1995)|Ronin (1998)\n";
    assert_eq!(read("a.csv", pandas), expected);
    let by_turn = "Id;Role;Content;Seen;Ground_Truth\nd-1;user;hi;Up (2009);Heat (1995)|Alien\n\
                   d-1;assistant;yo;;\nd-1;user;so?;;\nd-1;assistant;\"Heat (1995)\nRonin \
                   (1998)\";;\n";
    assert_eq!(read("turns.csv", by_turn), expected);
    // A conversation needs nothing but text.
    write(
        folder.path().join("b.csv"),
        "prompt\nSomething like Heat?\n",
    );
    let example = &read_conversations(folder.path().join("b.csv"), None).unwrap()[0];
    assert_eq!(example.dialog, [Turn::user("Something like Heat?")]);
    assert!(
        example.seen.is_empty()
            && example.ground_truth.is_empty()
            && example.id.ends_with("-b-0-0")
    );
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn demonstrations() -> impl Strategy<Value = Vec<Demonstration>> {
    let text = ".{0,12}[a-z\n;,\"']{1,3}";
    let item = (text, prop::option::of(-800..2100i32)).prop_map(Item::from);
    let items = || prop::collection::vec(item.clone(), 0..3);
    let dialog = (prop::collection::vec((any::<bool>(), text), 0..3), text);
    let row = (
        dialog,
        items(),
        items(),
        prop::collection::vec(item.clone(), 1..4),
    );
    prop::collection::vec(row, 1..5).prop_map(|rows| {
        let row = |(number, ((turns, last), seen, ground_truth, list))| {
            let turns: Vec<(bool, String)> = turns;
            let turn = |(is_user, text)| {
                if is_user {
                    Turn::user(text)
                } else {
                    Turn::assistant(text)
                }
            };
            let mut dialog: Vec<Turn> = turns.into_iter().map(turn).collect();
            dialog.push(Turn::user(last));
            let id = format!("d-{number}");
            let example = Example {
                id,
                dialog,
                seen,
                ground_truth,
            };
            Demonstration { example, list }
        };
        rows.into_iter().enumerate().map(row).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read_back(
        rows in demonstrations(),
        separator in prop::sample::select(vec![b',', b';', b'\t']),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            write(folder.path().join(name), bytes);
            read_demonstrations(folder.path().join(name), None)
                .unwrap()
                .rows
        };
        let lines: String = rows.iter().map(|row| json(row) + "\n").collect();
        prop_assert_eq!(&read("a.jsonl", lines.as_bytes()), &rows);
        let pretty = serde_json::to_string_pretty(&rows).unwrap();
        prop_assert_eq!(&read("a.json", pretty.as_bytes()), &rows);

        // The cells of the table have lists as JSON: with a row for each conversation, and a row
        // for each turn.
        let mut by_row = csv::WriterBuilder::new()
            .delimiter(separator)
            .from_writer(Vec::new());
        by_row
            .write_record(["id", "dialog", "seen", "ground_truth", "list"])
            .unwrap();
        let mut by_turn = csv::WriterBuilder::new()
            .delimiter(separator)
            .from_writer(Vec::new());
        let columns = [
            "id",
            "turn",
            "role",
            "content",
            "seen",
            "ground_truth",
            "list",
        ];
        by_turn.write_record(columns).unwrap();
        for Demonstration { example, list } in &rows {
            let cells = [json(&example.seen), json(&example.ground_truth), json(list)];
            let [seen, ground_truth, list] = cells.each_ref().map(String::as_str);
            let (id, dialog) = (example.id.as_str(), json(&example.dialog));
            by_row
                .write_record([id, &dialog, seen, ground_truth, list])
                .unwrap();
            for (number, turn) in example.dialog.iter().enumerate() {
                let last = number + 1 == example.dialog.len();
                let cell = |text| if last { text } else { "" };
                let number = number.to_string();
                let [seen, ground_truth, list] = [seen, ground_truth, list].map(cell);
                let (role, content) = (turn.role.as_str(), turn.content.as_str());
                by_turn
                    .write_record([id, &number, role, content, seen, ground_truth, list])
                    .unwrap();
            }
        }
        prop_assert_eq!(&read("rows.csv", &by_row.into_inner().unwrap()), &rows);
        prop_assert_eq!(&read("turns.csv", &by_turn.into_inner().unwrap()), &rows);
    }
}

#[test]
fn one_bad_row_among_many_is_skipped_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let good = |id: &str| json!({"id": id, "dialog": "hi", "ground_truth": []}).to_string();
    write(
        &path,
        format!(
            "{}\n{{\"id\"\n{}\n{}\n",
            good("a-1"),
            good("a-2"),
            good("a-1")
        ),
    );
    let message = read_conversations(&path, None).unwrap_err().to_string();
    assert!(message.contains("2 of 4 rows are bad"), "{message}");
    assert!(
        message.contains("line 4, field `id`: `a-1` is the id of an earlier row"),
        "{message}"
    );
    let read =
        convrec_formats::read_conversations(&path, &ReadOptions::default().skip_bad(true)).unwrap();
    assert_eq!((read.rows.len(), read.skipped.count), (2, 2));
    assert_eq!(
        read.skipped
            .listed
            .iter()
            .map(|bad| bad.row)
            .collect::<Vec<_>>(),
        [1, 3]
    );
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
    write(at("nothing/README.md"), "");
    write(at("alone/dataset_dict.json"), "{\"splits\": [\"../x\"]}");
    for (path, split, part) in [
        (
            "no",
            None,
            "no such file, and in the folder above there is no split `no`; expected `no.jsonl`",
        ),
        ("nothing/no", None, "cannot read"),
        ("no.jsonl", None, "cannot read"),
        ("no/train", None, "cannot read"),
        ("x.txt", None, "expected a file `.jsonl`, `.json`, `.csv`"),
        (
            "other.jsonl",
            None,
            "line 2: there is no conversation; found the fields `text`; expected `dialog`",
        ),
        (
            "other.jsonl",
            Some("train"),
            "it is one split itself; leave out the split `train`",
        ),
        (
            "empty.jsonl",
            None,
            "there are no rows; expected at least one",
        ),
        ("plain", None, "name the split, as in `"),
        ("plain", None, "found the splits `both`, `train`"),
        ("plain", Some("test"), "there is no split `test`"),
        (
            "plain",
            Some("both"),
            "the split `both` is there in several formats, `both.jsonl`, `both.parquet`",
        ),
        ("nothing", None, "there is no data in it"),
        (
            "dict",
            None,
            "name one of its splits: `train`, `test`, `../x`",
        ),
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
    // The split is the last part of the path, and the rows have the same names.
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
    let others = others.as_slice();
    for whole in [
        "train.jsonl",
        "train-00000-of-00001.jsonl",
        "train-00000-of-00001-a09b74b3ef9c3b56.jsonl",
    ] {
        assert_eq!(split(&[others, &[whole]].concat(), "train").unwrap(), "4");
    }
    assert!(
        split(others, "train-extra")
            .unwrap_err()
            .contains("the split `train-extra` is there twice, `train-extra-00000-of-00001.jsonl`")
    );
    let refused: [(&[&str], &str); 9] = [
        (others, "there is no split `train`"),
        (
            &["train.parquet", "train-00000-of-00001.parquet"],
            "the split `train` is there twice",
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
            "there is no split `train`",
        ),
    ];
    for (files, part) in refused {
        let message = split(files, "train").unwrap_err();
        assert!(message.contains(part), "{message} does not say {part}");
    }
}

/// The layouts of the hub: its snapshots, and the branch to which it converts data.
#[test]
fn snapshots_of_the_hub_are_read() {
    let text = |n: usize| lines(&[row(&format!("{n}"), "Heat (1995)", json!([]), &[])]);
    let first = |files: &[&str], path: &str, split: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        for (i, file) in files.iter().enumerate() {
            write(folder.path().join(file), text(i));
        }
        let read = read_conversations(folder.path().join(path), split);
        let read = read.map_err(|error| error.to_string())?;
        let texts: Vec<&str> = read
            .iter()
            .map(|row| row.dialog[0].content.as_str())
            .collect();
        Ok::<_, String>(texts.join(" "))
    };
    let readable: &[(&[&str], &str, Option<&str>, &str)] = &[
        (
            &[
                "README.md",
                ".gitattributes",
                "data/train-00000-of-00001.jsonl",
            ],
            "",
            None,
            "2",
        ),
        (
            &[
                "README.md",
                "dataset_infos.json",
                "data/train-00001-of-00002.jsonl",
                "data/train-00000-of-00002.jsonl",
            ],
            "",
            Some("train"),
            "3 2",
        ),
        (
            &["data/train.jsonl", "data/test.jsonl"],
            "",
            Some("test"),
            "1",
        ),
        (&["data/train.jsonl", "data/test.jsonl"], "train", None, "0"),
        (
            &["default/train/0001.jsonl", "default/train/0000.jsonl"],
            "",
            None,
            "1 0",
        ),
        (
            &["default/train/0000.jsonl", "default/test/0000.jsonl"],
            "",
            Some("test"),
            "1",
        ),
        (&["default/train/0000.jsonl"], "default", None, "0"),
        (&["default/train/0000.jsonl"], "default/train", None, "0"),
        (&["films/train/0000.jsonl"], "", Some("train"), "0"),
        (
            &["train.jsonl.gz.txt", "train/0000.jsonl"],
            "train",
            None,
            "1",
        ),
        (&["a.jsonl"], "", None, "0"),
    ];
    for (files, path, split, expected) in readable {
        assert_eq!(
            first(files, path, *split).as_deref(),
            Ok(*expected),
            "{files:?} {path}"
        );
    }
    for (files, part) in [
        (
            &["data/train.jsonl", "data/test.jsonl"][..],
            "found the splits `test`, `train`",
        ),
        (
            &["a/train/0000.jsonl", "b/train/0000.jsonl"],
            "there is data in several folders; name one of them: `a`, `b`",
        ),
        (
            &["data/train-00000-of-00002.jsonl"],
            "number 00001 of 00002 is missing",
        ),
        (&["README.md"], "there is no data in it"),
    ] {
        let message = first(files, "", None).unwrap_err();
        assert!(message.contains(part), "{message} does not say {part}");
    }
}

#[test]
#[cfg(not(any(feature = "arrow", feature = "parquet")))]
fn formats_that_are_not_built_in_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path().join("saved/state.json"),
        "{\"_data_files\": [{\"filename\": \"data-00000-of-00001.arrow\"}]}",
    );
    write(folder.path().join("saved/data-00000-of-00001.arrow"), "");
    write(folder.path().join("train.parquet"), "");
    for (path, feature) in [("saved", "arrow"), ("train.parquet", "parquet")] {
        let message = read_conversations(folder.path().join(path), None)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("build with `--features formats`"),
            "{message}"
        );
        assert!(
            message.contains(&format!("the feature `{feature}` of convrec-formats")),
            "{message}"
        );
    }
}

#[test]
fn folders_of_spark_and_dask_are_one_data_set() {
    for names in [
        [
            "part-00000-tid-1-c000.snappy.jsonl",
            "part-00001-tid-1-c000.snappy.jsonl",
        ],
        ["part-00000.jsonl", "part-00001.jsonl"],
        ["part.9.jsonl", "part.10.jsonl"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let line = lines(&[row(name, "Heat (1995)", json!([]), &[])]);
            write(folder.path().join(name), line);
        }
        write(folder.path().join("_SUCCESS"), "");
        let read = read_conversations(folder.path(), None).unwrap();
        let found: Vec<&str> = read
            .iter()
            .map(|row| row.dialog[0].content.as_str())
            .collect();
        assert_eq!(found, names);
    }
}

#[test]
fn other_names_of_the_ground_truth_are_not_ignored() {
    let read = |field: &str, value: Value| {
        let folder = tempfile::tempdir().unwrap();
        let row = json!({"dialog": "Something like Alien?", field: value});
        write(folder.path().join("x.jsonl"), lines(&[row]));
        read_conversations(folder.path().join("x.jsonl"), None)
    };
    for (field, value) in [
        ("target", json!([["Heat", 1995]])),
        ("labels", json!("Heat (1995)")),
        ("Relevant_Items", json!([{"title": "Heat", "year": 1995}])),
    ] {
        let message = read(field, value).unwrap_err().to_string();
        let name = field.to_lowercase();
        let part = format!("field `{name}`: this field is not read; call it `ground_truth`");
        assert!(message.contains(&part), "{message}");
    }
    // The same names mean other things elsewhere.
    for value in [json!(1), json!("sad"), json!(["a"]), json!([0, 1])] {
        assert!(read("label", value).is_ok());
    }
}
