//! Arrow folders and parquet files, written here with the crates' own writers; needs the features
//! `arrow` and `parquet`.
#![cfg(all(feature = "arrow", feature = "parquet"))]

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, GenericListBuilder, GenericStringBuilder, StructBuilder};
use arrow_array::{ArrayRef, Float64Array, Int64Array, NullArray, OffsetSizeTrait, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field};
use convrec_core::{Item, Turn};
use convrec_formats::{AuthorsRow, arrow, read_conversations, read_demonstrations};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

/// A row as columns hold it; `None` is a null.
#[derive(Debug, Clone)]
struct Cells {
    prompt: Option<Vec<(&'static str, String)>>,
    completion: Option<String>,
    ground_truth: Vec<Vec<String>>,
    seen: Vec<String>,
}

fn strings<O: OffsetSizeTrait>(lists: impl Iterator<Item = Vec<String>>) -> ArrayRef {
    let mut builder = GenericListBuilder::<O, _>::new(GenericStringBuilder::<O>::new());
    for list in lists {
        list.iter()
            .for_each(|text| builder.values().append_value(text));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn nested<O: OffsetSizeTrait>(lists: impl Iterator<Item = Vec<Vec<String>>>) -> ArrayRef {
    let inner = GenericListBuilder::<O, _>::new(GenericStringBuilder::<O>::new());
    let mut builder = GenericListBuilder::<O, _>::new(inner);
    for list in lists {
        for pair in list {
            pair.iter()
                .for_each(|text| builder.values().values().append_value(text));
            builder.values().append(true);
        }
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn turns<O: OffsetSizeTrait>(
    lists: impl Iterator<Item = Option<Vec<(&'static str, String)>>>,
) -> ArrayRef {
    let text = if O::IS_LARGE {
        DataType::LargeUtf8
    } else {
        DataType::Utf8
    };
    let fields = vec![
        Field::new("role", text.clone(), true),
        Field::new("content", text, true),
    ];
    let columns: Vec<Box<dyn ArrayBuilder>> = vec![
        Box::new(GenericStringBuilder::<O>::new()),
        Box::new(GenericStringBuilder::<O>::new()),
    ];
    let mut builder = GenericListBuilder::<O, _>::new(StructBuilder::new(fields, columns));
    for list in lists {
        let is_there = list.is_some();
        for (role, content) in list.into_iter().flatten() {
            let turn = builder.values();
            turn.field_builder::<GenericStringBuilder<O>>(0)
                .unwrap()
                .append_value(role);
            turn.field_builder::<GenericStringBuilder<O>>(1)
                .unwrap()
                .append_value(content);
            turn.append(true);
        }
        builder.append(is_there);
    }
    Arc::new(builder.finish())
}

fn batch<O: OffsetSizeTrait>(rows: &[Cells]) -> RecordBatch {
    let completion = |row: &Cells| row.completion.clone().map(|list| vec![("assistant", list)]);
    RecordBatch::try_from_iter_with_nullable([
        (
            "index",
            Arc::new(Float64Array::from(vec![0.5; rows.len()])) as ArrayRef,
            true,
        ),
        (
            "prompt",
            turns::<O>(rows.iter().map(|row| row.prompt.clone())),
            true,
        ),
        ("completion", turns::<O>(rows.iter().map(completion)), true),
        (
            "groundtruth_with_release_year",
            nested::<O>(rows.iter().map(|row| row.ground_truth.clone())),
            true,
        ),
        (
            "seen_titles",
            strings::<O>(rows.iter().map(|row| row.seen.clone())),
            true,
        ),
    ])
    .unwrap()
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches
        .iter()
        .for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn write_parquet(path: &Path, batches: &[RecordBatch], compression: Compression) {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(7))
        .build();
    let mut writer = ArrowWriter::try_new(
        File::create(path).unwrap(),
        batches[0].schema(),
        Some(properties),
    )
    .unwrap();
    batches
        .iter()
        .for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
}

/// A folder as `save_to_disk` leaves it, with these batches in each shard.
fn save(folder: &Path, shards: &[Vec<RecordBatch>]) {
    fs::create_dir_all(folder.join("train")).unwrap();
    fs::write(
        folder.join("dataset_dict.json"),
        "{\"splits\": [\"train\"]}",
    )
    .unwrap();
    // The order is the one of state.json, whatever the names.
    let name = |shard: usize| {
        format!(
            "data-{:05}-of-{:05}.arrow",
            shards.len() - 1 - shard,
            shards.len()
        )
    };
    let files: Vec<_> = (0..shards.len())
        .map(|shard| serde_json::json!({"filename": name(shard)}))
        .collect();
    fs::write(
        folder.join("train/state.json"),
        serde_json::json!({"_data_files": files}).to_string(),
    )
    .unwrap();
    for (shard, batches) in shards.iter().enumerate() {
        fs::write(folder.join("train").join(name(shard)), stream(batches)).unwrap();
    }
}

fn cells() -> impl Strategy<Value = Cells> {
    let turns = prop::collection::vec(
        (
            prop::sample::select(vec!["user", "assistant", "system"]),
            ".{0,12}",
        ),
        0..3,
    );
    let prompt = (turns, ".{0,12}").prop_map(|(mut turns, last)| {
        turns.push(("user", last));
        Some(turns)
    });
    let pair = (".{0,8}", prop::option::of(-800..2100i32));
    let pair = pair
        .prop_map(|(title, year)| vec![title, year.map_or(String::new(), |year| year.to_string())]);
    let list = prop::collection::vec("[a-z]{1,8} \\([0-9]{4}\\)", 1..4)
        .prop_map(|lines| Some(lines.join("\n")));
    (
        prompt,
        list,
        prop::collection::vec(pair, 0..3),
        prop::collection::vec(".{0,8}", 0..3),
    )
        .prop_map(|(prompt, completion, ground_truth, seen)| Cells {
            prompt,
            completion,
            ground_truth,
            seen,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_written_is_read_back(rows in prop::collection::vec(cells(), 1..24), per_batch in 1..9usize, per_shard in 1..4usize) {
        let folder = tempfile::tempdir().unwrap();
        let small: Vec<RecordBatch> = rows.chunks(per_batch).map(batch::<i32>).collect();
        let large: Vec<RecordBatch> = rows.chunks(per_batch).map(batch::<i64>).collect();
        let shards: Vec<Vec<RecordBatch>> = small.chunks(per_shard).map(<[_]>::to_vec).collect();
        save(&folder.path().join("saved"), &shards);
        fs::write(folder.path().join("large.arrow"), stream(&large)).unwrap();
        write_parquet(&folder.path().join("snappy.parquet"), &small, Compression::SNAPPY);
        write_parquet(&folder.path().join("zstd.parquet"), &large, Compression::ZSTD(ZstdLevel::default()));
        for (name, split) in [("saved", Some("train")), ("saved", None), ("saved/train", None), ("large.arrow", None), ("snappy.parquet", None), ("zstd.parquet", None)] {
            let read = read_demonstrations(folder.path().join(name), split).unwrap();
            prop_assert_eq!((read.rows.len(), read.left_out.len()), (rows.len(), 0));
            for (number, (read, row)) in read.rows.iter().zip(&rows).enumerate() {
                let dialog: Vec<(&str, String)> =
                    read.example.dialog.iter().map(|Turn { role, content }| (role.as_str(), content.clone())).collect();
                prop_assert_eq!(Some(dialog), row.prompt.clone());
                let pair = |item: &Item| vec![item.title.clone(), item.year.map_or(String::new(), |year| year.to_string())];
                prop_assert_eq!(&read.example.ground_truth.iter().map(pair).collect::<Vec<_>>(), &row.ground_truth);
                let seen: Vec<String> = read.example.seen.iter().map(|item| item.title.clone()).collect();
                prop_assert_eq!(&seen, &row.seen);
                let list: Vec<String> = read.list.iter().map(|item| format!("{} ({:04})", item.title, item.year.unwrap())).collect();
                prop_assert_eq!(Some(list.join("\n")), row.completion.clone());
                let ending = format!("-{number}");
                prop_assert!(read.example.id.ends_with(&ending));
            }
        }
    }
}

fn good() -> Cells {
    Cells {
        prompt: Some(vec![("user", "hi".into())]),
        completion: Some("Heat (1995)".into()),
        ground_truth: vec![vec!["Up".into(), "2009".into()]],
        seen: vec![],
    }
}

#[test]
fn bad_rows_are_named_with_their_shard() {
    let with = |change: fn(&mut Cells)| {
        let mut row = good();
        change(&mut row);
        row
    };
    for (bad, part) in [
        (
            with(|row| row.ground_truth[0][1] = "20O9".into()),
            "field `groundtruth_with_release_year[0][1]`: `20O9` is no year; expected an integer, or nothing; mend",
        ),
        (
            with(|row| row.ground_truth[0].truncate(1)),
            "field `groundtruth_with_release_year[0]`: invalid length 1",
        ),
        (
            with(|row| row.prompt = None),
            "field `prompt`: invalid type: null",
        ),
        (
            with(|row| row.prompt = Some(vec![])),
            "field `prompt`: no turns",
        ),
        (
            with(|row| row.prompt = Some(vec![("bot", "hi".into())])),
            "field `prompt[0].role`: unknown variant `bot`",
        ),
        (
            with(|row| row.completion = None),
            "field `completion`: there is none",
        ),
        (
            with(|row| row.completion = Some("Heat".into())),
            "field `completion[0].content`: no line names an item",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        save(
            folder.path(),
            &[
                vec![batch::<i32>(&[good(), good()])],
                vec![
                    batch::<i32>(&[good()]),
                    batch::<i32>(&[good(), bad.clone()]),
                ],
            ],
        );
        write_parquet(
            &folder.path().join("x.parquet"),
            &[batch::<i32>(&[good(), good(), bad])],
            Compression::SNAPPY,
        );
        for (path, file) in [
            ("", "train/data-00000-of-00002.arrow"),
            ("x.parquet", "x.parquet"),
        ] {
            let message = read_demonstrations(folder.path().join(path), None)
                .unwrap_err()
                .to_string();
            let place = format!("{file}, row 2, ");
            assert!(
                message.contains(&place) && message.contains(part),
                "{message} does not say {place}{part}"
            );
        }
    }
}

#[test]
fn columns_of_other_kinds_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let rows = batch::<i32>(&[good()]);
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![7.5]));
    for (column, array, part) in [
        (
            "prompt",
            numbers,
            "row 0, field `prompt`: invalid type: integer `7`, expected a sequence",
        ),
        (
            "seen_titles",
            floats,
            "row 0, field `seen_titles`: a column of type Float64; expected text, integers, lists",
        ),
    ] {
        let schema = rows.schema();
        let columns = schema
            .fields()
            .iter()
            .zip(rows.columns())
            .map(|(field, old)| {
                let is_it = field.name() == column;
                (
                    field.name(),
                    if is_it { array.clone() } else { old.clone() },
                    true,
                )
            });
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        fs::write(folder.path().join("x.arrow"), stream(&[batch])).unwrap();
        let message = read_conversations(folder.path().join("x.arrow"), None)
            .unwrap_err()
            .to_string();
        assert!(message.contains(part), "{message} does not say {part}");
    }
    // Nulls take no bytes, so that a small file can claim more rows than there is memory for.
    let nulls = || Arc::new(NullArray::new(1 << 50)) as ArrayRef;
    let columns = ["prompt", "groundtruth_with_release_year", "seen_titles"]
        .map(|name| (name, nulls(), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    fs::write(folder.path().join("x.arrow"), stream(&[batch])).unwrap();
    let message = read_conversations(folder.path().join("x.arrow"), None)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("row 0, field `groundtruth_with_release_year`: invalid type: null"),
        "{message}"
    );
    let missing = rows.project(&[1, 2, 3]).unwrap();
    fs::write(folder.path().join("x.arrow"), stream(&[missing])).unwrap();
    let message = read_conversations(folder.path().join("x.arrow"), None)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("row 0: missing field `seen_titles`"),
        "{message}"
    );
    fs::write(folder.path().join("x.arrow"), stream(&[rows.slice(0, 0)])).unwrap();
    let message = read_conversations(folder.path().join("x.arrow"), None)
        .unwrap_err()
        .to_string();
    assert!(message.contains("there are no rows"), "{message}");
}

#[test]
fn files_cut_at_any_byte_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [batch::<i32>(&[good(), good()]), batch::<i32>(&[good()])];
    let whole = stream(&batches);
    let read = |bytes: &[u8]| arrow::rows(bytes, "f").collect::<Result<Vec<(_, AuthorsRow)>, _>>();
    assert_eq!(read(&whole).unwrap().len(), 3);
    for length in 0..whole.len() {
        let message = read(&whole[..length]).unwrap_err().to_string();
        assert!(
            message.contains("this is no whole Arrow stream"),
            "{message}"
        );
    }
    assert!(read(&[&whole[..], b"more"].concat()).is_err());

    let path = folder.path().join("x.parquet");
    write_parquet(&path, &batches, Compression::SNAPPY);
    let whole = fs::read(&path).unwrap();
    assert_eq!(read_conversations(&path, None).unwrap().len(), 3);
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        let message = read_conversations(&path, None).unwrap_err().to_string();
        assert!(
            message.contains("row 0: this is no whole parquet file"),
            "{message}"
        );
    }
}

/// Bytes may be wrong without the file being shorter: rows or an error, never a panic.
#[test]
fn flipped_bits_are_no_panic() {
    let batches = [batch::<i32>(&[good(), good()])];
    let whole = stream(&batches);
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            arrow::rows(&bytes[..], "f").for_each(drop);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    write_parquet(&path, &batches, Compression::UNCOMPRESSED);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let _ = read_conversations(&path, None);
    }
}

#[test]
fn schemas_are_not_needed_to_be_of_one_shard() {
    // Arrays of 32-bit and of 64-bit offsets, as two releases of a library write them.
    let folder = tempfile::tempdir().unwrap();
    save(
        folder.path(),
        &[vec![batch::<i32>(&[good()])], vec![batch::<i64>(&[good()])]],
    );
    assert_eq!(read_conversations(folder.path(), None).unwrap().len(), 2);
}

/// `cargo test --release -p convrec-formats --features arrow,parquet --test arrow -- --ignored`,
/// after a change of what the fuzz targets shall start from.
#[test]
#[ignore = "writes the seeds of the fuzz targets"]
fn seeds_of_the_fuzz_targets() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    let rows = [
        good(),
        Cells {
            prompt: Some(vec![("assistant", "Hi".into()), ("user", "é".into())]),
            ..good()
        },
    ];
    let [small, large] = [batch::<i32>(&rows), batch::<i64>(&rows)];
    fs::write(
        seeds.join("arrow/two_batches"),
        stream(&[small.clone(), small.slice(1, 1)]),
    )
    .unwrap();
    fs::write(
        seeds.join("arrow/large"),
        stream(std::slice::from_ref(&large)),
    )
    .unwrap();
    write_parquet(
        &seeds.join("parquet/snappy"),
        std::slice::from_ref(&small),
        Compression::SNAPPY,
    );
    write_parquet(
        &seeds.join("parquet/zstd"),
        &[large],
        Compression::ZSTD(ZstdLevel::default()),
    );
    write_parquet(
        &seeds.join("parquet/plain"),
        &[small],
        Compression::UNCOMPRESSED,
    );
}

#[test]
#[ignore = "a measurement; run it with --ignored --nocapture"]
fn as_many_rows_as_the_paper_has() {
    let row = |n: usize| Cells {
        prompt: Some(vec![(
            "user",
            format!("{n} {}", "I liked Heat. ".repeat(90)),
        )]),
        completion: Some(
            (0..20)
                .map(|rank| format!("A film of rank {rank} ({})\n", 1990 + rank))
                .collect(),
        ),
        ground_truth: vec![vec!["Up".into(), "2009".into()]; 2],
        seen: vec!["Heat".into(), "Alien".into()],
    };
    let batches: Vec<RecordBatch> = (0..96)
        .map(|part| batch::<i32>(&(0..1000).map(|n| row(1000 * part + n)).collect::<Vec<_>>()))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    save(
        &folder.path().join("saved"),
        &[batches[..48].to_vec(), batches[48..].to_vec()],
    );
    write_parquet(
        &folder.path().join("x.parquet"),
        &batches,
        Compression::SNAPPY,
    );
    drop(batches);
    for name in ["saved", "x.parquet"] {
        let start = std::time::Instant::now();
        let read = read_demonstrations(folder.path().join(name), None).unwrap();
        assert_eq!((read.rows.len(), read.left_out.len()), (96_000, 0));
        println!(
            "{name}: 96,000 demonstrations of 20 items in {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }
}
