//! Catalogs and conversations in all supported formats.

use std::error::Error;
use std::path::Path;

use convrec_catalog::{Catalog, audit};
use convrec_core::{Demonstration, Example};
use convrec_formats::{BadRows, ReadOptions};
use convrec_train::{Sample, Task};

/// The catalog of a file: JSON lines, CSV or a pickled list. Rows that can be no item are left out,
/// and reported on stderr.
///
/// # Errors
/// When the file cannot be read or holds no item; the error names file, line and field.
pub fn read_catalog(path: &Path) -> Result<Catalog, Box<dyn Error>> {
    let items = convrec_formats::read_catalog(path, &ReadOptions::default().skip_bad(true))?;
    say_left_out(&items.skipped);
    Ok(audited(Catalog::new(items.rows)?))
}

/// The catalog. Its likely twins are reported on stderr.
fn audited(catalog: Catalog) -> Catalog {
    if let Some(found) = audit(&catalog).summary(&catalog) {
        eprintln!("catalog: {found}");
    }
    catalog
}

/// The conversations of a file or folder, each with an id of its own.
///
/// # Errors
/// When it cannot be read or an id is used twice; the error names file, row and field.
pub fn read_conversations(path: &Path) -> Result<Vec<Example>, Box<dyn Error>> {
    Ok(convrec_formats::read_conversations(path, &ReadOptions::default())?.rows)
}

/// The conversations to validate on, where a file is named.
///
/// # Errors
/// As [`read_conversations`].
pub fn read_validation(path: Option<&Path>) -> Result<Vec<Example>, Box<dyn Error>> {
    path.map_or(Ok(vec![]), read_conversations)
}

/// The examples of the file at `path` in ids.
///
/// # Errors
/// When an example does not fit the task; the error names the file.
pub fn samples(
    task: &Task,
    examples: &[Example],
    path: &Path,
) -> Result<Vec<Sample>, Box<dyn Error>> {
    let samples = examples.iter().map(|example| task.sample(example));
    let samples = samples.collect::<Result<_, _>>();
    samples.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// The demonstrations of a file or folder. Lines of their lists that are no items are left out, and
/// reported on stderr.
///
/// # Errors
/// When it cannot be read; the error names file, row and field.
pub fn read_demonstrations(path: &Path) -> Result<Vec<Demonstration>, Box<dyn Error>> {
    let demonstrations = convrec_formats::read_demonstrations(path, &ReadOptions::default())?;
    say_left_out(&demonstrations.unparsed_lines);
    Ok(demonstrations.rows)
}

/// [`read_conversations`], to be trained or measured on: each has an id of its own and ground truth
/// in the catalog ([`Catalog::check_examples`]).
///
/// # Errors
/// As [`read_conversations`], and when an example is of no use. The error names file and sample.
pub fn read_examples(catalog: &Catalog, path: &Path) -> Result<Vec<Example>, Box<dyn Error>> {
    let examples = read_conversations(path)?;
    let checked = catalog.check_examples(&examples);
    checked.map_err(|e| format!("{}, {e}", path.display()))?;
    Ok(examples)
}

fn say_left_out(left_out: &BadRows) {
    const SHOWN: usize = 10;
    let shown = left_out.listed.iter().take(SHOWN);
    shown.for_each(|row| eprintln!("left out: {row}"));
    if left_out.count > SHOWN {
        eprintln!("left out: {} more", left_out.count - SHOWN);
    }
}
