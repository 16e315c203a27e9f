//! Reads files of other programs: only regular ones, and texts up to a stated size. A pipe would
//! hang, and a device would never end.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The largest JSON file of a model folder that is read, in bytes.
const MAX_TEXT: u64 = 64 << 20;

pub(crate) fn open(path: &Path) -> io::Result<File> {
    let check = |data: Metadata| match data.is_file() {
        true => Ok(()),
        false => {
            let problem = "not a regular file; expected a file on disk";
            Err(io::Error::new(ErrorKind::InvalidInput, problem))
        }
    };
    check(fs::metadata(path)?)?;
    let mut options = File::options();
    options.read(true);
    // A pipe that comes to be there now would wait for a writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    check(file.metadata()?)?;
    Ok(file)
}

/// The text of a JSON file, without the byte order mark that editors on Windows write.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.take(MAX_TEXT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT {
        let problem = format!("more than {MAX_TEXT} bytes; expected a smaller file");
        return Err(io::Error::new(ErrorKind::InvalidData, problem));
    }
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}
