//! SHA-256, which tells files and inputs apart.

use std::io::{self, BufRead, BufReader};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::files;

/// The SHA-256 of `bytes` in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes))
}

/// The [`sha256`] of a file, which may be larger than memory.
///
/// # Errors
/// [`files::Error`] when the file is not regular or cannot be read.
pub fn sha256_file(path: &Path) -> Result<String, files::Error> {
    let mut hasher = Sha256::new();
    let mut file = BufReader::with_capacity(1 << 20, files::open_regular(path, u64::MAX)?);
    let mut hash = || -> io::Result<()> {
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
