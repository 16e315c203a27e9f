//! Catalogs of every format: files of an independent writer are read back, and every kind of bad
//! row has its message.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use convrec_core::CatalogItem;
use convrec_formats::{BadRowPolicy, Error, Format, ReadOptions, Records, Source, read_catalog};
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
    read_catalog(path, &ReadOptions::default())
        .unwrap_err()
        .to_string()
}

fn read(name: &str, bytes: impl AsRef<[u8]>) -> Records<CatalogItem> {
    let (_folder, path) = file(name, bytes);
    read_catalog(path, &ReadOptions::default()).unwrap()
}

fn lines(items: &[CatalogItem]) -> String {
    let line = |item| serde_json::to_string(item).unwrap() + "\n";
    items.iter().map(line).collect()
}

fn names(items: &[CatalogItem]) -> Vec<String> {
    items.iter().map(|item| item.item().to_string()).collect()
}

/// A cell as spreadsheets write it, quoted where there is a comma, a quote, or a line end.
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
    let genres = prop::collection::vec("G[A-Za-z][A-Za-z -]{0,6}[a-z]", 0..3);
    let item = (
        title,
        prop::option::of(-800..2100),
        genres,
        r#"(x[ -~\n]{0,20})?"#,
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
    fn what_is_written_is_read_back(
        items in items(),
        year_first in any::<bool>(),
        trailing in any::<bool>(),
    ) {
        let json = lines(&items);
        prop_assert_eq!(&read("c.jsonl", json).rows, &items);

        let headers = [
            "title,year,genres,metadata,x\n",
            "\u{feff}year,other,title,metadata,genres\r\n",
        ];
        let mut csv = headers[usize::from(year_first)].to_string();
        for (index, item) in items.iter().enumerate() {
            let year = item.year.map_or(String::new(), |year| year.to_string());
            let genres = item.genres.join(" |");
            let cells = [&item.title, &item.metadata, &genres];
            let [title, metadata, genres] = cells.map(|text| csv_cell(text));
            csv += &if year_first {
                format!("{year},\"\",{title},{metadata},{genres}")
            } else {
                format!("{title},{year},{genres},{metadata},7")
            };
            if trailing || index + 1 < items.len() {
                csv += if year_first { "\r\n" } else { "\n" };
            }
        }
        prop_assert_eq!(&read("c.csv", csv).rows, &items);
    }

    #[test]
    fn what_is_pickled_is_read_back(
        names in prop::collection::btree_set( ("[a-c]{0,2}d|é{150}", prop::option::of(-70_000..70_000i32)), 1..300, ),
        protocol in 2..=5u8,
        one_by_one in any::<bool>(),
        tuples in any::<bool>(),
    ) {
        let names: Vec<(String, Option<i32>)> = names.into_iter().collect();
        let bytes = Pickler::pickle(&names, protocol, one_by_one, tuples);
        let items = read("c.pkl", bytes).rows;
        let items = items.into_iter().map(|item| (item.title, item.year));
        prop_assert_eq!(items.collect::<Vec<_>>(), names);
    }

    #[test]
    fn any_bytes_are_a_catalog_or_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        name in "c\\.(jsonl|csv|pkl|tsv|json)",
    ) {
        let (_folder, path) = file(&name, bytes);
        let _ = read_catalog(path, &ReadOptions::default().skip_bad(true));
    }

    #[test]
    fn any_text_is_a_table_or_an_error(text in "(title|year|[,;\t\n\"a1\r]){0,40}") {
        let (_folder, path) = file("c.csv", text);
        let _ = read_catalog(path, &ReadOptions::default().skip_bad(true));
    }

    #[test]
    fn lines_and_arrays_hold_the_same_rows(
        items in items(),
        pretty in any::<bool>(),
        bom in any::<bool>(),
    ) {
        let text = match pretty {
            true => serde_json::to_string_pretty(&items),
            false => serde_json::to_string(&items),
        };
        let text = text.unwrap();
        let text = if bom {
            format!("\u{feff}\n{text}\n")
        } else {
            text
        };
        prop_assert_eq!(&read("c.json", text).rows, &items);
        let lines = lines(&items);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(lines.as_bytes()).unwrap();
        prop_assert_eq!(&read("c.jsonl.gz", packed.finish().unwrap()).rows, &items);
        let text = format!("\u{feff}{lines}");
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        prop_assert_eq!(&read("c.jsonl", units.collect::<Vec<u8>>()).rows, &items);
    }
}

