//! The authors' own files. The tests need the data folder.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use convrec_core::{CatalogItem, Demonstration, Example, jsonl};
use convrec_formats::{Error, Format, ReadOptions, Records, Source, read_catalog};
use convrec_testdata::data_path;

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

/// An example without its id, which names the folder.
#[cfg(all(feature = "arrow", feature = "parquet"))]
fn content(
    example: &Example,
) -> (
    &[convrec_core::Turn],
    &[convrec_core::Item],
    &[convrec_core::Item],
) {
    (&example.dialog, &example.seen, &example.ground_truth)
}

#[test]
#[cfg(all(feature = "arrow", feature = "parquet"))]
fn all_wrappings_hold_equal_rows() {
    let Some(folder) = data_path("authors_schema") else {
        return;
    };
    for (split, count) in [("train", 300), ("validation", 60), ("test", 60)] {
        let jsonl = read_demonstrations(folder.join("jsonl"), Some(split)).unwrap();
        assert_eq!((jsonl.rows.len(), jsonl.unparsed_lines.count), (count, 0));
        let examples: Vec<_> = jsonl.rows.iter().map(|row| content(&row.example)).collect();
        for other in [
            read_demonstrations(folder.join("sft_dataset"), Some(split)),
            read_demonstrations(folder.join("sft_dataset").join(split), None),
            read_demonstrations(
                folder.join("parquet").join(format!("{split}.parquet")),
                None,
            ),
        ] {
            let other = other.unwrap();
            assert!(other.unparsed_lines.is_empty() && other.rows.len() == count);
            for (one, other) in jsonl.rows.iter().zip(&other.rows) {
                assert_eq!(
                    (content(&one.example), &one.list),
                    (content(&other.example), &other.list)
                );
            }
        }
        if split != "test" {
            let grpo = read_conversations(folder.join("grpo_dataset"), Some(split)).unwrap();
            assert_eq!(grpo.iter().map(content).collect::<Vec<_>>(), examples);
            assert_eq!(grpo[3].id, format!("grpo_dataset-{split}-3-3"));
            let error = read_demonstrations(folder.join("grpo_dataset"), Some(split))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("row 0: there is no list to imitate"),
                "{error}"
            );
        }
    }
}

/// Both files are of ReDial: the authors' schema keeps the fields of a sample.
#[test]
fn rows_agree_with_the_samples_that_they_were_made_of() {
    let (Some(rows), Some(ids)) = (
        data_path("authors_schema/jsonl"),
        data_path("authors_schema/row_ids.json"),
    ) else {
        return;
    };
    let ids: HashMap<String, Vec<String>> =
        serde_json::from_str(&std::fs::read_to_string(ids).unwrap()).unwrap();
    for split in ["train", "validation", "test"] {
        let samples: Vec<Example> =
            jsonl::read_file(data_path(&format!("conversations/redial_{split}.jsonl")).unwrap())
                .unwrap();
        let samples: HashMap<&str, &Example> = samples
            .iter()
            .map(|sample| (sample.id.as_str(), sample))
            .collect();
        for (id, row) in ids[split]
            .iter()
            .zip(read_demonstrations(&rows, Some(split)).unwrap().rows)
        {
            let sample = samples[id.as_str()];
            assert_eq!(row.example.ground_truth, sample.ground_truth, "{id}");
            let titles = |items: &[convrec_core::Item]| {
                items
                    .iter()
                    .map(|item| item.title.clone())
                    .collect::<HashSet<_>>()
            };
            assert_eq!(titles(&row.example.seen), titles(&sample.seen), "{id}");
            assert_eq!(row.list.len(), 20);
            let hits = sample
                .ground_truth
                .iter()
                .filter(|item| row.list.contains(item))
                .count();
            assert_eq!(hits, sample.ground_truth.len(), "{id}");
        }
    }
}

