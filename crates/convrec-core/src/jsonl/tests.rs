use proptest::prelude::*;

use super::*;
use crate::{CatalogItem, Demonstration, Example, Item, Turn};

fn error<T: DeserializeOwned + Check + std::fmt::Debug>(text: &[u8]) -> String {
    read::<T>(text, "f.jsonl").unwrap_err().to_string()
}

#[test]
fn line_1000_is_named_with_its_field() {
    let mut text = "{\"title\":\"Heat\",\"year\":1995}\n".repeat(999);
    text += "{\"title\":\"Alien\",\"year\":1979,\"genres\":[\"Horror\",3]}\n";
    assert_eq!(
        error::<CatalogItem>(text.as_bytes()),
        "f.jsonl, line 1000, field `genres[1]`: invalid type: integer `3`, expected a string; \
         mend the line or remove it"
    );
}

#[test]
fn every_kind_of_bad_line_says_what_is_wrong() {
    let example = |dialog: &str, seen: &str| {
        format!(
            "{{\"id\":\"a-1\",\"dialog\":{dialog},\"seen\":{seen},\"ground_truth\":[],\"list\":[]}}"
        )
    };
    let user = "[{\"role\":\"user\",\"content\":\"hi\"}]";
    for (text, part) in [
        (example("[]", "[]"), "field `dialog`: no turns"),
        (
            example("[{\"role\":\"assistant\",\"content\":\"hi\"}]", "[]"),
            "the last turn is the assistant's",
        ),
        (
            example("[{\"role\":\"bot\",\"content\":\"hi\"}]", "[]"),
            "field `dialog[0].role`: unknown variant `bot`",
        ),
        (
            example(user, "[[\"Heat\"]]"),
            "field `seen[0]`: invalid length 1",
        ),
        (
            example(user, "[[\"Heat\",\"soon\"]]"),
            "field `seen[0][1]`: `soon` is no year",
        ),
        (example(user, "[]"), "field `list`: no items"),
        ("{\"id\":\"a\"}".into(), "missing field `dialog`"),
        (
            "{\"id\":".into(),
            "line 1, field `id`: EOF while parsing a value at column 6",
        ),
        (
            "{\"id\":\"a\"".into(),
            "line 1: EOF while parsing an object at column 9",
        ),
        ("   \n".into(), "holds no line with data"),
    ] {
        let message = error::<Demonstration>(text.as_bytes());
        assert!(message.contains(part), "{message} does not say {part}");
    }
    assert!(error::<CatalogItem>(b"{\"title\":\"\xff\"}").contains("byte 11 is not UTF-8"));
    assert!(error::<CatalogItem>(b"{\"title\":\" \"}").contains("field `title`: blank"));
    assert!(
        read_file::<Example>("no/such/file.jsonl")
            .unwrap_err()
            .to_string()
            .contains("cannot read no/such/file.jsonl")
    );
}

