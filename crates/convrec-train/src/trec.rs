//! Ground truth and lists as TREC files. Document `r<n>` is item n of the catalog, from 0; queries
//! are the ids of the samples.

use std::error::Error;
use std::path::Path;

use convrec_catalog::Catalog;
use convrec_core::{Example, ItemId, files};
use convrec_metrics::trec::{Qrels, Run};

use crate::evaluate::Evaluation;

/// Writes the ground truth of the examples, without seen items, as a TREC qrels file.
///
/// # Errors
/// An error when an example names unknown items or its id cannot be a query, or the file cannot be
/// written.
pub fn write_qrels(
    path: &Path,
    catalog: &Catalog,
    examples: &[Example],
) -> Result<(), Box<dyn Error>> {
    let mut qrels = Qrels::default();
    for example in examples {
        let documents = documents(&catalog.example_ids(example)?.ground_truth);
        qrels.add(&example.id, documents.iter().map(String::as_str))?;
    }
    Ok(files::write_atomic(path, |out| qrels.write(out))?)
}

/// Writes the judged lists of an evaluation as a TREC run file. `examples` come with whether they
/// became samples, in the order of the samples.
///
/// # Errors
/// An error when an id cannot be a query, or the file cannot be written.
pub fn write_run<'a>(
    path: &Path,
    examples: impl Iterator<Item = (&'a Example, &'a bool)>,
    found: &Evaluation,
) -> Result<(), Box<dyn Error>> {
    let mut run = Run::new("convrec")?;
    for ((example, _), sample) in examples.filter(|(_, asked)| **asked).zip(&found.samples) {
        run.add(
            &example.id,
            documents(&sample.list).iter().map(String::as_str),
        )?;
    }
    Ok(files::write_atomic(path, |out| run.write(out))?)
}

fn documents(ids: &[ItemId]) -> Vec<String> {
    ids.iter().map(|id| format!("r{}", id.0)).collect()
}