#[test]
fn bad_rows_are_refused_with_their_number_or_skipped_with_their_place() {
    let json = "\n{\"title\":\"Heat\",\"year\":\"1995\"}\n{\"title\":\" \"}\n\
                {\"title\":\"Up\",\"year\":\"soon\"}\n{\"title\":\"Heat\",\"year\":1995}\n\
                {\"title\":\"Heat\"}\n{\"title\":\"The Wall\",\"year\":201}\n";
    let csv = "title,year\nHeat,1995\n\"\",\nUp,soon\nHeat,1995.0\nHeat,\nThe Wall,201\n";
    for (name, text) in [("c.jsonl", json), ("c.csv", csv)] {
        let (_folder, path) = file(name, text);
        let read = read_catalog(&path, &ReadOptions::default().skip_bad(true)).unwrap();
        assert_eq!(
            names(&read.rows),
            ["Heat (1995)", "Heat", "The Wall (201)"],
            "{name}"
        );
        assert_eq!((read.skipped.count, read.skipped.rows_read), (3, 6));
        let listed: Vec<(usize, String)> = read
            .skipped
            .listed
            .iter()
            .map(|bad| {
                (
                    bad.row,
                    bad.to_string().rsplit('/').next().unwrap().to_string(),
                )
            })
            .collect();
        let expected = [
            (
                1,
                format!("{name}, line 3, field `title`: blank; expected text"),
            ),
            (
                2,
                format!(
                    "{name}, line 4, field `year`: `soon` is no year; expected an integer, or \
                     nothing"
                ),
            ),
            (
                3,
                format!("{name}, line 5: `Heat (1995)` is the item of line 2 again"),
            ),
        ];
        assert_eq!(listed, expected);
        let message = error(name, text);
        for part in [
            "3 of 6 rows are bad:",
            "line 3, field `title`: blank",
            "line 4, field `year`: `soon` is no year",
            "is the item of line 2 again",
            "mend these rows, remove them, or skip them (`--skip-bad`, `ReadOptions::skip_bad`)",
        ] {
            assert!(message.contains(part), "{message} does not say {part}");
        }
    }
    // Where no row is good, the error still names the reasons.
    let (_folder, path) = file("c.csv", "title,year\n ,\nUp,soon\n");
    let message = read_catalog(&path, &ReadOptions::default().skip_bad(true))
        .unwrap_err()
        .to_string();
    assert!(message.contains("2 of 2 rows are bad") && message.contains("no usable row is left"));
    assert!(message.contains("`soon` is no year"), "{message}");
}

