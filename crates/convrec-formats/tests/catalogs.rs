//! Catalogs of every format: what an independent writer wrote is read back, and every kind of bad
//! row says what it is.

use std::fs;
use std::path::PathBuf;

use convrec_core::CatalogItem;
use convrec_formats::{BadRows, Rows, pickle, read_catalog_items};
use proptest::prelude::*;
use tempfile::TempDir;

fn file(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn error(name: &str, bytes: impl AsRef<[u8]>) -> String {
    let (_folder, path) = file(name, bytes);
    read_catalog_items(path, BadRows::Refuse)
        .unwrap_err()
        .to_string()
}

fn read(name: &str, bytes: impl AsRef<[u8]>, bad: BadRows) -> Rows<CatalogItem> {
    let (_folder, path) = file(name, bytes);
    read_catalog_items(path, bad).unwrap()
}

/// As spreadsheets write it: quoted where there is a comma, a quote, or a line end.
fn csv_cell(text: &str) -> String {
    let needs_quotes = text.is_empty() || text.contains([',', '"', '\n', '\r']);
    if needs_quotes {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}

fn items() -> impl Strategy<Value = Vec<CatalogItem>> {
    let title = r#"[a-zA-Z0-9,"'\n é映-]{0,12}[a-z]"#;
    let genres = prop::collection::vec("[A-Za-z][A-Za-z -]{0,6}[a-z]", 0..3);
    let item = (
        title,
        prop::option::of(-800..2100),
        genres,
        r#"[ -~\n]{0,20}"#,
    );
    prop::collection::vec(item, 1..12).prop_map(|rows| {
        let item = |(index, (title, year, genres, metadata)): (
            usize,
            (String, Option<i32>, Vec<String>, String),
        )| {
            // The number keeps items apart.
            let genres = genres
                .into_iter()
                .map(|genre| genre.replace('|', ""))
                .collect();
            CatalogItem {
                title: format!("{title} {index}"),
                year,
                genres,
                metadata,
            }
        };
        rows.into_iter().enumerate().map(item).collect()
    })
}

/// Pickles in the ways that Python's protocols 2 to 5 do, and its C and Python picklers.
struct Pickler {
    protocol: u8,
    bytes: Vec<u8>,
    memo: Vec<String>,
}

impl Pickler {
    fn pickle(
        items: &[(String, Option<i32>)],
        protocol: u8,
        one_by_one: bool,
        tuples: bool,
    ) -> Vec<u8> {
        let mut pickler = Self {
            protocol,
            bytes: vec![0x80, protocol],
            memo: Vec::new(),
        };
        if protocol >= 4 {
            pickler.bytes.extend([0x95, 7, 0, 0, 0, 0, 0, 0, 0]);
        }
        pickler.bytes.push(b']');
        pickler.put("the list");
        if !one_by_one {
            pickler.bytes.push(b'(');
        }
        for (title, year) in items {
            if !tuples {
                pickler.bytes.extend(b"](");
            }
            pickler.text(title);
            match year {
                Some(year) => pickler.integer(*year),
                None => pickler.text(""),
            }
            if tuples {
                pickler.bytes.push(0x86);
                pickler.put("a tuple");
            } else {
                pickler.bytes.push(b'e');
            }
            if one_by_one {
                pickler.bytes.push(b'a');
            }
        }
        pickler
            .bytes
            .extend(if one_by_one { &b"."[..] } else { b"e." });
        pickler.bytes
    }

    fn put(&mut self, what: &str) {
        let place = self.memo.len();
        self.memo.push(what.into());
        match (self.protocol, place) {
            (4.., _) => self.bytes.push(0x94),
            (_, 0..=255) => self.bytes.extend([b'q', place as u8]),
            _ => {
                self.bytes.push(b'r');
                self.bytes.extend((place as u32).to_le_bytes());
            }
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(place) = self
            .memo
            .iter()
            .position(|known| *known == format!("text {text}"))
        {
            if place < 256 {
                self.bytes.extend([b'h', place as u8]);
            } else {
                self.bytes.push(b'j');
                self.bytes.extend((place as u32).to_le_bytes());
            }
            return;
        }
        if self.protocol >= 4 && text.len() < 256 {
            self.bytes.extend([0x8c, text.len() as u8]);
        } else {
            self.bytes.push(b'X');
            self.bytes.extend((text.len() as u32).to_le_bytes());
        }
        self.bytes.extend(text.as_bytes());
        self.put(&format!("text {text}"));
    }

    fn integer(&mut self, number: i32) {
        match number {
            0..=255 => self.bytes.extend([b'K', number as u8]),
            256..=65535 => {
                self.bytes.push(b'M');
                self.bytes.extend((number as u16).to_le_bytes());
            }
            -128..0 => self.bytes.extend([0x8a, 1, number as i8 as u8]),
            _ => {
                self.bytes.push(b'J');
                self.bytes.extend(number.to_le_bytes());
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(items in items(), year_first in any::<bool>(), trailing in any::<bool>()) {
        let json: String = items.iter().map(|item| serde_json::to_string(item).unwrap() + "\n").collect();
        prop_assert_eq!(&read("c.jsonl", json, BadRows::Refuse).rows, &items);

        let mut csv = if year_first { "\u{feff}year,other,title,metadata,genres\r\n" } else { "title,year,genres,metadata,x\n" }.to_string();
        for (index, item) in items.iter().enumerate() {
            let year = item.year.map_or(String::new(), |year| year.to_string());
            let [title, metadata, genres] = [&item.title, &item.metadata, &item.genres.join(" |")].map(|text| csv_cell(text));
            csv += &if year_first {
                format!("{year},\"\",{title},{metadata},{genres}")
            } else {
                format!("{title},{year},{genres},{metadata},7")
            };
            if trailing || index + 1 < items.len() {
                csv += if year_first { "\r\n" } else { "\n" };
            }
        }
        prop_assert_eq!(&read("c.csv", csv, BadRows::Refuse).rows, &items);
    }

    #[test]
    fn what_is_pickled_is_read_back(
        names in prop::collection::btree_set(("[a-c]{0,2}d|é{150}", prop::option::of(-70_000..70_000i32)), 1..300),
        protocol in 2..=5u8,
        one_by_one in any::<bool>(),
        tuples in any::<bool>(),
    ) {
        let names: Vec<(String, Option<i32>)> = names.into_iter().collect();
        let bytes = Pickler::pickle(&names, protocol, one_by_one, tuples);
        let items = read("c.pkl", bytes, BadRows::Refuse).rows;
        prop_assert_eq!(items.into_iter().map(|item| (item.title, item.year)).collect::<Vec<_>>(), names);
    }

    #[test]
    fn any_bytes_are_a_catalog_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), name in "c\\.(jsonl|csv|pkl)") {
        let (_folder, path) = file(&name, bytes);
        let _ = read_catalog_items(path, BadRows::LeaveOut);
    }
}

#[test]
fn bad_rows_are_refused_with_their_place_or_left_out_with_it() {
    let json = "\n{\"title\":\"Heat\",\"year\":\"1995\"}\n{\"title\":\" \"}\n{\"title\":\"Up\",\"year\":\"soon\"}\n\
                {\"title\":\"Heat\",\"year\":1995}\n{\"title\":\"Heat\"}\n{\"title\":\"The Wall\",\"year\":201}\n";
    let csv = "title,year\nHeat,1995\n\"\",\nUp,soon\nHeat,1995.0\nHeat,\nThe Wall,201\n";
    for (name, text, first_line) in [("c.jsonl", json, 2), ("c.csv", csv, 2)] {
        let read = read(name, text, BadRows::LeaveOut);
        let names: Vec<String> = read
            .rows
            .iter()
            .map(|item| item.item().to_string())
            .collect();
        assert_eq!(names, ["Heat (1995)", "Heat", "The Wall (201)"], "{name}");
        let left_out: Vec<(usize, String)> = read
            .left_out
            .iter()
            .map(|left| {
                (
                    left.row,
                    left.to_string().rsplit('/').next().unwrap().to_string(),
                )
            })
            .collect();
        let line = |row: usize| format!("{name}, line {}", first_line + row);
        let expected = [
            (
                1,
                format!("{}, field `title`: blank; expected text", line(1)),
            ),
            (
                2,
                format!(
                    "{}, field `year`: `soon` is no year; expected an integer, or nothing",
                    line(2)
                ),
            ),
            (
                3,
                format!(
                    "{}: `Heat (1995)` is the item of line {first_line} again",
                    line(3)
                ),
            ),
        ];
        assert_eq!(left_out, expected);
        assert!(error(name, text).contains(
            "field `title`: blank; expected text; mend the row, or have such rows left out"
        ));
    }
    let blank_alone = file("c.csv", "title\n \n");
    let error = read_catalog_items(&blank_alone.1, BadRows::LeaveOut)
        .unwrap_err()
        .to_string();
    assert!(error.contains("there is no item"), "{error}");
}

#[test]
fn damaged_catalogs_say_where() {
    for (name, bytes, part) in [
        (
            "c.csv",
            &b"name,year\nHeat,1995\n"[..],
            "c.csv, line 1: expected a header with a column `title`; found the columns [\"name\", \"year\"]",
        ),
        (
            "c.csv",
            b"title,title\na,b\n",
            "line 1: there are two columns `title`",
        ),
        (
            "c.csv",
            b"title,year\nHeat,1995\n10,000 BC,2008\n",
            "c.csv, line 3: 3 columns; expected 2",
        ),
        (
            "c.csv",
            b"title,year\nHeat,1995\nUp\n",
            "line 3: 1 columns; expected 2",
        ),
        (
            "c.csv",
            b"title,year\nHeat,1995\nU\xffp,2009\n",
            "line 3, field `title`: byte 2 of it is not UTF-8",
        ),
        ("c.csv", b"", "expected a header with a column `title`"),
        ("c.csv", b"title,year\n", "there is no item"),
        (
            "c.jsonl",
            b"{\"title\":\"Heat\",\"year\":[1995]}\n",
            "line 1, field `year`: invalid type: sequence, expected a year",
        ),
        (
            "c.jsonl",
            b"{\"title\":\"Heat\"}\n{\"year\":1}\n",
            "line 2: missing field `title`",
        ),
        (
            "c.jsonl",
            b"{\"title\":\"Heat\"",
            "line 1: EOF while parsing",
        ),
        (
            "c.txt",
            b"Heat\n",
            "expected a catalog `.jsonl`, `.csv` or `.pkl`",
        ),
        (
            "c.pkl",
            b"",
            "byte 0: the pickle is cut: 0 bytes are left where 1 are needed",
        ),
        (
            "c.pkl",
            b"\x80\x04K\x01.",
            "the pickle is an integer; expected a list of `(title, year)`",
        ),
        (
            "c.pkl",
            b"\x80\x04]K\x01a.",
            "row 0: an integer; expected `(title, year)`",
        ),
        (
            "c.pkl",
            b"\x80\x04](K\x01K\x01\x86e.",
            "row 0: the title is an integer",
        ),
        (
            "c.pkl",
            b"\x80\x04](\x8c\x01a]\x86e.",
            "row 0: the year is a list",
        ),
        (
            "c.pkl",
            b"\x80\x04](\x8c\x01aK\x01K\x02\x87e.",
            "row 0: a tuple of 3; expected `(title, year)`",
        ),
        (
            "c.pkl",
            b"\x80\x04](\x8c\x01a\x8c\x04soon\x86e.",
            "row 0, field `year`: `soon` is no year",
        ),
        (
            "c.pkl",
            b"\x80\x04]\x8c\x01\xffa.",
            "byte 3: byte 1 of this string is not UTF-8",
        ),
        (
            "c.pkl",
            b"\x80\x01].",
            "byte 0: pickle protocol 1; expected 2 to 5",
        ),
    ] {
        let message = error(name, bytes);
        assert!(message.contains(part), "{message} does not say {part}");
    }
    let message = read_catalog_items("no/such.csv", BadRows::Refuse)
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("cannot read no/such.csv"), "{message}");
}

#[test]
fn pickles_that_are_programs_are_refused() {
    for (bytes, opcode, byte) in [
        // What `pickle.dumps` writes of an object whose `__reduce__` returns `(os.system, ("true",))`.
        (
            &b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94."
                [..],
            "STACK_GLOBAL",
            28,
        ),
        (b"\x80\x02cposix\nsystem\nq\0X\x04\0\0\0trueq\x01\x85q\x02Rq\x03.", "GLOBAL", 2),
        (b"cos\nsystem\n(S'true'\ntR.", "GLOBAL", 0),
        (b"(S'true'\nios\nsystem\n.", "STRING", 1),
        (b"(ios\nsystem\n.", "INST", 1),
        (b"\x80\x02]R.", "REDUCE", 3),
        (b"\x80\x02]b.", "BUILD", 3),
        (b"\x80\x02)\x81.", "NEWOBJ", 3),
        (b"\x80\x04)\x92.", "NEWOBJ_EX", 3),
        (b"\x80\x02]Q.", "BINPERSID", 3),
        (b"\x80\x02P0\n.", "PERSID", 2),
        (b"\x80\x02\x82\x01.", "EXT1", 2),
        (b"\x80\x02}.", "EMPTY_DICT", 2),
        (b"\x80\x02N.", "NONE", 2),
        (b"\x80\x02G\0\0\0\0\0\0\0\0.", "BINFLOAT", 2),
        (b"\x80\x02\x88.", "NEWTRUE", 2),
        (b"\x80\x05\x97.", "NEXT_BUFFER", 2),
        (b"\x80\x02\xfe.", "0xfe, which is none of Python's", 2),
    ] {
        let message = pickle::items(bytes, "f").unwrap_err().to_string();
        let expected = format!("f, byte {byte}: the pickle holds the opcode {opcode}");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn pickles_that_blow_up_are_refused() {
    let million = 1_000_000;
    let nested_tuples = [&b"\x80\x02)"[..], &vec![0x85; million], b"."].concat();
    let nested_lists = [
        &b"\x80\x02"[..],
        &vec![b']'; million],
        &vec![b'a'; million - 1],
        b".",
    ]
    .concat();
    // A string of a megabyte, named again a hundred thousand times, with years to tell the items
    // apart.
    let mut repeated = [
        &b"\x80\x02](X"[..],
        &(million as u32).to_le_bytes(),
        &vec![b'a'; million],
        b"q\x01K\x01\x86",
    ]
    .concat();
    for year in 2..60_000u16 {
        repeated.extend([b'h', 1, b'M', year as u8, (year >> 8) as u8, 0x86]);
    }
    repeated.extend(b"e.");
    for (bytes, part) in [
        (&nested_tuples[..], "nested more than 4 deep"),
        (&nested_lists, "nested more than 4 deep"),
        (&repeated, "it repeats one string"),
        (b"\x80\x02]q\0h\0a.", "byte 5: a list is named twice"),
        (
            b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
            "byte 2: the pickle is cut: 1 bytes are left where 18446744073709551615 are needed",
        ),
        (
            b"\x80\x02X\xff\xff\xff\xffab.",
            "the pickle is cut: 3 bytes are left where 4294967295 are needed",
        ),
        (b"\x80\x02\x8a\xff.", "the pickle is cut"),
        (b"\x80\x02\x8a\x09123456789.", "an integer of 9 bytes"),
        (
            b"\x80\x02)r\xff\xff\xff\xffj\xfe\xff\xff\xff.",
            "the memo has no place 4294967294",
        ),
        (b"\x80\x02(\x85.", "the stack is empty here"),
        (b"\x80\x02](a.", "the stack is empty here"),
        (b"\x80\x02e.", "there is no mark for this"),
        (b"\x80\x02q\0.", "nothing is put into the memo"),
        (b"\x80\x02)]a.", "something is appended to a tuple"),
        (b"\x80\x02])a..", "1 bytes follow the end"),
        (b"\x80\x02]].", "ends with 1 values unused"),
    ] {
        let message = pickle::items(bytes, "f").unwrap_err().to_string();
        assert!(message.contains(part), "{message} does not say {part}");
    }
}

#[test]
fn pickles_cut_at_any_byte_are_refused() {
    let names: Vec<_> = (0..300)
        .map(|n| (format!("Film {}", n / 3), (n % 3 > 0).then_some(n)))
        .collect();
    for protocol in 2..=5 {
        let whole = Pickler::pickle(&names, protocol, false, true);
        assert_eq!(pickle::items(&whole, "f").unwrap().len(), 300);
        for length in 0..whole.len() {
            let message = pickle::items(&whole[..length], "f")
                .unwrap_err()
                .to_string();
            assert!(message.contains("the pickle is cut"), "{message}");
        }
    }
}
