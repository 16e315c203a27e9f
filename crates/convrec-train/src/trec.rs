//! Ground truth and lists as TREC files. Document `r<n>` is item n of the catalog, from 0; queries
//! are the ids of the samples.

use std::error::Error;
use std::path::Path;

use convrec_catalog::Catalog;
use convrec_core::{Example, ItemId, files};
use convrec_metrics::trec::{self, Qrels, Run};

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

/// Checks that the ids of examples can be the queries of a run.
///
/// # Errors
/// [`trec::Error`] at the first id that is empty, has white space in it, or comes twice.
pub fn check_queries(examples: &[Example]) -> Result<(), trec::Error> {
    let mut run = Run::new("convrec")?;
    let add = |example: &Example| run.add(&example.id, []);
    examples.iter().try_for_each(add)
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
        add_list(&mut run, &example.id, &sample.list)?;
    }
    Ok(files::write_atomic(path, |out| run.write(out))?)
}

/// A document of a run is no item of the catalog.
#[derive(Debug, thiserror::Error)]
#[error(
    "query `{query}`: found document `{document}`, expected `r0` to `r{last}`, the place of an item in the \
     catalog; is it another catalog's run?"
)]
pub struct UnknownDocument {
    /// The query.
    pub query: String,
    /// The document.
    pub document: String,
    /// The last place in the catalog.
    pub last: usize,
}

/// The items that a run lists for a query, best first; none for a query without a list.
///
/// # Errors
/// [`UnknownDocument`] at the first document that is not `r<n>` with a place n in the catalog.
pub fn listed(run: &Run, query: &str, catalog: &Catalog) -> Result<Vec<ItemId>, UnknownDocument> {
    let item = |document: &str| {
        let place = document.strip_prefix('r').and_then(|n| n.parse().ok());
        let known = place.filter(|n| (*n as usize) < catalog.len());
        known.map(ItemId).ok_or_else(|| UnknownDocument {
            query: query.into(),
            document: document.into(),
            last: catalog.len().saturating_sub(1),
        })
    };
    run.ranking(query).map(item).collect()
}

/// Adds a list of items to a run.
///
/// # Errors
/// As [`Run::add`].
pub fn add_list(run: &mut Run, query: &str, list: &[ItemId]) -> Result<(), trec::Error> {
    run.add(query, documents(list).iter().map(String::as_str))
}

fn documents(ids: &[ItemId]) -> Vec<String> {
    ids.iter().map(|id| format!("r{}", id.0)).collect()
}

#[cfg(test)]
mod tests {
    use convrec_core::CatalogItem;

    use super::*;

    #[test]
    fn lists_come_back_and_other_catalogs_documents_are_refused_by_name() {
        let item = |title: &str| CatalogItem {
            title: title.into(),
            year: Some(1990),
            genres: vec![],
            metadata: String::new(),
        };
        let catalog = Catalog::new(["Heat", "Up", "Alien"].map(item).to_vec()).unwrap();
        let mut run = Run::new("test").unwrap();
        add_list(&mut run, "a-1", &[ItemId(2), ItemId(0)]).unwrap();
        run.add("b-1", ["r1", "r3"]).unwrap();
        run.add("c-1", ["tt0113277"]).unwrap();
        let listed = |query| listed(&run, query, &catalog);
        assert_eq!(listed("a-1").unwrap(), [ItemId(2), ItemId(0)]);
        assert_eq!(listed("nowhere").unwrap(), []);
        for (query, document) in [("b-1", "r3"), ("c-1", "tt0113277")] {
            let error = listed(query).unwrap_err().to_string();
            let expected =
                format!("query `{query}`: found document `{document}`, expected `r0` to `r2`");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
