//! SHA-256, by which files and inputs are told apart.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::files;

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes))
}

/// [`sha256`] of a file, which may be larger than memory.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_file(path: &Path) -> Result<String, files::Error> {
    let mut hasher = Sha256::new();
    let mut hash = || -> io::Result<()> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        loop {
            let part = file.fill_buf()?;
            if part.is_empty() {
                return Ok(());
            }
            hasher.update(part);
            let read = part.len();
            file.consume(read);
        }
    };
    hash().map_err(|e| files::Error::new("read", path, e))?;
    Ok(hexadecimal(hasher.finalize()))
}

fn hexadecimal(digest: impl AsRef<[u8]>) -> String {
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
