use std::path::Path;

use convrec_catalog::{Catalog, CatalogError};
use convrec_core::{Demonstration, Example};
use convrec_formats::ReadOptions;

/// A file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A row cannot be read; the error names file, row and field.
    #[error(transparent)]
    Format(#[from] convrec_formats::Error),
    /// The items make no catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Reads a catalog: CSV, JSON lines, a pickled list, and with the feature `formats` parquet and
/// Arrow.
///
/// # Errors
/// [`ReadError::Format`] when the file cannot be read or a row is bad, [`ReadError::Catalog`] when
/// the items make no catalog.
pub fn read_catalog(path: impl AsRef<Path>) -> Result<Catalog, ReadError> {
    let items = convrec_formats::read_catalog(path.as_ref(), &ReadOptions::default())?;
    Ok(Catalog::new(items.rows)?)
}

/// Reads conversations, each with what was seen and its ground truth.
///
/// # Errors
/// [`ReadError::Format`] when the file cannot be read or a row is bad.
pub fn read_conversations(path: impl AsRef<Path>) -> Result<Vec<Example>, ReadError> {
    Ok(convrec_formats::read_conversations(path.as_ref(), &ReadOptions::default())?.rows)
}

/// Reads demonstrations, each a conversation with the list to imitate.
///
/// # Errors
/// [`ReadError::Format`] when the file cannot be read or a row is bad.
pub fn read_demonstrations(path: impl AsRef<Path>) -> Result<Vec<Demonstration>, ReadError> {
    Ok(convrec_formats::read_demonstrations(path.as_ref(), &ReadOptions::default())?.rows)
}
