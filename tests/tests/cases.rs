//! The folder of cases from public reports, walked as a whole: every file in it belongs to a row of
//! the table, and every row names the test that shows its outcome. Rows that no crate can show
//! alone have their outcome here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use convrec_catalog::Catalog;
use convrec_core::{Example, Item, Turn, jsonl};
use convrec_demonstrations::{LexicalEmbedder, Pipeline, PipelineConfig, ReplayTeacher, Services};
use convrec_testdata::case_path;
use convrec_text::{ListFormat, ParsedList};
use convrec_watch::{Doctor, DoctorConfig, log};

const TEXT: &str = "crates/convrec-text/tests/cases.rs";
const FORMATS: &str = "crates/convrec-formats/tests/public_reports.rs";
const POLICY: &str = "crates/convrec-policy/tests/policy_cases.rs";
const METRICS: &str = "crates/convrec-metrics/tests/cases.rs";
const TEACHER: &str = "crates/convrec-demonstrations/tests/public_reports.rs";
const HERE: &str = "tests/tests/cases.rs";

/// Each row of the folder, and where its outcome is asserted.
const ROWS: &[(&str, &str)] = &[
    ("01", TEXT),
    ("02", TEXT),
    ("04", TEXT),
    ("05", TEXT),
    ("07", TEXT),
    ("08", TEXT),
    ("09", TEXT),
    ("11", TEXT),
    ("12", TEXT),
    ("13", TEXT),
    ("14", TEXT),
    ("21", POLICY),
    ("22", POLICY),
    ("23", POLICY),
    ("24", POLICY),
    ("25", POLICY),
    ("26", POLICY),
    ("28", POLICY),
    ("29", POLICY),
    ("30", POLICY),
    ("31", POLICY),
    ("32", POLICY),
    ("33", POLICY),
    ("34", POLICY),
    ("40", TEXT),
    ("41", TEXT),
    ("42", TEXT),
    ("43", TEXT),
    ("44", TEXT),
    ("45", TEXT),
    ("46", TEXT),
    ("47", TEXT),
    ("49", TEXT),
    ("50", TEXT),
    ("51", TEXT),
    ("52", TEXT),
    ("60", FORMATS),
    ("61", FORMATS),
    ("63", FORMATS),
    ("64", FORMATS),
    ("65", FORMATS),
    ("66", FORMATS),
    ("67", FORMATS),
    ("68", FORMATS),
    ("70", TEACHER),
    ("80", METRICS),
    ("82", METRICS),
    ("83", METRICS),
    ("84", METRICS),
    ("85", METRICS),
    ("86", METRICS),
    ("87", METRICS),
    ("88", METRICS),
    ("89", FORMATS),
    ("90", TEXT),
    ("91", HERE),
    ("92", HERE),
    ("95", HERE),
    ("96", HERE),
    ("A4", HERE),
];

/// Rows whose tests name every single input, as `60/plain.arrow`.
const BY_INPUT: [&str; 2] = [FORMATS, POLICY];

/// What stands in the folder besides inputs: titles, what programs wrote, and data of another row.
fn is_input(path: &str) -> bool {
    let (row, name) = path.split_once('/').unwrap_or((path, ""));
    let written = name.ends_with(".html") || name.ends_with(".svg");
    // The many row groups of one table, and a pointer that another input of the row is made of.
    !written
        && name != "TITLE"
        && !["64/rg.parquet", "34/lfs_", "89/TITLE"].contains(&path)
        && row.len() == 2
}

fn files(folder: &Path, below: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, below, found);
        } else {
            let name = path.strip_prefix(below).unwrap();
            found.push(name.to_str().unwrap().to_string());
        }
    }
}

/// Whether a test names an input, or a folder that it lies in, as `26/yarn`.
fn names(test: &str, input: &str) -> bool {
    let mut path = Path::new(input);
    loop {
        if test.contains(&format!("\"{}\"", path.display())) {
            return true;
        }
        match path.parent() {
            Some(parent) if parent.components().count() > 1 => path = parent,
            _ => return false,
        }
    }
}