#[test]
fn tables_of_other_programs_are_read() {
    let one = |name: &str, text: &[u8]| names(&read(name, text).rows).join("; ");
    for (name, text) in [
        (
            "bom.csv",
            &b"\xef\xbb\xbftitle,year\r\nUp,2009\r\nHeat,1995\r\n"[..],
        ),
        ("semicolon.csv", b"title;year\nUp;2009\nHeat;1995\n"),
        ("tab.csv", b"title\tyear\nUp\t2009\nHeat\t1995\n"),
        ("x.tsv", b"year\ttitle\n2009\tUp\n1995\tHeat\n"),
        (
            "excel.csv",
            b"sep=;\r\ntitle;year\r\nUp;2009\r\nHeat;1995\r\n",
        ),
        ("capitals.csv", b"Title, Year\nUp,2009\nHeat,1995.0\n"),
        ("names.csv", b"name,release_year\nUp,2009\nHeat,1995\n"),
        ("old_mac.csv", b"title,year\rUp,2009\rHeat,1995\r"),
        ("pandas.csv", b",title,year\n0,Up,2009.0\n1,Heat,1995.0\n"),
        (
            "excel_rows.csv",
            b"title,year,\r\nUp,2009,\r\nHeat,1995,\r\n,,\r\n,,\r\n",
        ),
        ("dos.csv", b"title,year\r\nUp,2009\r\nHeat,1995\r\n\x1a"),
        ("dos1.csv", b"title\nUp (2009)\nHeat (1995)\n\x1a"),
        (
            "spaces.csv",
            b"\"title\" , \"year\"\nUp, \"2009\"\nHeat,1995.00\n",
        ),
        (
            "dates.csv",
            b"title,release_date\nUp,2009-05-28\nHeat,1995-12-15\n",
        ),
        ("both.csv", b"title,year\nUp (2009),2009\nHeat,1995\n"),
        ("blank.csv", b"\n\ntitle,year\nUp,2009\n\nHeat,1995\n\n"),
    ] {
        assert_eq!(one(name, text), "Up (2009); Heat (1995)", "{name}");
    }
    assert_eq!(
        one(
            "nan.csv",
            b"title,year\nUp,nan\nX,NaN\nY,None\nZ,\nW,<NA>\n"
        ),
        "Up; X; Y; Z; W"
    );
    assert_eq!(
        one(
            "quotes.csv",
            b"title,year\n\"Up\nagain\",2009\n\"say \"\"hi\"\"\",2010\n"
        ),
        "Up\nagain (2009); say \"hi\" (2010)"
    );
    let films = read(
        "movielens.csv",
        "movieId,title,genres\n1,Toy Story (1995),Adventure|Animation\n2,Nothing,(no genres \
         listed)\n",
    );
    assert_eq!(films.rows[0].genres, ["Adventure", "Animation"]);
    assert!(films.rows[1].genres.is_empty());
}

#[test]
fn json_of_other_programs_is_read() {
    let one = |text: &str| names(&read("c.json", text).rows).join("; ");
    for text in [
        "[\n {\"title\":\"Up\",\"year\":2009},\n {\"title\":\"Heat\",\"year\":1995}\n]",
        "{\"title\":\"Up\",\"year\":2009}{\"title\":\"Heat\",\"year\":1995}\n",
        "{\"title\":\"Up\",\"year\":2009,\"score\":NaN}\r\n{'title': 'Heat', 'year': 1995, 'seen': \
         None}\r\n",
        "[[\"Up\", 2009], [\"Heat\", \"1995\"]]",
        "[\"Up\", 2009]\n[\"Heat\", \"1995\"]\n",
        "[\"Up (2009)\", \"Heat (1995)\"]",
        "[\n\"Up (2009)\",\n\"Heat (1995)\"\n]",
        "\"Up (2009)\"\n\"Heat (1995)\"\n",
        "{\"Title\":\"Up\",\"YEAR\":2009.0}\n{\"name\":\"Heat\",\"release_year\":1995}",
    ] {
        assert_eq!(one(text), "Up (2009); Heat (1995)", "{text}");
    }
    assert_eq!(
        one("{\"title\":\"Up \\ud83d\",\"year\":NaN}"),
        "Up \u{fffd}"
    );
    assert_eq!(one("{\"title\":\"a, ] \\\" [\"}"), "a, ] \" [");
    assert_eq!(
        one("[{\"title\":\"a, ] \\\" [\"} , {\"title\":\"b\"}]"),
        "a, ] \" [; b"
    );
}

