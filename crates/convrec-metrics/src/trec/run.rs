use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Write};
use std::ops::Range;
use std::path::Path;

use super::Error;
use super::lines::{LARGEST, Place, each_line, read_file, text};

/// One system's ranked lists, by query.
///
/// Scores are 32-bit floats, as in `trec_eval`: two scores that differ only beyond that precision
/// are a tie.
#[derive(Debug, Clone)]
pub struct Run {
    tag: String,
    /// The names of queries and documents. For a run that was read it is the whole file.
    text: String,
    /// Sorted by name.
    lists: Vec<List>,
    entries: Vec<Entry>,
}

/// A piece of [`Run::text`].
#[derive(Debug, Clone, Copy)]
struct Name {
    start: u32,
    len: u32,
}

/// A query and the range of its entries.
#[derive(Debug, Clone)]
struct List {
    query: Name,
    entries: Range<usize>,
}

/// A document with its score. The entries of a list lie side by side, best first.
#[derive(Debug, Clone, Copy)]
struct Entry {
    document: Name,
    score: f32,
}

impl Name {
    /// The place of `part` in `text`.
    fn of(part: &str, text: &str) -> Self {
        Self {
            start: (part.as_ptr() as usize - text.as_ptr() as usize) as u32,
            len: part.len() as u32,
        }
    }

    fn get(self, text: &str) -> &str {
        &text[self.start as usize..(self.start + self.len) as usize]
    }
}

/// Runs are equal when their tags, queries, rankings and scores are, wherever the names lie.
impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        let scores = |run: &Self| {
            let entries = run
                .lists
                .iter()
                .flat_map(|list| &run.entries[list.entries.clone()]);
            entries.map(|entry| entry.score).collect::<Vec<f32>>()
        };
        self.tag == other.tag
            && self.queries().eq(other.queries())
            && self
                .queries()
                .all(|query| self.ranking(query).eq(other.ranking(query)))
            && scores(self) == scores(other)
    }
}

impl Run {
    /// A run without lists; `tag` names the system.
    ///
    /// # Errors
    /// [`Error::Name`] when the tag is empty or has white space in it.
    pub fn new(tag: &str) -> Result<Self, Error> {
        check_name(tag)?;
        Ok(Self {
            tag: tag.into(),
            text: String::new(),
            lists: Vec::new(),
            entries: Vec::new(),
        })
    }

    /// Adds the list of one query, best first. The scores fall from the length of the list to 1, so
    /// that no reader meets a tie.
    ///
    /// # Errors
    /// - [`Error::Name`] when a name is empty or has white space in it
    /// - [`Error::AddedTwice`] when the query, or a document of it, comes twice
    /// - [`Error::TooLarge`] when the names of the run have more than 4 GiB
    ///
    /// The run is then as before.
    pub fn add<'a>(
        &mut self,
        query: &str,
        ranking: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        check_name(query)?;
        let documents: Vec<&str> = ranking.into_iter().collect();
        let mut met = HashSet::new();
        let mut length = self.text.len() + query.len();
        for document in &documents {
            check_name(document)?;
            length += document.len();
            if !met.insert(document) {
                let what = format!("document `{document}` of query `{query}`");
                return Err(Error::AddedTwice(what));
            }
        }
        if length as u64 > LARGEST {
            return Err(Error::TooLarge);
        }
        let place = match self.find(query) {
            Ok(_) => return Err(Error::AddedTwice(format!("query `{query}`"))),
            Err(place) => place,
        };
        let query = self.push(query);
        let start = self.entries.len();
        for (rank, document) in documents.iter().enumerate() {
            let score = (documents.len() - rank) as f32;
            let document = self.push(document);
            self.entries.push(Entry { document, score });
        }
        let entries = start..self.entries.len();
        self.lists.insert(place, List { query, entries });
        Ok(())
    }

    fn push(&mut self, name: &str) -> Name {
        let start = self.text.len() as u32;
        self.text.push_str(name);
        let len = name.len() as u32;
        Name { start, len }
    }

    /// Reads a run; `name` names the file in errors. Lines may come in any order, as scores decide
    /// (see the [module](super)). The tag of the last line is the run's.
    ///
    /// # Errors
    /// - [`Error::Read`] when the text cannot be read or is not UTF-8
    /// - [`Error::Fields`] and [`Error::Field`] at the first line that is not
    ///   `query Q0 document rank score tag` with a score that is a number
    /// - [`Error::RepeatedLine`] at the first line that names a document of its query a second time
    /// - [`Error::Empty`] when there is no line
    pub fn read(reader: impl BufRead, name: &str) -> Result<Self, Error> {
        let text = text(reader, name)?;
        let mut tag = "";
        // Lines of one query mostly lie side by side, so each stretch becomes a list at once.
        let mut stretches: Vec<List> = Vec::new();
        let mut entries: Vec<Entry> = Vec::with_capacity(text.len() / 32);
        let mut last = "";
        each_line(
            &text,
            name,
            "query Q0 document rank score tag",
            |[query, _, document, _, score, of_line], place| {
                let number = score.parse().ok().filter(|score: &f64| !score.is_nan());
                let number =
                    number.ok_or_else(|| place.bad_field("score", score, "a number, or `-inf`"))?;
                if query != last || stretches.is_empty() {
                    last = query;
                    let query = Name::of(query, &text);
                    let entries = entries.len()..entries.len();
                    stretches.push(List { query, entries });
                }
                // The score is rounded as in C, where a double becomes a float.
                let score = number as f32;
                let document = Name::of(document, &text);
                entries.push(Entry { document, score });
                if let Some(stretch) = stretches.last_mut() {
                    stretch.entries.end = entries.len();
                }
                tag = of_line;
                Ok(())
            },
        )?;
        let tag = tag.to_string();
        let (mut lists, mut entries) = joined(&text, stretches, entries);
        let mut met = HashSet::new();
        for list in &lists {
            let of_query = &mut entries[list.entries.clone()];
            met.clear();
            for entry in &*of_query {
                let document = entry.document.get(&text);
                if !met.insert(document) {
                    let place = Place::new(name, &text, entry.document.start as usize);
                    return Err(place.repeated(list.query.get(&text), document));
                }
            }
            of_query.sort_unstable_by(|a, b| {
                // `total_cmp` would put -0 below 0. No score is NaN.
                let by_score = b.score.partial_cmp(&a.score);
                let by_name = || b.document.get(&text).cmp(a.document.get(&text));
                by_score
                    .unwrap_or(std::cmp::Ordering::Equal)
                    .then_with(by_name)
            });
        }
        lists.sort_unstable_by(|a, b| a.query.get(&text).cmp(b.query.get(&text)));
        Ok(Self {
            tag,
            text,
            lists,
            entries,
        })
    }

    /// Reads the regular file at `path`. See [`Run::read`].
    ///
    /// # Errors
    /// [`Error::Open`] when the file cannot be opened or is no regular one; else as [`Run::read`].
    pub fn read_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        read_file(path.as_ref(), Self::read)
    }

    /// Writes the run with sorted queries and ranks from 1. To replace a file as a whole, write to
    /// another one and rename it.
    ///
    /// # Errors
    /// The error of `out`.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        for list in &self.lists {
            let query = list.query.get(&self.text);
            for (index, entry) in self.entries[list.entries.clone()].iter().enumerate() {
                writeln!(
                    out,
                    "{query} Q0 {} {} {} {}",
                    entry.document.get(&self.text),
                    index + 1,
                    entry.score,
                    self.tag
                )?;
            }
        }
        Ok(())
    }

    /// The name of the system.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The queries that have a list, sorted.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &str> {
        self.lists.iter().map(|list| list.query.get(&self.text))
    }

    /// The documents of a query, best first; none for a query without a list.
    pub fn ranking(&self, query: &str) -> impl Iterator<Item = &str> {
        let entries = match self.find(query) {
            Ok(place) => self.lists[place].entries.clone(),
            Err(_) => 0..0,
        };
        self.entries[entries]
            .iter()
            .map(|entry| entry.document.get(&self.text))
    }

    /// The place of a query in `lists`, or where it would be.
    fn find(&self, query: &str) -> Result<usize, usize> {
        self.lists
            .binary_search_by(|list| list.query.get(&self.text).cmp(query))
    }
}

