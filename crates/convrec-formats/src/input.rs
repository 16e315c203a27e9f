//! Opening files: only regular ones, unpacked and decoded to UTF-8 where they are text.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use convrec_core::files;

use crate::error::{At, Error, Place};
use crate::limits::{Budget, MAX_WHOLE_FILE};

/// One file, or bytes that stand for one.
#[derive(Debug)]
pub(crate) struct Input {
    /// The name of the file in errors.
    pub(crate) name: String,
    /// The length in bytes.
    pub(crate) length: u64,
    pub(crate) data: Data,
}

#[derive(Debug)]
pub(crate) enum Data {
    File(File),
    Bytes(Vec<u8>),
}

/// Files that begin like this are something else than data in a format that is read.
const OTHERS: [(&[u8], &str); 7] = [
    (
        b"version https://git-lfs",
        "this is a pointer of Git LFS, not the data; run `git lfs pull`, or download the file",
    ),
    (
        b"PK\x03\x04",
        "this is a zip archive or a spreadsheet (.xlsx); unpack it, or save the table as CSV UTF-8",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "it is compressed by zstd; unpack it (`zstd -d`)",
    ),
    (
        b"BZh",
        "it is compressed by bzip2; unpack it (`bzip2 -d`), or use gzip",
    ),
    (
        b"\xfd7zXZ",
        "it is compressed by xz; unpack it (`xz -d`), or use gzip",
    ),
    (
        b"PAR1",
        "this is a parquet file; give it the ending `.parquet`",
    ),
    (
        b"ARROW1",
        "this is an Arrow file; give it the ending `.arrow`",
    ),
];

impl Input {
    /// Opens the regular file at `path`.
    ///
    /// # Errors
    /// [`Error::File`] when there is none or it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = files::open_regular(path, files::LARGEST_DATA)?.into_inner();
        let length = file
            .metadata()
            .map_err(|e| files::Error::new("read", path, e))?
            .len();
        Ok(Self {
            name: path.display().to_string(),
            length,
            data: Data::File(file),
        })
    }

    pub(crate) fn bytes(name: &str, bytes: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            length: bytes.len() as u64,
            data: Data::Bytes(bytes),
        }
    }

    /// The whole content.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is too large or cannot be read.
    pub(crate) fn whole(self) -> Result<Vec<u8>, Error> {
        let Self { name, data, .. } = self;
        match data {
            Data::Bytes(bytes) => Ok(bytes),
            Data::File(file) => whole(file, &name),
        }
    }

    /// The content as text in UTF-8: unpacked if it is gzip, decoded if it is UTF-16, without a
    /// byte order mark. Whether the rest is UTF-8 is not checked.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it begins as something that is no text.
    pub(crate) fn text(self) -> Result<Box<dyn BufRead>, Error> {
        let Self { name, length, data } = self;
        let reader: Box<dyn BufRead> = match data {
            Data::File(file) => Box::new(BufReader::with_capacity(1 << 16, file)),
            Data::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        };
        let (start, reader) = peek(reader, &name)?;
        if !start.starts_with(b"\x1f\x8b") {
            return decoded(start, reader, &name);
        }
        let unpacked = BufReader::with_capacity(
            1 << 16,
            Bounded {
                reader: flate2::bufread::MultiGzDecoder::new(reader),
                budget: Budget::new(length),
            },
        );
        let (start, unpacked) = peek(Box::new(unpacked), &name)?;
        decoded(start, unpacked, &name)
    }
}

/// The first bytes, and a reader that still has them.
fn peek(mut reader: Box<dyn BufRead>, name: &str) -> Result<(Vec<u8>, Box<dyn BufRead>), Error> {
    let mut start = Vec::new();
    let read = reader.by_ref().take(32).read_to_end(&mut start);
    read.map_err(|e| Error::damaged(Place::new(name, At::File), unreadable(&e)))?;
    Ok((start.clone(), Box::new(Cursor::new(start).chain(reader))))
}

fn decoded(
    start: Vec<u8>,
    mut reader: Box<dyn BufRead>,
    name: &str,
) -> Result<Box<dyn BufRead>, Error> {
    let damaged = |problem: &str| Error::damaged(Place::new(name, At::File), problem);
    if let Some((_, problem)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(damaged(problem));
    }
    match start.as_slice() {
        [0xef, 0xbb, 0xbf, ..] => {
            reader.consume(3);
            Ok(reader)
        }
        [a @ (0xff | 0xfe), b, ..] if a ^ b == 1 => {
            let bytes = whole(reader, name)?;
            let to_unit = if *a == 0xff {
                u16::from_le_bytes
            } else {
                u16::from_be_bytes
            };
            let (pairs, rest) = bytes[2..].as_chunks::<2>();
            let units = pairs.iter().map(|pair| to_unit(*pair));
            let text: Result<String, _> = char::decode_utf16(units).collect();
            match text {
                Ok(text) if rest.is_empty() => Ok(Box::new(Cursor::new(text.into_bytes()))),
                _ => Err(damaged("it begins as UTF-16 and is none; save it as UTF-8")),
            }
        }
        _ => Ok(reader),
    }
}

fn whole(reader: impl Read, name: &str) -> Result<Vec<u8>, Error> {
    let damaged = |problem: String| Error::damaged(Place::new(name, At::File), problem);
    let mut bytes = Vec::new();
    let read = reader.take(MAX_WHOLE_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|e| damaged(unreadable(&e)))?;
    if bytes.len() as u64 > MAX_WHOLE_FILE {
        let limit = MAX_WHOLE_FILE >> 20;
        return Err(damaged(format!(
            "it is longer than {limit} MB, the most for a file that is read as a whole; \
             save it as JSON lines or parquet"
        )));
    }
    Ok(bytes)
}

/// Why reading failed, also for streams that are no whole gzip.
pub(crate) fn unreadable(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}

/// A reader that fails where its budget ends.
struct Bounded<R> {
    reader: R,
    budget: Budget,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.budget.take(read as u64).map_err(io::Error::other)?;
        Ok(read)
    }
}

/// Bytes as UTF-8, or what to do where they are none.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|e| not_utf8(e.valid_up_to()))
}

/// What to say of text whose byte `valid_up_to` is not UTF-8.
pub(crate) fn not_utf8(valid_up_to: usize) -> String {
    format!(
        "byte {} of it is not UTF-8; expected UTF-8 text. If the file is of Excel or of older \
         programs, convert it: `iconv -f WINDOWS-1252 -t UTF-8`",
        valid_up_to + 1
    )
}