#[test]
fn damaged_catalogs_say_where() {
    let cases: &[(&str, &[u8], &str)] = &[
        (
            "c.csv",
            b"film,when\nHeat,1995\n",
            "c.csv, line 1: found the columns `film`, `when`; expected `title` for a catalog",
        ),
        (
            "c.csv",
            b"title,title\na,b\n",
            "line 1: two columns are called `title`",
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
            "line 3, field `title`: byte 2 of it is not UTF-8; expected UTF-8 text",
        ),
        (
            "c.csv",
            b"title,year\nHeat,1995\nUp,\"2009\nRonin,1998\n",
            "line 3, field `year`: a double quote in front of this text is never closed",
        ),
        (
            "c.csv",
            b"",
            "line 1: found the columns none; expected `title`",
        ),
        (
            "c.csv",
            b"title,year\n",
            "there are no rows; expected at least one",
        ),
        (
            "c.jsonl",
            b"{\"title\":\"Heat\",\"year\":[1995]}\n",
            "line 1, field `year`: found a list; expected an integer",
        ),
        (
            "c.jsonl",
            b"{\"title\":\"Heat\"}\n{\"year\":1}\n",
            "1 of 2 rows is bad:\n  ",
        ),
        (
            "c.jsonl",
            b"{\"title\":\"Heat\"}\n{\"year\":1}\n",
            "line 2: there is no `title`; found an object with the fields `year`",
        ),
        (
            "c.jsonl",
            b"{\"title\":\"Heat\"",
            "line 1: EOF while parsing an object at column 15; expected one JSON object a",
        ),
        (
            "c.jsonl",
            b"{\n \"title\": \"Heat\"\n}\n",
            "line 1: EOF while parsing an object at column 1; expected one JSON object a line",
        ),
        (
            "c.jsonl",
            b"{\"title\":\"Up\",\"title\":\"Heat\"}",
            "the field `title` comes twice",
        ),
        (
            "c.jsonl",
            b"{\"title\":\"Up\"},\n",
            "line 1: expected value at column 15",
        ),
        ("c.jsonl", b"", "there are no rows"),
        ("c.jsonl", b"[]", "there are no rows"),
        (
            "c.json",
            b"[{\"title\":\"Up\"}",
            "line 1: the array does not end, the file may be cut",
        ),
        (
            "c.json",
            b"[{\"title\":\"Up\"}]\n{}",
            "text follows the end of the array",
        ),
        (
            "c.json",
            b"[{\"title\":\"Up\"},\n{\"title\":}]",
            "line 2: expected value at column 10",
        ),
        (
            "c.jsonl",
            b"PK\x03\x04",
            "this is a zip archive or a spreadsheet",
        ),
        (
            "c.csv",
            b"version https://git-lfs.github.com/spec/v1\n",
            "run `git lfs pull`",
        ),
        ("c.jsonl.gz", b"\x1f\x8b", "it cannot be read"),
        (
            "c.jsonl",
            b"\xff\xfe{\0\0",
            "it begins as UTF-16 and is none",
        ),
        (
            "c.xlsx",
            b"PK",
            "expected a file `.jsonl`, `.json`, `.csv`, `.tsv`, `.parquet`, `.arrow`",
        ),
        (
            "c.pkl",
            b"",
            "byte 0: the pickle is cut: 0 bytes are left where 1 are needed",
        ),
        (
            "c.pkl",
            b"\x80\x04K\x01.",
            "the pickle is an integer; expected a list of `(title, year)`; save plain values",
        ),
        (
            "c.pkl",
            b"\x80\x04}.",
            "the pickle is a dictionary; expected a list of `(title, year)`; save",
        ),
        (
            "c.pkl",
            b"\x80\x04]K\x01a.",
            "row 0: found the number 1; expected an item",
        ),
        (
            "c.pkl",
            b"\x80\x04](\x89K\x01\x86e.",
            "row 0, field `title`: found false; expected text",
        ),
        (
            "c.pkl",
            b"\x80\x04](\x8c\x01a]\x86e.",
            "row 0, field `year`: found a list",
        ),
        (
            "c.pkl",
            b"\x80\x04](\x8c\x01aK\x01K\x02\x87e.",
            "row 0: found a list of 3; expected an item",
        ),
        (
            "c.pkl",
            b"\x80\x04](\x8c\x01a\x8c\x04soon\x86e.",
            "row 0, field `year`: `soon` is no year",
        ),
        (
            "c.pkl",
            b"\x80\x04](\x8c\x01aC\x01a\x86e.",
            "row 0: found bytes; expected `(title, year)`; save plain values",
        ),
        (
            "c.pkl",
            b"\x80\x04]\x8c\x01\xffa.",
            "byte 3: byte 1 of this string is not UTF-8",
        ),
        (
            "c.pkl",
            b"\x80\x06].",
            "byte 0: pickle protocol 6; expected 0 to 5",
        ),
        (
            "c.pkl",
            b"\x80\x04\x8f.",
            "the pickle holds the opcode EMPTY_SET (a set; save `sorted(items)`)",
        ),
    ];
    for (name, bytes, part) in cases {
        let message = error(name, bytes);
        assert!(message.contains(part), "{message} does not say {part}");
    }
    let message = read_catalog("no/such.csv", &ReadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("cannot read no/such.csv"), "{message}");
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("c.csv");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    for path in [fifo, PathBuf::from("/dev/zero")] {
        if path.exists() && made.is_ok() {
            let message = read_catalog(&path, &ReadOptions::default())
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("cannot read") || message.contains("expected a file"),
                "{message}"
            );
        }
    }
}

