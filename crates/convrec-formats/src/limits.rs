//! The largest sizes that are read. Everything beyond them is an error, not a long wait.

/// The longest line of a JSON lines file, in bytes.
pub(crate) const MAX_LINE: usize = 64 << 20;

/// The largest file that is read into memory as a whole: pickles, JSON arrays, UTF-16. In bytes.
pub(crate) const MAX_WHOLE_FILE: u64 = 2 << 30;

/// The largest number of rows of a data set.
pub(crate) const MAX_ROWS: usize = 1 << 26;

/// The largest page of a parquet file once it is decompressed, in bytes. Writers aim at 1 MB.
#[cfg(feature = "parquet")]
pub(crate) const MAX_PAGE: u64 = 256 << 20;

/// The largest number of values of a parquet page.
#[cfg(feature = "parquet")]
pub(crate) const MAX_PAGE_VALUES: i64 = 1 << 24;

/// The largest number of values of one column of a parquet row group.
#[cfg(feature = "parquet")]
pub(crate) const MAX_CHUNK_VALUES: i64 = 1 << 28;

/// The number of bytes of text that a file may still unfold to. Each cell counts as 8 bytes more.
///
/// Compression, dictionaries and shared lists let a few bytes stand for terabytes.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    total: u64,
}

impl Budget {
    /// The budget of a compressed file of `length` bytes: 500 times its length, and 64 MB.
    pub(crate) fn new(length: u64) -> Self {
        Self::times(length, 500, 64 << 20)
    }

    /// The budget of a pickle of `length` bytes, which is never compressed but may name a value
    /// again: 16 times its length, and 1 MB.
    pub(crate) fn pickle(length: u64) -> Self {
        Self::times(length, 16, 1 << 20)
    }

    fn times(length: u64, factor: u64, more: u64) -> Self {
        let total = length.saturating_mul(factor).saturating_add(more);
        Self { left: total, total }
    }

    /// Takes `bytes` of the budget.
    ///
    /// # Errors
    /// The message about the file when nothing is left.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            format!(
                "the file unfolds to more than {} MB, which is out of proportion to its length; \
                 it may be made to fill memory. If it is sound, save it without compression",
                self.total >> 20
            )
        })?;
        Ok(())
    }
}