#[test]
fn every_file_has_its_outcome_in_a_test() {
    let Some(folder) = case_path("public_reports") else {
        return;
    };
    let mut inputs = vec![];
    files(&folder, &folder, &mut inputs);
    inputs.retain(|input| is_input(input));
    assert!(inputs.len() > 300, "{} inputs", inputs.len());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let tests: BTreeMap<&str, String> = ROWS
        .iter()
        .map(|(_, test)| (*test, fs::read_to_string(root.join(test)).unwrap()))
        .collect();
    let rows: BTreeMap<&str, &str> = ROWS.iter().copied().collect();
    let mut unshown = vec![];
    for input in &inputs {
        let row = &input[..2];
        let shown = rows.get(row).is_some_and(|test| {
            let text = &tests[test];
            match BY_INPUT.contains(test) {
                true => names(text, input),
                false => text.contains(&format!("\"{row}\"")) || text.contains(&format!("{row}/")),
            }
        });
        // The shapes of row 70 have a test of their own.
        if !shown && row != "70" {
            unshown.push(input.as_str());
        }
    }
    assert!(
        unshown.is_empty(),
        "no test shows the outcome of {unshown:?}"
    );
    let found: BTreeSet<&str> = inputs.iter().map(|input| &input[..2]).collect();
    let gone: Vec<_> = rows.keys().filter(|row| !found.contains(*row)).collect();
    assert!(gone.is_empty(), "rows without inputs: {gone:?}");
}

/// Shapes of row 70 that are a status or a header, which the tests of the client have.
const STATUS: [&str; 2] = ["503", "429date"];

/// The shapes of answers of row 70, by the settings files of the folder.
#[test]
fn every_shape_of_an_answer_is_among_those_of_the_teachers_test() {
    let Some(folder) = case_path("public_reports/70") else {
        return;
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let test = fs::read_to_string(root.join(TEACHER)).unwrap();
    let mut unshown = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(shape) = name.strip_suffix(".toml")
            && !STATUS.contains(&shape)
            && !test.contains(&format!("\"{shape}\""))
        {
            unshown.push(shape.to_string());
        }
    }
    unshown.sort();
    assert!(unshown.is_empty(), "{unshown:?}");
}

fn shown(list: &ParsedList) -> Vec<String> {
    list.items().map(Item::to_string).collect()
}

/// Years as people write them.
#[test]
fn row_91_lines_of_lists() {
    let Some(folder) = case_path("public_reports/91") else {
        return;
    };
    let read = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        shown(&ListFormat::default().parse(&text))
    };
    assert_eq!(
        read("l.txt"),
        [
            "The Matrix (1999)",
            "Friends (1994)",
            "Breaking Bad (2008)",
            "The Office (US) (2005)",
            "Se7en (a.k.a. Seven) (1995)",
            "Heat (1995)",
            "Dune: Part Two (2024)",
            "Blade Runner 2049 (2017)",
            "1917 (2019)",
            "300 (2006)",
            "Title: Coco (2017)",
            "Jaws (1975)",
            "Ronin (1998)",
            "Amélie (Le Fabuleux Destin d'Amélie Poulain) (2001)",
            "2001: A Space Odyssey (1968)",
            "Fargo (1996)",
        ]
    );
    let lines = read("l2.txt");
    for whole in ["Movie (1995)", "Wide (2001)", "Quote (2003)", "Star (2004)"] {
        assert!(lines.iter().any(|line| line == whole), "{whole}: {lines:?}");
    }
    // An item's own line is that item, however its brackets and spaces are written.
    let catalog = Catalog::read(folder.join("c.jsonl")).unwrap();
    for (line, title) in [
        ("Ame\u{301}lie (2001)", "Amélie"),
        ("千と千尋の神隠し（2001）", "千と千尋の神隠し"),
        ("Ｕｐ　（２００９）", "Up"),
        ("It’s a Wonderful Life\u{a0}(1946)", "It's a Wonderful Life"),
        (
            "Spider\u{2010}Man: No Way Home (2021)",
            "Spider-Man: No Way Home",
        ),
    ] {
        let ids = catalog.named(line).unwrap();
        assert_eq!(ids.len(), 1, "{line}");
        assert_eq!(catalog[ids[0]].title, title);
    }
    let error = catalog.named("Rokcy II (1979)").unwrap_err().to_string();
    assert!(error.contains("\"Rocky II (1979)\""), "{error}");
}

