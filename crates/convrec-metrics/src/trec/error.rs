use std::io;

/// A file of judgements or of ranked lists cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be opened, or is no regular file.
    #[error("cannot open {file}: {source}")]
    Open {
        /// The file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line cannot be read, or is not UTF-8.
    #[error("cannot read {file}, line {line}: {source}")]
    Read {
        /// The file, as the caller named it.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The file has no line with content.
    #[error("{file} holds no line; expected at least one `{expected}`")]
    Empty {
        /// The file.
        file: String,
        /// The fields of a line.
        expected: &'static str,
    },
    /// A line has too many or too few fields.
    #[error(
        "{file}, line {line}: found {found} fields, expected `{expected}`; mend the line or \
         remove it"
    )]
    Fields {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The number of its fields.
        found: usize,
        /// The fields that it should have.
        expected: &'static str,
    },
    /// A field has a wrong value.
    #[error(
        "{file}, line {line}, field `{field}`: found `{found}`, expected {expected}; mend the \
         line or remove it"
    )]
    Field {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The field's name.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// One query names a document twice.
    #[error(
        "{file}, line {line}, field `document`: query `{query}` has `{document}` before; remove \
         one of the lines"
    )]
    RepeatedLine {
        /// The file.
        file: String,
        /// The second line, from 1.
        line: usize,
        /// The query.
        query: String,
        /// The document.
        document: String,
    },
    /// A list given to [`Run::add`](super::Run::add) names a document twice, or its query was added
    /// before.
    #[error("{0} is added twice; add each query once, with each document once")]
    AddedTwice(String),
    /// A name cannot stand in a file whose fields are separated by white space.
    #[error(
        "`{0}` cannot be written to a run; expected a name without white space, and not an empty \
         one"
    )]
    Name(String),
    /// The names of a run have more bytes than can be counted.
    #[error("the names of the run have more than 4 GiB; expected a smaller run, or shorter names")]
    TooLarge,
}
