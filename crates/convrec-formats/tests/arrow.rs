//! Arrow folders and parquet files, written here with the crates' own writers; needs the features
//! `arrow` and `parquet`.
#![cfg(all(feature = "arrow", feature = "parquet"))]

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, GenericListBuilder, GenericStringBuilder, StructBuilder};
use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BinaryArray, Date32Array, DictionaryArray, FixedSizeListArray, Float64Array,
    Int16Array, Int32Array, Int64Array, ListArray, ListViewArray, NullArray, OffsetSizeTrait,
    RecordBatch, StringArray, StringViewArray, StructArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow_buffer::OffsetBuffer;
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field};
use convrec_core::{BadRowPolicy, Demonstration, Example, Item, Turn};
use convrec_formats::{Error, Format, ReadOptions, Records, Source, read_catalog};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

fn read_conversations(path: impl AsRef<Path>, split: Option<&str>) -> Result<Vec<Example>, Error> {
    let mut options = ReadOptions::default();
    options.split = split.map(Into::into);
    convrec_formats::read_conversations(path, &options).map(|read| read.rows)
}

fn read_demonstrations(
    path: impl AsRef<Path>,
    split: Option<&str>,
) -> Result<Records<Demonstration>, Error> {
    let mut options = ReadOptions::default();
    options.split = split.map(Into::into);
    convrec_formats::read_demonstrations(path, &options)
}

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

