use std::collections::HashMap;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use convrec_core::append::{AppendFile, Error, checksum};
use serde::{Deserialize, Serialize};

use crate::RequestKey;
use crate::usage::Tokens;

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key of the request.
    pub key: RequestKey,
    /// The model that was asked.
    pub model: String,
    /// The time of the answer in seconds since 1970.
    pub time: u64,
    /// The tokens as the server counted them, or as estimated where it did not.
    pub tokens: Tokens,
    /// The reason why the answer ends, where the server gives one: `stop`, or `length` where it was
    /// cut.
    pub finish: Option<String>,
    /// The answer as it was received.
    pub text: String,
}

/// A record's JSON without the checksum before it.
#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    time: u64,
    model: String,
    input_tokens: u64,
    output_tokens: u64,
    finish: Option<String>,
    text: String,
}

/// The bytes before the checksum, between it and the key, and after the key.
const SUM: &[u8] = b"{\"sum\":\"";
const KEY: &[u8] = b"\",\"key\":\"";
/// The beginning of the part that the checksum is of: the comma after it.
const SUMMED: usize = SUM.len() + 16 + 1;
/// The beginning of the key's digits.
const DIGITS: usize = SUM.len() + 16 + KEY.len();

/// The largest line of a ledger, in bytes: 64 MiB. No answer that a server is allowed to give makes
/// a larger one.
const LARGEST_LINE: u64 = 64 << 20;

/// The answers that were paid for, in a file that only grows.
///
/// One line of JSON for each answer: `sum` (a checksum of the rest of the line), `key`
/// ([`RequestKey`]), `time`, `model`, `input_tokens`, `output_tokens`, `finish`, `text`. Requests
/// themselves are not in it. A line has at most 64 MiB; the file may have any size. While it is
/// open, no other process can open it. Memory holds the place of each answer, about 100 bytes for
/// each, not the answers.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    torn: u64,
    waiting: Mutex<Waiting>,
    kept: Mutex<Kept>,
}

/// Lines on their way to the disk.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Keys with the beginnings and ends of their lines in `lines`.
    places: Vec<(RequestKey, usize, usize)>,
    /// Lines ever put here.
    count: u64,
}

#[derive(Debug)]
struct Kept {
    file: AppendFile,
    places: HashMap<RequestKey, (u64, usize)>,
    /// The number of lines ever put into `waiting` that are on the disk.
    count: u64,
}

