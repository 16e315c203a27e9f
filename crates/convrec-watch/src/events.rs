//! Event files that TensorBoard reads.
//!
//! An event is a protobuf message in a TFRecord: length, checksum of the length, message, checksum
//! of the message. The few fields that are used are written by hand here; the field numbers are
//! those of TensorFlow's `event.proto`, `summary.proto` and `tensor.proto`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use convrec_core::printable;
use serde_json::Value;

use crate::completions::{self, CompletionRecord};
use crate::error::Error;
use crate::log;
use crate::record::{Record, step};

/// A TensorBoard event file that is written.
///
/// ```
/// use convrec_watch::{Events, Record};
///
/// let folder = tempfile::tempdir()?;
/// let mut events = Events::open(folder.path(), 0)?;
/// let record = r#"{"step": 1, "loss": 0.5, "rank_relevance": [0.3, 0.2]}"#; // loss, rank_relevance/0, rank_relevance/1
/// events.record(&serde_json::from_str::<Record>(record)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Creates a file in `folder` for a run that stands after `step` steps. Where there are earlier
    /// files, TensorBoard is told to forget their later steps.
    ///
    /// # Errors
    /// [`Error::File`] when the folder or the file cannot be written.
    pub fn open(folder: impl AsRef<Path>, step: usize) -> Result<Self, Error> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(Error::refused("write", folder))?;
        let listed = fs::read_dir(folder).map_err(Error::refused("read", folder))?;
        let earlier = listed
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().contains("tfevents"))
            .count();
        // TensorBoard reads the files of a folder in the order of their names.
        let path = folder.join(format!(
            "events.out.tfevents.{:010}.{earlier:06}.convrec",
            now() as u64
        ));
        let file = File::create_new(&path).map_err(Error::refused("write", &path))?;
        let mut events = Self { path, file };
        let first = step as u64 + 1;
        events.write(&event(0, |event| bytes(event, 3, b"brain.Event:2")))?;
        if earlier > 0 {
            const START: u64 = 1;
            events.write(&event(first, |event| {
                message(event, 7, |session| integer(session, 1, START))
            }))?;
        }
        Ok(events)
    }

    /// Writes the event files of a run: its records, and the completions that are kept. TensorBoard
    /// forgets the event files of an earlier conversion. Returns the last step.
    ///
    /// # Errors
    /// [`Error::NoLog`] when the run has no log, [`Error::Line`] at a bad line, [`Error::File`]
    /// when a file cannot be read or written.
    pub fn convert(run: impl AsRef<Path>, folder: impl AsRef<Path>) -> Result<usize, Error> {
        let records = log::read(run.as_ref())?;
        let mut events = Self::open(folder, 0)?;
        for record in &records {
            events.record(record)?;
        }
        for (step, file) in completions::kept(run.as_ref())? {
            events.completions(step, &completions::read(file)?)?;
        }
        Ok(records.iter().filter_map(step).max().unwrap_or(0))
    }

    /// Writes the numbers of a record: those in lists as `name/0`, `name/1`, ...; `null` is NaN.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written.
    pub fn record(&mut self, record: &Record) -> Result<(), Error> {
        let step = step(record).unwrap_or_default();
        let scalars: Vec<(String, f64)> = record
            .iter()
            .filter(|(name, _)| *name != "step")
            .flat_map(|(name, value)| scalars(name, value))
            .collect();
        self.write(&event(step as u64, |event| {
            message(event, 5, |summary| {
                for (name, value) in &scalars {
                    message(summary, 1, |value_of| {
                        bytes(value_of, 1, name.as_bytes());
                        value_of.push(2 << 3 | FIXED_32);
                        value_of.extend((*value as f32).to_le_bytes());
                    });
                }
            });
        }))
    }

    /// Writes completions as a text in Markdown.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be written.
    pub fn completions(
        &mut self,
        step: usize,
        completions: &[CompletionRecord],
    ) -> Result<(), Error> {
        const STRING: u64 = 7;
        let text: String = completions.iter().map(markdown).collect();
        self.write(&event(step as u64, |event| {
            message(event, 5, |summary| {
                message(summary, 1, |value| {
                    bytes(value, 1, b"completions");
                    message(value, 8, |tensor| {
                        integer(tensor, 1, STRING);
                        message(tensor, 2, |shape| {
                            message(shape, 2, |dimension| integer(dimension, 1, 1))
                        });
                        bytes(tensor, 8, printable(&text).as_bytes());
                    });
                    message(value, 9, |metadata| {
                        message(metadata, 1, |plugin| bytes(plugin, 1, b"text"))
                    });
                });
            });
        }))
    }

    fn write(&mut self, event: &[u8]) -> Result<(), Error> {
        let length = (event.len() as u64).to_le_bytes();
        let record = [&length, &masked_crc(&length)[..], event, &masked_crc(event)].concat();
        // One write, so that no reader sees half of it for long.
        self.file
            .write_all(&record)
            .map_err(Error::refused("write", &self.path))
    }
}

fn scalars(name: &str, value: &Value) -> Vec<(String, f64)> {
    match value {
        Value::Number(number) => number
            .as_f64()
            .map(|number| (name.to_string(), number))
            .into_iter()
            .collect(),
        Value::Null => vec![(name.to_string(), f64::NAN)],
        Value::Array(values) => values
            .iter()
            .enumerate()
            .flat_map(|(place, value)| scalars(&format!("{name}/{place}"), value))
            .collect(),
        _ => vec![],
    }
}

fn markdown(completion: &CompletionRecord) -> String {
    let item = |(rank, item): (usize, &crate::ListedItem)| {
        let mark = if item.hit { "**" } else { "" };
        format!("{}. {mark}{}{mark}\n", rank + 1, item.name)
    };
    let items: String = completion.items.iter().enumerate().map(item).collect();
    format!("### {}\n\n{items}\n", completion.id)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// The CRC-32C of `data`, rotated and shifted as in TFRecords.
fn masked_crc(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
        .to_le_bytes()
}

const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;
const FIXED_32: u8 = 5;

fn event(step: u64, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut event = vec![1 << 3 | FIXED_64];
    event.extend(now().to_le_bytes());
    integer(&mut event, 2, step);
    fill(&mut event);
    event
}

fn message(out: &mut Vec<u8>, field: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    bytes(out, field, &inner);
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | LENGTH);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn integer(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | VARINT);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