/// Names that are not exact: none by default, nearly all by a likely guess.
#[test]
fn row_92_names_that_are_not_exact() {
    let Some(folder) = case_path("public_reports") else {
        return;
    };
    let catalog = Catalog::read(folder.join("91/c.jsonl")).unwrap();
    let teacher = ReplayTeacher::read(folder.join("92/a.jsonl")).unwrap();
    let examples: Vec<Example> = jsonl::read_file(folder.join("92/c.jsonl")).unwrap();
    let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
    let embedder = LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH);
    let meant = |fuzzy| {
        let config = PipelineConfig {
            n: 16,
            fuzzy,
            remap: false,
            reflect: false,
            adjust: false,
            ..PipelineConfig::default()
        };
        let services = Services {
            teacher: &teacher,
            embedder: &embedder,
            judge: None,
            describer: &(),
        };
        let pipeline = Pipeline::new(config, &catalog, services).unwrap();
        let found = pipeline.run(&examples, &|_| ()).unwrap();
        let named = found.steps[0].teacher.clone();
        (
            named.iter().filter(|named| named.id.is_some()).count(),
            named.iter().filter(|named| named.guess.is_some()).count(),
        )
    };
    assert_eq!(meant(None), (0, 0));
    let (exact, guessed) = meant(Some(0.6));
    assert_eq!(exact, 0);
    assert!(guessed >= 15, "{guessed} of 16");
}

/// Logs of TRL: all are read. A loss that is not a number is diagnosed where two records in a row
/// have it (`nan_records`).
#[test]
fn rows_95_and_96_logs_of_trl() {
    let Some(folder) = case_path("public_reports") else {
        return;
    };
    for (name, is_healthy) in [
        ("95/good", true),
        ("95/nan", true),
        ("95/inf", true),
        ("95/gap", true),
        ("95/eval", true),
        ("95/evalfirst", true),
        ("95/strloss", true),
        ("95/summary", true),
        ("95/nanreward", true),
        ("96/good", true),
        ("96/nan", false),
    ] {
        let records = log::read(folder.join(name)).unwrap();
        assert!(!records.is_empty(), "{name}");
        let found = Doctor::examine(DoctorConfig::default(), &records).unwrap();
        let not_finite = found
            .iter()
            .any(|found| found.check.name() == "loss_not_a_number");
        assert_eq!(!not_finite, is_healthy, "{name}: {found:?}");
    }
    // No steps yet: nothing to judge.
    assert!(log::read(folder.join("95/accel")).unwrap().is_empty());
}

/// Demonstrations that cannot be used; what training does with them is in its own tests.
#[test]
fn row_a4_demonstrations() {
    let Some(folder) = case_path("public_reports/A4") else {
        return;
    };
    let names = ["Heat", "Alien", "Up", "Ronin", "Jaws", "Coco"];
    let years = [1995, 1979, 2009, 1998, 1975, 2017];
    let items = names
        .iter()
        .zip(years)
        .map(|(title, year)| format!("{{\"title\": \"{title}\", \"year\": {year}}}\n"));
    let text: String = items.collect();
    let catalog = Catalog::new(jsonl::read(text.as_bytes(), "c").unwrap()).unwrap();
    for (name, problem) in [
        ("long", Some("\"Dune (2021)\" is not in the catalog")),
        ("off", Some("\"Nope (2000)\" is not in the catalog")),
        ("seen", None),
        ("year", Some("\"Up (2010)\" is not in the catalog")),
    ] {
        let path = folder.join(format!("{name}.jsonl"));
        let rows: Vec<convrec_core::Demonstration> = jsonl::read_file(&path).unwrap();
        let policy = convrec_core::BadRowPolicy::Refuse;
        let read = convrec_train::data::in_catalog(&catalog, rows, name, policy);
        match (read, problem) {
            (Ok((rows, _)), None) => assert_eq!(rows[0].example.dialog, [Turn::user("Hi")]),
            (Err(bad), Some(problem)) => {
                let said = bad.to_string();
                assert!(said.starts_with("1 of 1 rows is bad"), "{said}");
                assert!(said.contains(problem), "{said}");
            }
            (read, _) => panic!("{name}: {read:?}"),
        }
    }
}