/// Python's own bytes of the pickles are in the cases of public reports.
#[test]
fn pickles_of_scalars_are_read() {
    let float = [
        &b"\x80\x04]\x8c\x02UpG"[..],
        &2009_f64.to_be_bytes(),
        b"\x86a.",
    ]
    .concat();
    let nan = [
        &b"\x80\x04]\x8c\x02UpG"[..],
        &f64::NAN.to_be_bytes(),
        b"\x86a.",
    ]
    .concat();
    let protocol_0 = b"(lp0\n(VUp \\u00e9\\U0001f600\np1\nI2009\ntp2\na(g1\nL-5L\nta(VHeat\nNta.";
    let dictionaries =
        b"\x80\x04](}(\x8c\x05title\x8c\x02Up\x8c\x04yearM\xd9\x07\x8c\x06genres]\x8c\x01aaue.";
    for (bytes, expected) in [
        (&float[..], "Up (2009)"),
        (&nan, "Up"),
        (b"\x80\x04]\x8c\x02UpN\x86a.", "Up"),
        (
            protocol_0,
            "Up \u{e9}\u{1f600} (2009); Up \u{e9}\u{1f600} (-5); Heat",
        ),
        (dictionaries, "Up (2009)"),
    ] {
        assert_eq!(names(&read("c.pkl", bytes).rows).join("; "), expected);
    }
    assert_eq!(read("c.pkl", dictionaries).rows[0].genres, ["a"]);
    // `numpy.int16(2009)` in protocol 2, big-endian, whose type is named again behind its state.
    let numpy = b"\x80\x02](X\x02\0\0\0Upcnumpy.core.multiarray\nscalar\nq\x01cnumpy\ndtype\nX\x02\0\0\0i2K\0K\x01\x87Rq\x02\
        (K\x03X\x01\0\0\0>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tbc_codecs\nencode\nX\x03\0\0\0\x07\xc3\x99X\x06\0\0\0latin1\x86R\x86R\x86\
        X\x02\0\0\0Heh\x01h\x02c_codecs\nencode\nX\x03\0\0\0\x07\xc3\x8bX\x06\0\0\0latin1\x86R\x86R\x86e.";
    assert_eq!(
        names(&read("c.pkl", numpy).rows).join("; "),
        "Up (2009); He (1995)"
    );
}

