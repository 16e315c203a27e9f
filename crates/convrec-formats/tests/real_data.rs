//! The authors' own files; needs the data folder.

use std::collections::{HashMap, HashSet};

use convrec_core::{CatalogItem, Demonstration, Example, jsonl};
use convrec_formats::{BadRows, read_catalog_items, read_conversations, read_demonstrations};
use convrec_testdata::data_path;

/// An example but for its id, which names the folder.
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
        assert_eq!((jsonl.rows.len(), jsonl.left_out.len()), (count, 0));
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
            assert!(other.left_out.is_empty() && other.rows.len() == count);
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
                error.contains("row 0, field `completion`: there is none"),
                "{error}"
            );
        }
    }
}

/// Both are of ReDial: what the authors' schema keeps of a sample is what the sample has.
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
        error.contains("line 1") && error.contains("missing field `list`"),
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
    let pickled = read_catalog_items(&path, BadRows::Refuse).unwrap().rows;
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

    // Cut anywhere, or with a byte more, it is an error.
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..bytes.len())
        .step_by(1999)
        .chain(bytes.len() - 50..bytes.len())
    {
        assert!(
            convrec_formats::pickle::items(&bytes[..length], "cut.pkl").is_err(),
            "{length}"
        );
    }
    assert!(convrec_formats::pickle::items(&[&bytes[..], b"."].concat(), "long.pkl").is_err());
}

#[test]
fn blank_titles_are_refused_or_reported() {
    let Some(path) = data_path("catalog/inspired.jsonl") else {
        return;
    };
    let error = read_catalog_items(&path, BadRows::Refuse)
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with(
            "inspired.jsonl, line 1, field `title`: blank; expected text; mend the row, or have such rows left out"
        ),
        "{error}"
    );
    let read = read_catalog_items(&path, BadRows::LeaveOut).unwrap();
    assert_eq!((read.rows.len(), read.left_out.len()), (1263, 1));
    assert_eq!(
        (read.left_out[0].row, read.left_out[0].place.field.as_str()),
        (0, "title")
    );
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
        let read = read_catalog_items(&path, BadRows::Refuse).unwrap();
        assert_eq!(read.rows, jsonl::read_file::<CatalogItem>(&path).unwrap());
        assert_eq!(read.rows.len(), count);
        assert_eq!(
            read.rows.iter().filter(|item| item.year.is_none()).count(),
            without_year
        );
    }
}