impl Ledger {
    /// Opens the file, or creates it with the folders above it. Half a line at its end, from a
    /// process that was killed, is cut off; [`torn`](Self::torn) says how much.
    ///
    /// # Errors
    /// - [`Error::InUse`] when another process has it open
    /// - [`Error::File`] when it cannot be read or is no regular file
    /// - [`Error::Damaged`] when a line of it is not what was written or is too long
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let mut file = AppendFile::open(path)?;
        let (mut places, mut end, mut line) = (HashMap::new(), 0, Vec::new());
        let mut reader = file.reader()?;
        for number in 1.. {
            line.clear();
            let read = reader
                .by_ref()
                .take(LARGEST_LINE + 1)
                .read_until(b'\n', &mut line)
                .map_err(|e| file.refused("read", &e))?;
            let damaged = |problem: &str| file.damaged(format!("line {number}"), problem);
            if read as u64 > LARGEST_LINE {
                return Err(damaged(
                    "more than 64 MiB; expected a record of at most as much",
                ));
            }
            if line.last() != Some(&b'\n') {
                // Another file that was named by mistake keeps its last line.
                if !line
                    .iter()
                    .zip(SUM)
                    .all(|(found, expected)| found == expected)
                {
                    return Err(damaged(
                        "not a line of a ledger; expected a record with its checksum",
                    ));
                }
                break;
            }
            let key = read_key(&line[..read - 1]).map_err(damaged)?;
            places.entry(key).or_insert((end, read - 1));
            end += read as u64;
        }
        drop(reader);
        let torn = file.len() - end;
        file.cut(end)?;
        let path = file.path().to_path_buf();
        Ok(Self {
            path,
            torn,
            waiting: Mutex::default(),
            kept: Mutex::new(Kept {
                file,
                places,
                count: 0,
            }),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of bytes at its end that belonged to no whole answer when it was opened. They are
    /// gone.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// The number of answers.
    pub fn len(&self) -> usize {
        self.kept().places.len()
    }

    /// Whether there is no answer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the request is answered.
    pub fn contains(&self, key: &RequestKey) -> bool {
        self.kept().places.contains_key(key)
    }

    /// The answer to a request, where there is one.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, [`Error::Damaged`] when it is no longer what
    /// it was.
    pub fn get(&self, key: &RequestKey) -> Result<Option<Record>, Error> {
        let mut kept = self.kept();
        let Some(&(start, len)) = kept.places.get(key) else {
            return Ok(None);
        };
        let bytes = kept.file.read_at(start, len)?;
        let damaged = |problem: &str| kept.file.damaged(format!("byte {start}"), problem);
        if read_key(&bytes).map_err(damaged)? != *key {
            return Err(damaged("another answer than was there before"));
        }
        let line: Line = serde_json::from_slice(&bytes).map_err(|e| damaged(&e.to_string()))?;
        let Line {
            time,
            model,
            input_tokens,
            output_tokens,
            finish,
            text,
            ..
        } = line;
        let tokens = Tokens {
            input: input_tokens,
            output: output_tokens,
        };
        Ok(Some(Record {
            key: *key,
            model,
            time,
            tokens,
            finish,
            text,
        }))
    }

    /// Appends answers and waits until they are on the disk. Those of several threads go there
    /// together. The first of two answers to one request counts.
    ///
    /// # Errors
    /// [`Error::File`] when they could not be written. Then no later one can be written either; the
    /// former ones stay. An answer whose line would have more than 64 MiB is not kept.
    pub fn keep(&self, records: impl IntoIterator<Item = Record>) -> Result<(), Error> {
        let mine = {
            let mut waiting = lock(&self.waiting);
            for record in records {
                waiting.put(record).map_err(|e| Error::File {
                    action: "write",
                    path: self.path.clone(),
                    problem: e.to_string(),
                })?;
            }
            waiting.count
        };
        // The first thread writes the lines of all threads that wait meanwhile.
        let mut kept = self.kept();
        if kept.count < mine {
            let Waiting {
                lines,
                places,
                count,
            } = lock(&self.waiting).take();
            let start = kept.file.append(&lines)?;
            kept.count = count;
            for (key, from, to) in places {
                kept.places
                    .entry(key)
                    .or_insert((start + from as u64, to - from));
            }
        }
        Ok(())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    fn put(&mut self, record: Record) -> io::Result<()> {
        let Record {
            key,
            model,
            time,
            tokens,
            finish,
            text,
        } = record;
        let (key_text, Tokens { input, output }) = (key.to_string(), tokens);
        let line = Line {
            key: key_text,
            time,
            model,
            input_tokens: input,
            output_tokens: output,
            finish,
            text,
        };
        let mut json = serde_json::to_vec(&line).expect("strings and numbers are JSON");
        if (SUMMED + json.len()) as u64 >= LARGEST_LINE {
            return Err(io::Error::other("an answer of more than 64 MiB"));
        }
        json[0] = b',';
        let sum = u64::from_be_bytes(checksum(&json));
        let start = self.lines.len();
        self.lines.extend(SUM);
        self.lines.extend(format!("{sum:016x}\"").bytes());
        self.lines.extend(&json);
        self.places.push((key, start, self.lines.len()));
        self.lines.push(b'\n');
        self.count += 1;
        Ok(())
    }

    /// Takes everything that waits. The count goes on.
    fn take(&mut self) -> Self {
        let empty = Self {
            count: self.count,
            ..Self::default()
        };
        std::mem::replace(self, empty)
    }
}

/// Checks a line and reads its key.
fn read_key(line: &[u8]) -> Result<RequestKey, &'static str> {
    let expected = "not a line of a ledger; expected a record with its checksum";
    let has = |at: usize, part: &[u8]| line.get(at..at + part.len()) == Some(part);
    if !(has(0, SUM) && has(DIGITS - KEY.len(), KEY)) {
        return Err(expected);
    }
    let digits = |from: usize, to: usize| {
        line.get(from..to)
            .and_then(|digits| std::str::from_utf8(digits).ok())
    };
    let sum = digits(SUM.len(), SUMMED - 1).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    if sum != Some(u64::from_be_bytes(checksum(&line[SUMMED..]))) {
        return Err("the checksum does not fit; the line was changed after it was written");
    }
    digits(DIGITS, DIGITS + 64)
        .and_then(|digits| digits.parse().ok())
        .ok_or(expected)
}
