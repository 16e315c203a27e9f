//! Reads files of other programs: only regular ones, and texts up to a stated size. A pipe would
//! hang, and a device would never end.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The largest JSON file of a model folder that is read, in bytes.
const MAX_TEXT: u64 = 64 << 20;

pub(crate) fn open(path: &Path) -> io::Result<File> {
    // This is checked before the file is opened, as opening a pipe waits for a writer.
    if !fs::metadata(path)?.is_file() {
        let problem = "not a regular file; expected a file on disk";
        return Err(io::Error::new(ErrorKind::InvalidInput, problem));
    }
    File::open(path)
}

pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(MAX_TEXT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT {
        let problem = format!("more than {MAX_TEXT} bytes; expected a smaller file");
        return Err(io::Error::new(ErrorKind::InvalidData, problem));
    }
    Ok(text)
}