/// A file, as `pyarrow.feather` and `DataFrame.to_feather` write it.
fn file(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default()
        .try_with_compression(compression)
        .unwrap();
    let mut writer =
        FileWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
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
    // The order is that of state.json, not of the names.
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
    fn what_is_written_is_read_back(
        rows in prop::collection::vec(cells(), 1..24),
        per_batch in 1..9usize,
        per_shard in 1..4usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let small: Vec<RecordBatch> = rows.chunks(per_batch).map(batch::<i32>).collect();
        let large: Vec<RecordBatch> = rows.chunks(per_batch).map(batch::<i64>).collect();
        let shards: Vec<Vec<RecordBatch>> = small.chunks(per_shard).map(<[_]>::to_vec).collect();
        save(&at("saved"), &shards);
        fs::write(at("large.arrow"), stream(&large)).unwrap();
        fs::write(at("plain.arrow"), file(&small, None)).unwrap();
        for (name, codec, batches) in [
            ("lz4.feather", CompressionType::LZ4_FRAME, &small),
            ("zstd.feather", CompressionType::ZSTD, &large),
        ] {
            fs::write(at(name), file(batches, Some(codec))).unwrap();
        }
        for (name, codec, batches) in [
            ("snappy.parquet", Compression::SNAPPY, &small),
            ("zstd.parquet", Compression::ZSTD(ZstdLevel::default()), &large),
            ("gzip.parquet", Compression::GZIP(GzipLevel::default()), &small),
            ("brotli.parquet", Compression::BROTLI(BrotliLevel::default()), &small),
            ("lz4.parquet", Compression::LZ4_RAW, &small),
        ] {
            write_parquet(&at(name), batches, codec);
        }
        let mut paths = vec![("saved", Some("train")), ("saved", None), ("saved/train", None)];
        for name in ["large.arrow", "plain.arrow", "lz4.feather", "zstd.feather"] {
            paths.push((name, None));
        }
        for codec in ["snappy", "zstd", "gzip", "brotli", "lz4"] {
            paths.push((codec, None));
        }
        for (name, split) in paths {
            let is_codec = !name.contains('.') && !name.starts_with("saved");
            let name = if is_codec { format!("{name}.parquet") } else { name.to_string() };
            let read = read_demonstrations(at(&name), split).unwrap();
            prop_assert_eq!((read.rows.len(), read.unparsed_lines.count), (rows.len(), 0));
            for (number, (read, row)) in read.rows.iter().zip(&rows).enumerate() {
                let turn = |Turn { role, content }: &Turn| (role.as_str(), content.clone());
                let dialog: Vec<(&str, String)> = read.example.dialog.iter().map(turn).collect();
                prop_assert_eq!(Some(dialog), row.prompt.clone());
                let year = |item: &Item| item.year.map_or(String::new(), |year| year.to_string());
                let pair = |item: &Item| vec![item.title.clone(), year(item)];
                let relevant: Vec<_> = read.example.ground_truth.iter().map(pair).collect();
                prop_assert_eq!(&relevant, &row.ground_truth);
                let seen = read.example.seen.iter().map(|item| item.title.clone());
                prop_assert_eq!(&seen.collect::<Vec<String>>(), &row.seen);
                let line = |item: &Item| format!("{} ({:04})", item.title, item.year.unwrap());
                let list: Vec<String> = read.list.iter().map(line).collect();
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
            "field `groundtruth_with_release_year[0][1]`: `20O9` is no year; expected an integer",
        ),
        (
            with(|row| row.ground_truth[0].truncate(1)),
            "field `groundtruth_with_release_year[0]`: found a list of 1; expected an item",
        ),
        (
            with(|row| row.prompt = None),
            "field `prompt`: null; expected a list of turns",
        ),
        (
            with(|row| row.prompt = Some(vec![])),
            "field `prompt`: no turns",
        ),
        (
            with(|row| row.prompt = Some(vec![("owl", "hi".into())])),
            "field `prompt[0].role`: found `owl`; expected user",
        ),
        (
            with(|row| row.completion = None),
            "there is no list to imitate",
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
            let place = format!("{file}, row 2");
            assert!(
                message.contains(&place) && message.contains(part) && message.contains("1 of "),
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
    let dates: ArrayRef = Arc::new(Date32Array::from(vec![7]));
    for (column, array, part) in [
        (
            "prompt",
            numbers,
            "row 0, field `prompt`: found the number 7; expected a list of turns, or text",
        ),
        (
            "seen_titles",
            dates,
            "row 0, field `seen_titles`: found a column of type Date32; expected a list of items",
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
        message.contains("100000 of 100000 rows are bad")
            && message.contains("row 0, field `prompt`: null"),
        "{message}"
    );
    // The file has no known column.
    let others =
        RecordBatch::try_from_iter([("text", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)])
            .unwrap();
    fs::write(
        folder.path().join("x.arrow"),
        stream(std::slice::from_ref(&others)),
    )
    .unwrap();
    write_parquet(
        &folder.path().join("x.parquet"),
        &[others],
        Compression::SNAPPY,
    );
    for name in ["x.arrow", "x.parquet"] {
        let message = read_conversations(folder.path().join(name), None)
            .unwrap_err()
            .to_string();
        let part =
            format!("{name}, row 0: found the columns `text`; expected `title` for a catalog");
        assert!(message.contains(&part), "{message}");
    }
    fs::write(folder.path().join("x.arrow"), stream(&[rows.slice(0, 0)])).unwrap();
    let message = read_conversations(folder.path().join("x.arrow"), None)
        .unwrap_err()
        .to_string();
    assert!(message.contains("there are no rows"), "{message}");
}

fn read_bytes(bytes: &[u8]) -> Result<Vec<Example>, Error> {
    let source = Source::from_bytes("f", Format::Arrow, bytes.to_vec());
    source
        .conversations(BadRowPolicy::Refuse)
        .map(|read| read.rows)
}

#[test]
fn files_cut_at_any_byte_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [batch::<i32>(&[good(), good()]), batch::<i32>(&[good()])];
    let whole = stream(&batches);
    for whole in [
        whole,
        file(&batches, None),
        file(&batches, Some(CompressionType::LZ4_FRAME)),
    ] {
        assert_eq!(read_bytes(&whole).unwrap().len(), 3);
        // A file's footer is not needed: its rows end at the end mark.
        let is_file = whole.starts_with(b"ARROW1");
        let end = (0..whole.len())
            .rev()
            .find(|at| whole[*at..].starts_with(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]))
            .unwrap()
            + 8;
        for length in 0..end {
            let message = read_bytes(&whole[..length]).unwrap_err().to_string();
            assert!(
                message.contains("this is no whole Arrow stream or file"),
                "{message}"
            );
        }
        assert_eq!(read_bytes(&[&whole[..], b"more"].concat()).is_ok(), is_file);
    }
    let message = read_bytes(b"FEA1xxxx").unwrap_err().to_string();
    assert!(message.contains("Feather of version 1"), "{message}");

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
    for whole in [
        stream(&batches),
        file(&batches, Some(CompressionType::LZ4_FRAME)),
    ] {
        for at in 0..whole.len() {
            for bit in [1, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let _ = read_bytes(&bytes);
            }
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
    // The arrays have 32-bit and 64-bit offsets, as two releases of a library write them.
    let folder = tempfile::tempdir().unwrap();
    save(
        folder.path(),
        &[vec![batch::<i32>(&[good()])], vec![batch::<i64>(&[good()])]],
    );
    assert_eq!(read_conversations(folder.path(), None).unwrap().len(), 2);
}

/// Columns as pandas, polars and `datasets` make them.
#[test]
fn columns_of_all_kinds_are_read() {
    let list = |values: ArrayRef, sizes: &[usize]| -> ArrayRef {
        let field = Arc::new(Field::new("item", values.data_type().clone(), true));
        let offsets = OffsetBuffer::<i32>::from_lengths(sizes.iter().copied());
        Arc::new(ListArray::new(field, offsets, values, None))
    };
    let text = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let structs = |columns: Vec<(&str, ArrayRef)>| -> ArrayRef {
        let columns = columns.into_iter().map(|(name, array)| {
            (
                Arc::new(Field::new(name, array.data_type().clone(), true)),
                array,
            )
        });
        Arc::new(StructArray::from(columns.collect::<Vec<_>>()))
    };
    let roles: DictionaryArray<Int8Type> = ["user", "assistant", "user"].into_iter().collect();
    let turns = structs(vec![
        ("role", Arc::new(roles)),
        ("content", text(&["hi", "yo", "so?"])),
        ("sent", Arc::new(Date32Array::from(vec![1, 2, 3]))),
    ]);
    let years: ArrayRef = Arc::new(Float64Array::from(vec![Some(1995.0), None, Some(f64::NAN)]));
    let items = structs(vec![
        ("title", text(&["Heat", "Up", "Alien"])),
        ("year", years),
    ]);
    // Lists as views: the same items, the second row's in front.
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let views: ArrayRef = Arc::new(ListViewArray::new(
        field.clone(),
        vec![1, 0].into(),
        vec![2, 1].into(),
        items.clone(),
        None,
    ));
    let pairs = text(&["Heat", "1995", "Up", ""]);
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::new(
        Arc::new(Field::new("item", DataType::Utf8, true)),
        2,
        pairs,
        None,
    ));
    let columns = vec![
        ("Id", Arc::new(Int64Array::from(vec![7, 8])) as ArrayRef),
        ("dialog", list(turns, &[1, 2])),
        ("seen", views),
        ("ground_truth", list(fixed, &[1, 1])),
        ("list", list(text(&["Heat (1995)", "Up"]), &[1, 1])),
        (
            "title",
            Arc::new(StringViewArray::from(vec!["Heat", "Up"])) as ArrayRef,
        ),
        (
            "year",
            Arc::new(Int16Array::from(vec![Some(1995), None])) as ArrayRef,
        ),
        (
            "genres",
            Arc::new(BinaryArray::from(vec![
                &b"Crime|Drama"[..],
                b"(no genres listed)",
            ])) as ArrayRef,
        ),
        (
            "picture",
            Arc::new(Date32Array::from(vec![7, 8])) as ArrayRef,
        ),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("x.arrow"),
        stream(std::slice::from_ref(&batch)),
    )
    .unwrap();
    fs::write(
        folder.path().join("x.feather"),
        file(
            std::slice::from_ref(&batch),
            Some(CompressionType::LZ4_FRAME),
        ),
    )
    .unwrap();
    // Parquet has no views of lists.
    let other = RecordBatch::try_from_iter_with_nullable(
        batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .filter(|(field, _)| field.name() != "seen")
            .map(|(field, column)| (field.name().clone(), column.clone(), true)),
    )
    .unwrap();
    write_parquet(
        &folder.path().join("x.parquet"),
        &[other],
        Compression::SNAPPY,
    );
    for name in ["x.arrow", "x.feather", "x.parquet"] {
        let path = folder.path().join(name);
        let read = read_demonstrations(&path, None).unwrap().rows;
        assert_eq!(read[0].example.id, "7", "{name}");
        assert_eq!(read[0].example.dialog, [Turn::user("hi")]);
        assert_eq!(
            read[1].example.dialog,
            [Turn::assistant("yo"), Turn::user("so?")]
        );
        if name != "x.parquet" {
            assert_eq!(
                read[0].example.seen,
                [Item::new("Up", None), Item::new("Alien", None)]
            );
            assert_eq!(read[1].example.seen, [Item::new("Heat", 1995)]);
        }
        assert_eq!(read[0].example.ground_truth, [Item::new("Heat", 1995)]);
        assert_eq!(read[1].list, [Item::new("Up", None)]);
        let catalog = read_catalog(&path, &ReadOptions::default()).unwrap().rows;
        assert_eq!(catalog[0].item(), Item::new("Heat", 1995));
        assert_eq!(catalog[1].item(), Item::new("Up", None));
        assert_eq!((catalog[0].genres.len(), catalog[1].genres.len()), (2, 0));
    }
}

/// Small files that unfold to more than there is memory.
/// pandas writes a column of days as a date or as a time.
#[test]
fn the_year_of_a_day_counts() {
    let day = 9_479; // 1995-12-15
    let days: [ArrayRef; 3] = [
        Arc::new(Date32Array::from(vec![Some(day), None])),
        Arc::new(TimestampNanosecondArray::from(vec![
            Some(i64::from(day) * 86_400 * 1_000_000_000 + 7),
            None,
        ])),
        Arc::new(TimestampMillisecondArray::from(vec![
            Some(i64::from(day) * 86_400_000),
            None,
        ])),
    ];
    for days in days {
        let titles: ArrayRef = Arc::new(StringArray::from(vec!["Heat", "Up"]));
        let columns = [("title", titles, false), ("release_date", days, true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("films.parquet");
        write_parquet(&path, &[batch], Compression::UNCOMPRESSED);
        let read = read_catalog(path, &ReadOptions::default()).unwrap();
        let years: Vec<_> = read.rows.iter().map(|item| item.year).collect();
        assert_eq!(years, [Some(1995), None]);
    }
}

#[test]
fn files_that_blow_up_are_refused() {
    // A dictionary of one long text that every row names.
    let rows = 100_000;
    let keys = Int32Array::from(vec![0; rows]);
    let long = Arc::new(StringArray::from(vec!["a".repeat(1 << 20)]));
    let titles: ArrayRef = Arc::new(DictionaryArray::new(keys, long));
    let batch = RecordBatch::try_from_iter([("title", titles)]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.arrow");
    fs::write(&path, stream(&[batch])).unwrap();
    let message = read_catalog(&path, &ReadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("rows are bad") || message.contains("the file unfolds to more than"),
        "{message}"
    );

    // A page of more than 256 MB, in a file of a few kilobytes.
    let long: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(300 << 20)]));
    let batch = RecordBatch::try_from_iter([("title", long)]).unwrap();
    for compression in [
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let path = folder.path().join("x.parquet");
        write_parquet(&path, std::slice::from_ref(&batch), compression);
        let message = read_catalog(&path, &ReadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("the column `title`: a page unfolds to"),
            "{message}"
        );
    }

    // A compressed buffer that claims 2^60 bytes.
    let titles: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(1000)]));
    let batch = RecordBatch::try_from_iter([("title", titles)]).unwrap();
    let whole = file(&[batch], Some(CompressionType::LZ4_FRAME));
    let claim = 1000_i64.to_le_bytes();
    let at = (0..whole.len())
        .rev()
        .find(|at| whole[*at..].starts_with(&claim))
        .unwrap();
    let hostile = [&whole[..at], &(1_i64 << 60).to_le_bytes(), &whole[at + 8..]].concat();
    let source = Source::from_bytes("f", Format::Arrow, hostile);
    let message = source
        .catalog(BadRowPolicy::Refuse)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("the file unfolds to more than"),
        "{message}"
    );
}

/// Writes the first inputs of the fuzz targets:
/// `cargo test --release -p convrec-formats --features arrow,parquet --test arrow -- --ignored`.
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
    fs::write(
        seeds.join("arrow/file"),
        file(std::slice::from_ref(&small), None),
    )
    .unwrap();
    fs::write(
        seeds.join("arrow/lz4"),
        file(
            std::slice::from_ref(&small),
            Some(CompressionType::LZ4_FRAME),
        ),
    )
    .unwrap();
    write_parquet(
        &seeds.join("parquet/gzip"),
        std::slice::from_ref(&small),
        Compression::GZIP(GzipLevel::default()),
    );
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
        assert_eq!((read.rows.len(), read.unparsed_lines.count), (96_000, 0));
        println!(
            "{name}: 96,000 demonstrations of 20 items in {:.1} s",
            start.elapsed().as_secs_f64()
        );
    }
}
