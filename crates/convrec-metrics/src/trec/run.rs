use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, Write};
use std::path::Path;

use super::Error;
use super::lines::{each_line, read_file};

/// One system's ranked lists, by query.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    tag: String,
    /// Documents with their scores, best first.
    rankings: BTreeMap<String, Vec<(String, f64)>>,
}

impl Run {
    /// A run without lists; `tag` names the system.
    ///
    /// # Errors
    /// When the tag is empty or has white space in it.
    pub fn new(tag: &str) -> Result<Self, Error> {
        Ok(Self {
            tag: name(tag)?,
            rankings: BTreeMap::new(),
        })
    }

    /// Adds one query's list, best first. Scores are its length, falling to 1, so that no reader
    /// meets a tie.
    ///
    /// # Errors
    /// When a name is empty or has white space in it, and when the query or a document of it comes
    /// twice.
    pub fn add<'a>(
        &mut self,
        query: &str,
        ranking: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let query = name(query)?;
        let documents = ranking
            .into_iter()
            .map(name)
            .collect::<Result<Vec<_>, _>>()?;
        let mut met = HashSet::new();
        if let Some(twice) = documents
            .iter()
            .find(|document| !met.insert(document.as_str()))
        {
            return Err(Error::AddedTwice(format!(
                "document `{twice}` of query `{query}`"
            )));
        }
        if self.rankings.contains_key(&query) {
            return Err(Error::AddedTwice(format!("query `{query}`")));
        }
        let scores = (1..=documents.len()).rev().map(|score| score as f64);
        self.rankings
            .insert(query, documents.into_iter().zip(scores).collect());
        Ok(())
    }

    /// Reads a run; `name` names the file in errors. Lines may come in any order: scores decide
    /// (see the [module](super)). The last line's tag is the run's.
    ///
    /// # Errors
    /// At the first line that is not `query Q0 document rank score tag` with a finite score, or
    /// that names a document of its query a second time; and when there is no line.
    pub fn read(reader: impl BufRead, name: &str) -> Result<Self, Error> {
        let mut run = Self {
            tag: String::new(),
            rankings: BTreeMap::new(),
        };
        let mut met: BTreeMap<String, HashSet<String>> = BTreeMap::new();
        each_line(
            reader,
            name,
            "query Q0 document rank score tag",
            |[query, _, document, _, score, tag], place| {
                let finite = score.parse().ok().filter(|score: &f64| score.is_finite());
                let score =
                    finite.ok_or_else(|| place.bad_field("score", score, "a finite number"))?;
                if !met.entry(query.into()).or_default().insert(document.into()) {
                    return Err(place.repeated(query, document));
                }
                run.rankings
                    .entry(query.into())
                    .or_default()
                    .push((document.into(), score));
                run.tag = tag.into();
                Ok(())
            },
        )?;
        // Not `total_cmp`, to which -0 lies below 0.
        let by_score =
            |a: &f64, b: &f64| a.partial_cmp(b).expect("scores were checked to be finite");
        for ranking in run.rankings.values_mut() {
            ranking.sort_by(|(a, a_score), (b, b_score)| {
                by_score(b_score, a_score).then_with(|| b.cmp(a))
            });
        }
        Ok(run)
    }

    /// Reads the file at `path`. See [`Run::read`].
    ///
    /// # Errors
    /// When the file cannot be opened, and as [`Run::read`].
    pub fn read_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        read_file(path.as_ref(), Self::read)
    }

    /// Writes the run, queries sorted, ranks from 1. To replace a file whole, write to one aside
    /// and rename it.
    ///
    /// # Errors
    /// When `out` does not take it.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        for (query, ranking) in &self.rankings {
            for (index, (document, score)) in ranking.iter().enumerate() {
                writeln!(
                    out,
                    "{query} Q0 {document} {} {score} {}",
                    index + 1,
                    self.tag
                )?;
            }
        }
        Ok(())
    }

    /// The name of the system.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The queries that have a list, sorted.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rankings.keys().map(String::as_str)
    }

    /// The documents of a query, best first; none for a query without a list.
    pub fn ranking(&self, query: &str) -> impl Iterator<Item = &str> {
        self.rankings
            .get(query)
            .into_iter()
            .flatten()
            .map(|(document, _)| document.as_str())
    }
}

fn name(text: &str) -> Result<String, Error> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        Err(Error::Name(text.into()))
    } else {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Run::read(text.as_bytes(), "my.run")
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn scores_decide_and_ties_fall_by_name() {
        let text = "q Q0 low 1 -2.5e1 t\nq Q0 b 2 3 t\nq Q0 c 3 3.0 t\nq Q0 a 4 3 t\n";
        let run = Run::read(text.as_bytes(), "my.run").unwrap();
        assert_eq!(run.ranking("q").collect::<Vec<_>>(), ["c", "b", "a", "low"]);
        assert_eq!(run.ranking("other").count(), 0);
    }

    #[test]
    fn bad_lines_are_named() {
        let good = "q Q0 d 1 9 t\n".to_string();
        assert!(
            error(&(good.clone() + "q Q0 e 1 NaN t\n"))
                .starts_with("my.run, line 2, field `score`: found `NaN`")
        );
        assert!(
            error(&(good.clone() + "q Q0 d 2 8 t\n"))
                .contains("line 2, field `document`: query `q` has `d` before")
        );
        assert!(error(&(good + "q Q0 e 1 t\n")).contains("line 2: found 5 fields"));
        assert!(error("").contains("my.run holds no line"));
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        assert!(
            Run::new("my system")
                .unwrap_err()
                .to_string()
                .contains("`my system` cannot be written")
        );
        let mut run = Run::new("t").unwrap();
        assert!(run.add("q", ["Heat (1995)"]).is_err());
        assert!(run.add("", ["a"]).is_err());
        assert!(
            run.add("q", ["a", "b", "a"])
                .unwrap_err()
                .to_string()
                .contains("document `a` of query `q` is added twice")
        );
        run.add("q", ["a"]).unwrap();
        assert!(
            run.add("q", ["b"])
                .unwrap_err()
                .to_string()
                .contains("query `q` is added twice")
        );
        assert_eq!(run.ranking("q").collect::<Vec<_>>(), ["a"]);
    }
}
