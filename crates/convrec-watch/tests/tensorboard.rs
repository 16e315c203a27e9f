//! Event files, read by a decoder of its own and by TensorBoard.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use convrec_watch::{CompletionRecord, Events, ListedItem, Record};
use serde_json::{Value, json};

fn record(step: usize, loss: Value) -> Record {
    let record = json!({ "step": step, "loss": loss, "rank_relevance": [0.5, 0.25], "completions/mean_length": 80.0 });
    record.as_object().unwrap().clone()
}

/// Steps 1 to 6, of which 5 and 6 were lost and written anew, and a list at step 2.
fn write(folder: &Path) {
    let mut events = Events::open(folder, 0).unwrap();
    (1..=6).for_each(|step| events.record(&record(step, json!(step as f64))).unwrap());
    let item = |name: &str, hit| ListedItem {
        name: name.into(),
        in_catalog: true,
        hit,
    };
    let items = vec![item("Heat (1995)", true), item("Amélie (2001)", false)];
    events
        .completions(
            2,
            &[CompletionRecord {
                id: "a-1".into(),
                items,
                ..CompletionRecord::default()
            }],
        )
        .unwrap();
    let mut events = Events::open(folder, 4).unwrap();
    events.record(&record(5, json!(-5.0))).unwrap();
    events.record(&record(300, Value::Null)).unwrap();
}

/// It goes bit by bit, as the writer uses a table or an instruction of the processor.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            }
        })
    })
}

fn masked(data: &[u8]) -> u32 {
    let crc = crc32c(data);
    crc.rotate_left(17).wrapping_add(0xa282_ead8)
}

/// The messages of a file, their checksums tested.
fn messages(path: &Path) -> Vec<Vec<u8>> {
    let (data, mut at) = (fs::read(path).unwrap(), 0);
    let mut found = Vec::new();
    let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    while at < data.len() {
        let length = u64::from_le_bytes(data[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(masked(&data[at..at + 8]), word(at + 8));
        let message = &data[at + 12..at + 12 + length];
        assert_eq!(masked(message), word(at + 12 + length));
        found.push(message.to_vec());
        at += 16 + length;
    }
    found
}

/// The fields of a protobuf message: numbers as 8 bytes.
fn fields(message: &[u8]) -> BTreeMap<u64, Vec<Vec<u8>>> {
    let mut found: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut rest = message.iter().copied();
    let varint = |rest: &mut dyn Iterator<Item = u8>| {
        let (mut value, mut shift) = (0u64, 0);
        for byte in rest {
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    while rest.len() > 0 {
        let key = varint(&mut rest);
        let content = match key & 7 {
            0 => varint(&mut rest).to_le_bytes().to_vec(),
            1 => rest.by_ref().take(8).collect(),
            2 => {
                let length = varint(&mut rest) as usize;
                rest.by_ref().take(length).collect()
            }
            5 => rest.by_ref().take(4).collect(),
            other => panic!("wire type {other}"),
        };
        found.entry(key >> 3).or_default().push(content);
    }
    found
}

fn integer(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn event_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn a_decoder_of_its_own_reads_what_was_written() {
    assert_eq!(
        crc32c(b"123456789"),
        0xe306_9283,
        "the check value of CRC-32C"
    );
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let files = event_files(folder.path());
    let [first, second] = [&files[0], &files[1]].map(|path| messages(path));
    assert_eq!((first.len(), second.len()), (8, 4));
    assert_eq!(fields(&first[0])[&3][0], b"brain.Event:2");
    let event = fields(&first[3]);
    assert_eq!(integer(&event[&2][0]), 3);
    assert!(
        f64::from_le_bytes(event[&1][0].as_slice().try_into().unwrap()) > 1.6e9,
        "seconds since 1970"
    );
    let values = fields(&event[&5][0]).remove(&1).unwrap();
    let scalar = |value: &Vec<u8>| {
        let value = fields(value);
        (
            String::from_utf8(value[&1][0].clone()).unwrap(),
            f32::from_le_bytes(value[&2][0][..].try_into().unwrap()),
        )
    };
    let scalars: BTreeMap<String, f32> = values.iter().map(scalar).collect();
    let names = [
        ("completions/mean_length", 80.0),
        ("loss", 3.0),
        ("rank_relevance/0", 0.5),
        ("rank_relevance/1", 0.25),
    ];
    assert_eq!(
        scalars,
        names.map(|(name, value)| (name.to_string(), value)).into()
    );
    let session = fields(&second[1]);
    assert_eq!(
        (
            integer(&session[&2][0]),
            integer(&fields(&session[&7][0])[&1][0])
        ),
        (5, 1),
        "forget from step 5 on"
    );
    assert_eq!(integer(&fields(&second[3])[&2][0]), 300);
}

/// The test prints that it is skipped where there is no Python with TensorBoard; `CONVREC_PYTHON`
/// names one.
#[test]
fn tensorboard_reads_what_was_written() {
    let python = std::env::var("CONVREC_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python)
        .args(["-c", "import tensorboard"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        let problem = format!("{python} has no `tensorboard`; name one that has by CONVREC_PYTHON");
        assert!(
            std::env::var_os("CONVREC_REQUIRE_ALL").is_none(),
            "{problem}"
        );
        println!("SKIPPED: {problem}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_events.py");
    let output = Command::new(&python)
        .arg(script)
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        read["scalars"]["loss"],
        json!([
            [1, 1.0],
            [2, 2.0],
            [3, 3.0],
            [4, 4.0],
            [5, -5.0],
            [300, "nan"]
        ])
    );
    assert_eq!(
        read["scalars"]["rank_relevance/1"]
            .as_array()
            .unwrap()
            .len(),
        6
    );
    assert_eq!(
        read["texts"]["completions"],
        json!([[2, "### a-1\n\n1. **Heat (1995)**\n2. Amélie (2001)\n\n"]])
    );
}