#[test]
fn the_common_schema_goes_through_the_same_door() {
    let Some(path) = data_path("conversations/inspired_test.jsonl") else {
        return;
    };
    assert_eq!(
        read_conversations(&path, None).unwrap(),
        jsonl::read_file::<Example>(&path).unwrap()
    );
    let error = read_demonstrations(&path, None).unwrap_err().to_string();
    assert!(
        error.contains("line 1: there is no list to imitate"),
        "{error}"
    );

    let list = vec![convrec_core::Item::new("Heat", 1995)];
    let rows: Vec<Demonstration> = read_conversations(&path, None)
        .unwrap()
        .into_iter()
        .map(|example| Demonstration {
            example,
            list: list.clone(),
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    jsonl::write_file(folder.path().join("sft.jsonl"), &rows).unwrap();
    assert_eq!(
        read_demonstrations(folder.path().join("sft.jsonl"), None)
            .unwrap()
            .rows,
        rows
    );
}

#[test]
fn the_pickled_catalog_is_the_one_in_json_lines() {
    let Some(path) = data_path("catalog/reddit_v2_gt_catalog.pkl") else {
        return;
    };
    let pickled = read_catalog(&path, &ReadOptions::default()).unwrap().rows;
    let lines: Vec<CatalogItem> =
        jsonl::read_file(data_path("catalog/reddit_v2.jsonl").unwrap()).unwrap();
    assert_eq!(pickled.len(), 7404);
    assert_eq!(pickled, lines);
    assert!(pickled.contains(&CatalogItem {
        title: "The Wall".into(),
        year: Some(201),
        genres: vec![],
        metadata: "".into()
    }));

    // A file that is cut anywhere, or has a byte more, is an error.
    let bytes = std::fs::read(&path).unwrap();
    let read = |bytes: &[u8]| {
        Source::from_bytes("f.pkl", Format::Pickle, bytes.to_vec()).catalog(Default::default())
    };
    for length in (0..bytes.len())
        .step_by(1999)
        .chain(bytes.len() - 50..bytes.len())
    {
        assert!(read(&bytes[..length]).is_err(), "{length}");
    }
    assert!(read(&[&bytes[..], b"."].concat()).is_err());
}

#[test]
fn blank_titles_are_refused_or_reported() {
    let Some(path) = data_path("catalog/inspired.jsonl") else {
        return;
    };
    let error = read_catalog(&path, &ReadOptions::default())
        .unwrap_err()
        .to_string();
    let part = "1 of 1264 rows is bad:\n";
    assert!(error.contains(part), "{error}");
    let part = "inspired.jsonl, line 1, field `title`: blank; expected text\n";
    assert!(error.contains(part), "{error}");
    let read = read_catalog(&path, &ReadOptions::default().skip_bad(true)).unwrap();
    assert_eq!((read.rows.len(), read.skipped.count), (1263, 1));
    assert_eq!(read.skipped.listed[0].row, 0);
}

/// Rows of the paper's own data set, whose demonstrations and ground truth are in its catalog.
#[test]
fn reddit_rows_are_conversations_and_demonstrations_as_they_are() {
    let (Some(path), Some(catalog)) = (
        data_path("reddit_v2_sample/train_sample.jsonl"),
        data_path("catalog/reddit_v2.jsonl"),
    ) else {
        return;
    };
    let catalog = read_catalog(catalog, &ReadOptions::default()).unwrap().rows;
    let catalog: HashSet<_> = catalog.iter().map(CatalogItem::item).collect();
    let read = read_demonstrations(&path, None).unwrap();
    let examples: Vec<Example> = read.rows.iter().map(|row| row.example.clone()).collect();
    assert_eq!(read_conversations(&path, None).unwrap(), examples);
    assert_eq!((examples.len(), read.unparsed_lines.count), (64, 0));
    for row in &read.rows {
        assert_eq!(row.list.len(), 20);
        assert!(
            row.list.iter().all(|item| catalog.contains(item)),
            "{}",
            row.example.id
        );
        assert!(row.example.ground_truth.len() >= 3);
        assert!(
            row.example
                .ground_truth
                .iter()
                .all(|item| catalog.contains(item))
        );
        assert!(row.example.seen.iter().all(|item| item.year.is_none()));
    }
    let dialogs: HashSet<_> = examples.iter().map(Example::dialog_id).collect();
    let prompts: HashSet<_> = examples.iter().map(|example| &example.dialog).collect();
    assert_eq!(dialogs.len(), prompts.len());
}

#[test]
fn the_other_catalogs_are_whole() {
    for (name, count, without_year) in [
        ("redial", 6576, 569),
        ("opendialkg_movies", 2324, 749),
        ("opendialkg_books", 1146, 16),
        ("reddit_v2", 7404, 0),
    ] {
        let Some(path) = data_path(&format!("catalog/{name}.jsonl")) else {
            return;
        };
        let read = read_catalog(&path, &ReadOptions::default()).unwrap();
        assert_eq!(read.rows, jsonl::read_file::<CatalogItem>(&path).unwrap());
        assert_eq!(read.rows.len(), count);
        assert_eq!(
            read.rows.iter().filter(|item| item.year.is_none()).count(),
            without_year
        );
    }
}