#[test]
fn lists_that_two_rows_share_are_read() {
    // `genres = ["a"]`, and two dictionaries that hold it.
    let shared = b"\x80\x04](}(\x8c\x05title\x8c\x02Up\x8c\x06genres]\x94\x8c\x01aau\
        }(\x8c\x05title\x8c\x02He\x8c\x06genresh\x00ue.";
    let items = pickle(shared).unwrap();
    assert_eq!(names(&items), ["Up", "He"]);
    assert!(items.iter().all(|item| item.genres == ["a"]));
    let texts = b"\x80\x04](\x8c\x09Up (2009)\x8c\x0bHeat (1995)e.";
    assert_eq!(names(&pickle(texts).unwrap()), ["Up (2009)", "Heat (1995)"]);
    // A list of two million texts, and the same list a hundred thousand times.
    let long = [
        &b"\x80\x02](](X\x01\0\0\0a"[..],
        &vec![b'N'; 1 << 20],
        b"eq\0",
    ]
    .concat();
    let bomb = [&long[..], &[b'h', 0].repeat(100_000), b"e."].concat();
    let message = pickle(&bomb).unwrap_err().to_string();
    assert!(message.contains("unfolds to"), "{message}");
    for own in [
        &b"\x80\x02]q\0(]q\x01h\0ae."[..],
        b"\x80\x02](]q\0h\0ae.",
        b"\x80\x02]q\0(h\0e.",
    ] {
        let message = pickle(own).unwrap_err().to_string();
        assert!(message.contains("named twice") || message.contains("appended to a list"));
    }
}

fn pickle(bytes: &[u8]) -> Result<Vec<CatalogItem>, Error> {
    let source = Source::from_bytes("f", Format::Pickle, bytes.to_vec());
    source.catalog(BadRowPolicy::Refuse).map(|read| read.rows)
}

#[test]
fn pickles_that_are_programs_are_refused() {
    let cases: &[(&[u8], &str, usize)] = &[
        // What `pickle.dumps` writes of an object whose `__reduce__` returns
        // `(os.system, ("true",))`.
        (
            b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
            "the pickle names `posix.system`, which is not read",
            28,
        ),
        (b"\x80\x02cposix\nsystem\nq\0X\x04\0\0\0trueq\x01\x85q\x02Rq\x03.", "the pickle names \
            `posix.system`", 2),
        (b"cos\nsystem\n(S'true'\ntR.", "the pickle names `os.system`", 0),
        (b"cpandas.core.frame\nDataFrame\n.", "is executed; save `df.to_parquet(path)`", 0),
        (b"cnumpy.core.multiarray\n_reconstruct\n.", "save `array.tolist()`", 0),
        (b"cnumpy\nload\n.", "the pickle names `numpy.load`", 0),
        (b"(S'true'\nios\nsystem\n.", "the opcode STRING", 1),
        (b"(ios\nsystem\n.", "the opcode INST", 1),
        (b"\x80\x02])R.", "a list is called", 4),
        (b"\x80\x02]R.", "the stack is empty", 3),
        (b"\x80\x02cnumpy\ndtype\n)R.", "a call of numpy with other arguments", 16),
        (b"\x80\x02])b.", "an object is built", 4),
        (b"\x80\x02)\x81.", "the opcode NEWOBJ", 3),
        (b"\x80\x04)\x92.", "the opcode NEWOBJ_EX", 3),
        (b"\x80\x02]Q.", "the opcode BINPERSID", 3),
        (b"\x80\x02P0\n.", "the opcode PERSID", 2),
        (b"\x80\x02\x82\x01.", "the opcode EXT1", 2),
        (b"\x80\x05\x97.", "the opcode NEXT_BUFFER", 2),
        (b"\x80\x02\xfe.", "the opcode 0xfe, which is none of Python's", 2),
    ];
    for (bytes, part, byte) in cases {
        let message = pickle(bytes).unwrap_err().to_string();
        let place = format!("f, byte {byte}: ");
        assert!(
            message.starts_with(&place) && message.contains(part),
            "{message} does not say {place}{part}"
        );
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
        (&nested_tuples[..], "nested more than 6 deep"),
        (&nested_lists, "nested more than 6 deep"),
        (&repeated, "the file unfolds to more than 21 MB"),
        (
            b"\x80\x02]q\0h\0a.",
            "byte 5: a list or dictionary is named twice",
        ),
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
        let message = pickle(bytes).unwrap_err().to_string();
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
        assert_eq!(pickle(&whole).unwrap().len(), 300);
        for length in 0..whole.len() {
            let message = pickle(&whole[..length]).unwrap_err().to_string();
            assert!(message.contains("the pickle is cut"), "{message}");
        }
    }
}