/// Joins the stretches of each query, so that its entries lie side by side, in their order.
fn joined(text: &str, stretches: Vec<List>, entries: Vec<Entry>) -> (Vec<List>, Vec<Entry>) {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(stretches.len());
    for stretch in &stretches {
        let place = places.len();
        places.entry(stretch.query.get(text)).or_insert(place);
    }
    if places.len() == stretches.len() {
        return (stretches, entries);
    }
    let mut of_query: Vec<Vec<&List>> = vec![Vec::new(); places.len()];
    for stretch in &stretches {
        of_query[places[stretch.query.get(text)]].push(stretch);
    }
    let mut sorted = Vec::with_capacity(entries.len());
    let lists = of_query.into_iter().map(|of_query| {
        let start = sorted.len();
        for stretch in &of_query {
            sorted.extend_from_slice(&entries[stretch.entries.clone()]);
        }
        List {
            query: of_query[0].query,
            entries: start..sorted.len(),
        }
    });
    (lists.collect(), sorted)
}

pub(super) fn check_name(text: &str) -> Result<(), Error> {
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(Error::Name(text.into()));
    }
    Ok(())
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
    fn scores_have_the_precision_of_trec_eval() {
        let ranking = |text: &str| {
            let run = Run::read(text.as_bytes(), "my.run").unwrap();
            run.ranking("q").map(str::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            ranking("q Q0 a 1 16777217 t\nq Q0 b 2 16777216 t\n"),
            ["b", "a"]
        );
        assert_eq!(
            ranking("q Q0 a 1 0.1234567891 t\nq Q0 b 2 0.1234567892 t\n"),
            ["b", "a"]
        );
        assert_eq!(
            ranking("q Q0 a 1 0.123456 t\nq Q0 b 2 0.123457 t\n"),
            ["b", "a"]
        );
        assert_eq!(
            ranking("q Q0 a 1 -inf t\nq Q0 b 2 -1e30 t\nq Q0 c 3 inf t\n"),
            ["c", "b", "a"]
        );
        assert_eq!(ranking("q Q0 a 1 0 t\nq Q0 b 2 -0.0 t\n"), ["b", "a"]);
    }

    #[test]
    fn lines_of_a_query_may_lie_anywhere() {
        let text = "q2 Q0 a 1 1 t\nq1 Q0 b 1 1 t\nq2 Q0 c 1 2 t\n\nq1 Q0 a 1 3 u\r\n";
        let run = Run::read(text.as_bytes(), "my.run").unwrap();
        assert_eq!(run.queries().collect::<Vec<_>>(), ["q1", "q2"]);
        assert_eq!(run.ranking("q1").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(run.ranking("q2").collect::<Vec<_>>(), ["c", "a"]);
        assert_eq!(run.tag(), "u");
        let twice = format!("{text}q1 Q0 b 1 9 t\n");
        assert!(error(&twice).contains("my.run, line 6, field `document`: query `q1` has `b`"));
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
