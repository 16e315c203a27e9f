use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, Write};
use std::path::Path;

use super::lines::{each_line, read_file, text};
use super::run::check_name;
use super::{Error, Run};
use crate::JudgedList;

/// Judgements: which documents are relevant to which query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Qrels {
    /// Whether each judged document is relevant, by query. Sorted, so that all runs have one order
    /// of queries.
    judgements: BTreeMap<String, HashMap<String, bool>>,
}

impl Qrels {
    /// Adds the relevant documents of one query. There may be none.
    ///
    /// # Errors
    /// [`Error::Name`] when a name is empty or has white space in it; [`Error::AddedTwice`] when
    /// the query comes twice. A document that comes twice counts once.
    pub fn add<'a>(
        &mut self,
        query: &str,
        relevant: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        check_name(query)?;
        let mut documents = HashMap::new();
        for document in relevant {
            check_name(document)?;
            documents.insert(document.to_string(), true);
        }
        if self.judgements.contains_key(query) {
            return Err(Error::AddedTwice(format!("query `{query}`")));
        }
        self.judgements.insert(query.into(), documents);
        Ok(())
    }

    /// Writes the judgements, queries and documents sorted, with relevance 1 or 0. The format
    /// cannot hold a query without a judged document, so such queries are left out.
    ///
    /// # Errors
    /// The error of `out`.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        for (query, documents) in &self.judgements {
            let documents: BTreeMap<&String, &bool> = documents.iter().collect();
            for (document, relevant) in documents {
                writeln!(out, "{query} 0 {document} {}", u8::from(*relevant))?;
            }
        }
        Ok(())
    }

    /// Reads judgements; `name` names the file in errors.
    ///
    /// # Errors
    /// - [`Error::Read`] when the text cannot be read or is not UTF-8
    /// - [`Error::Fields`] and [`Error::Field`] at the first line that is not
    ///   `query iteration document relevance` with an integer relevance
    /// - [`Error::RepeatedLine`] at the first line that judges a document a second time
    /// - [`Error::Empty`] when there is no line
    pub fn read(reader: impl BufRead, name: &str) -> Result<Self, Error> {
        let text = text(reader, name)?;
        let mut qrels = Self::default();
        each_line(
            &text,
            name,
            "query iteration document relevance",
            |[query, _, document, relevance], place| {
                let relevance: i64 = relevance.parse().map_err(|_| {
                    place.bad_field(
                        "relevance",
                        relevance,
                        "an integer, 0 or below for not relevant",
                    )
                })?;
                let of_query = qrels.judgements.entry(query.into()).or_default();
                match of_query.insert(document.into(), relevance > 0) {
                    None => Ok(()),
                    Some(_) => Err(place.repeated(query, document)),
                }
            },
        )?;
        Ok(qrels)
    }

    /// Reads the regular file at `path`. See [`Qrels::read`].
    ///
    /// # Errors
    /// [`Error::Open`] when the file cannot be opened or is no regular one; else as
    /// [`Qrels::read`].
    pub fn read_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        read_file(path.as_ref(), Self::read)
    }

    /// The queries, sorted.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.judgements.keys().map(String::as_str)
    }

    /// Judges a run. There is one list for every query of [`Qrels::queries`], in that order. It is
    /// empty where the run has none.
    #[must_use]
    pub fn judge(&self, run: &Run) -> Vec<JudgedList> {
        let judge = |(query, documents): (&String, &HashMap<String, bool>)| {
            let relevant: HashSet<&str> = documents
                .iter()
                .filter(|&(_, &relevant)| relevant)
                .map(|(document, _)| document.as_str())
                .collect();
            JudgedList::from_ids(&run.ranking(query).collect::<Vec<_>>(), &relevant)
        };
        self.judgements.iter().map(judge).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Qrels::read(text.as_bytes(), "q.txt")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn bad_lines_are_named() {
        assert_eq!(
            error("q 0 a 1\n\nq 0 b\n"),
            "q.txt, line 3: found 3 fields, expected `query iteration document relevance`; mend \
             the line or remove it"
        );
        assert!(
            error("q 0 a 0.5\n")
                .starts_with("q.txt, line 1, field `relevance`: found `0.5`, expected an integer")
        );
        assert!(
            error("q 0 a 1\nq 0 a 0\n")
                .contains("line 2, field `document`: query `q` has `a` before")
        );
        assert!(error("\n").contains("holds no line"));
        assert!(
            Qrels::read(&b"q 0 a 1\nq 0 \xff 1\n"[..], "q.txt")
                .unwrap_err()
                .to_string()
                .contains("q.txt, line 2")
        );
        assert!(
            Qrels::read_file("no/such/qrels")
                .unwrap_err()
                .to_string()
                .contains("cannot open no/such/qrels")
        );
    }

    #[test]
    fn queries_without_relevant_documents_count_and_unjudged_ones_do_not() {
        let qrels = Qrels::read(
            "\u{feff}b 0 x 2\r\na 0 x -1\r\na 0 y 0\r\n".as_bytes(),
            "q.txt",
        )
        .unwrap();
        let mut run = Run::new("t").unwrap();
        run.add("b", ["y", "x"]).unwrap();
        run.add("unjudged", ["x"]).unwrap();
        assert_eq!(qrels.queries().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            qrels.judge(&run),
            [
                JudgedList::new(vec![], 0),
                JudgedList::new(vec![false, true], 1)
            ]
        );
    }
}