#[test]
fn what_is_not_json_lines_is_named_with_what_to_do() {
    for (text, part) in [
        (&b"[{\"title\":\"Up\"}]"[..], "f.jsonl: found a JSON array"),
        (b"\n[\n {\"title\":\"Up\"}\n]", "jq -c '.[]' FILE"),
        (b"{\n \"title\":\"Up\"\n}", "an object over several lines"),
        (
            b"{\"title\":\"Up\"}{\"title\":\"Heat\"}",
            "one object a line",
        ),
        (
            b"{\"title\":\"Up\",\"year\":NaN}",
            "field `year`: found `NaN`",
        ),
        (
            b"{\"title\":\"Up\",\"year\":-Infinity}",
            "found `-Infinity`",
        ),
        (b"{\"title\":\"Up\",\"year\":nan}", "found `nan`"),
        (
            b"{\"title\":\"Up \\ud83d\"}",
            "field `title`: found an escape of half a surrogate",
        ),
        (
            b"{\"title\":\"Up \\ud83d\\u0041\"}",
            "half a surrogate pair",
        ),
        (b"{\"title\":\"Up \\udc80\"}", "half a surrogate pair"),
        (b"\xff\xfe{\0", "found UTF-16 text"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (
            b"{\"title\":1917}",
            "field `title`: invalid type: integer `1917`",
        ),
    ] {
        let message = error::<CatalogItem>(text);
        assert!(message.contains(part), "{message} does not say {part}");
    }
}

#[test]
fn several_bad_lines_are_counted_and_can_be_skipped() {
    let text = b"{\"title\":\"Up\"}\n\n{\"title\":\"\"}\n{\"title\":\"Heat\"}\n{\n";
    assert_eq!(
        error::<CatalogItem>(text),
        "2 of 4 rows are bad:\n  f.jsonl, line 3, field `title`: blank; expected text\n  \
         f.jsonl, line 5: EOF while parsing an object at column 1\n\
         mend or remove these lines, or have bad rows skipped"
    );
    let skip = |text: &[u8]| read_rows::<CatalogItem>(text, "f", BadRowPolicy::Skip);
    let (items, bad) = skip(text).unwrap();
    assert_eq!((items.len(), bad.count, bad.rows_read), (2, 2, 4));
    assert_eq!(bad.listed[1].row, 3);
    // No row is left, so the reading fails.
    assert!(
        skip(b"{}\n{}\n")
            .unwrap_err()
            .to_string()
            .starts_with("2 of 2 rows are bad")
    );
    assert!(skip(b"{}\n").is_err() && skip(b"[1]").is_err());
}

#[test]
fn items_and_ids_are_read_in_the_forms_that_people_have() {
    let read_one = |fields: &str| {
        let line = format!("{{\"dialog\":[{{\"role\":\"user\",\"content\":\"x\"}}],{fields}}}");
        read::<Example>(line.as_bytes(), "f").map(|mut rows| rows.remove(0))
    };
    let coco = vec![Item::new("Coco", 2017)];
    for form in [
        "[\"Coco\",2017]",
        "[\"Coco\",\"2017\"]",
        "[\"Coco\",2017.0]",
        "{\"title\":\"Coco\",\"year\":2017}",
        "{\"year\":\"2017\",\"title\":\"Coco\",\"imdb\":[1]}",
        "\"Coco (2017)\"",
    ] {
        for name in ["ground_truth", "groundtruth"] {
            let row = read_one(&format!("\"id\":\"d-1\",\"{name}\":[{form}]")).unwrap();
            assert_eq!(
                (row.ground_truth, row.seen),
                (coco.clone(), vec![]),
                "{form}"
            );
        }
    }
    for form in [
        "\"Coco\"",
        "[\"Coco\",null]",
        "[\"Coco\",\"\"]",
        "{\"title\":\"Coco\"}",
    ] {
        let row = read_one(&format!("\"id\":7,\"seen\":[{form}]")).unwrap();
        assert_eq!(
            (row.id.as_str(), &row.seen[0]),
            ("7", &Item::new("Coco", None))
        );
    }
    for (form, part) in [
        ("{\"year\":2017}", "missing field `title`"),
        ("[]", "invalid length 0"),
        ("[\"Coco\",2017,1]", "invalid length 3"),
        ("\" \"", "blank"),
        ("7", "expected an item"),
        ("[\"Coco\",true]", "expected a year"),
    ] {
        let error = read_one(&format!("\"id\":\"d\",\"seen\":[{form}]")).unwrap_err();
        assert!(error.to_string().contains(part), "{form}: {error}");
        assert!(
            error.to_string().contains("field `seen[0]"),
            "{form}: {error}"
        );
    }
    let nulls = read::<CatalogItem>(
        &b"{\"title\":\"Up\",\"year\":\"2009\",\"genres\":null,\"metadata\":null}"[..],
        "f",
    );
    let item = &nulls.unwrap()[0];
    assert_eq!(
        (item.year, item.genres.len(), &*item.metadata),
        (Some(2009), 0, "")
    );
}

#[test]
fn a_line_without_end_is_refused() {
    let endless = std::io::BufReader::new(std::io::repeat(b'x'));
    let error = read::<CatalogItem>(endless, "f").unwrap_err().to_string();
    assert!(
        error.contains("line 1 has more than 67108864 bytes"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        titles in prop::collection::vec((".*[a-z].*", prop::option::of(any::<i32>())), 1..5),
        content in ".*",
    ) {
        let items: Vec<Item> = titles.into_iter().map(Item::from).collect();
        let example = Example {
            id: "d-1".into(), dialog: vec![Turn::user(content)], seen: items.clone(), ground_truth: vec![],
        };
        let rows = vec![Demonstration { example, list: items }];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/rows.jsonl");
        write_file(&path, &rows).unwrap();
        prop_assert_eq!(read_file::<Demonstration>(&path).unwrap(), rows);
    }
}

#[test]
fn a_failed_write_leaves_the_former_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    write_atomic(&path, |out| out.write_all(b"old")).unwrap();
    let failed = write_atomic(&path, |out| {
        out.write_all(b"half")?;
        Err(std::io::Error::other("disk full"))
    });
    assert!(failed.unwrap_err().to_string().contains("disk full"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
