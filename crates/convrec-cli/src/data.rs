//! Catalogs and conversations, in whatever format they come, by one rule in all programs.

use std::error::Error;
use std::fmt;
use std::path::Path;

use clap::Args;
use convrec_catalog::{Catalog, audit};
use convrec_core::{BadRowPolicy, Demonstration, Example};
use convrec_formats::{BadRows, ReadOptions};
use convrec_train::data::{self, DataReport, InCatalogRow};
use convrec_train::{Files, ModelError, Sample, Task, TaskError};

use crate::output::warn;

/// What becomes of rows that cannot be used, and of items that are most likely one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct DataOptions {
    /// Skip rows of catalogs, conversations and demonstrations that cannot be used. They are
    /// counted and listed. Without this flag they are an error that says how many there are.
    #[arg(long)]
    pub skip_bad: bool,
    /// Treat items of the catalog that are most likely one as one: seen together, recommended once,
    /// judged together. `recommend` and `serve` do so anyway, published protocols do not.
    #[arg(long, conflicts_with = "keep_twins")]
    pub merge_twins: bool,
    /// Treat such items as different items. All programs but `recommend` and `serve` do so anyway.
    #[arg(long)]
    pub keep_twins: bool,
}

/// What a program does with items that are most likely one where no flag says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TwinRule {
    /// They are different items, as in published protocols.
    Keep,
    /// They count as one, as people want it of a recommender.
    Merge,
}

impl DataOptions {
    /// What the settings of a training run say.
    #[must_use]
    pub fn of(files: &Files) -> Self {
        Self {
            skip_bad: files.skip_bad,
            merge_twins: files.merge_twins,
            keep_twins: !files.merge_twins,
        }
    }

    /// Whether twins are merged, where a flag says so.
    #[must_use]
    pub fn twins(&self) -> Option<bool> {
        match (self.merge_twins, self.keep_twins) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    fn policy(&self) -> BadRowPolicy {
        match self.skip_bad {
            true => BadRowPolicy::Skip,
            false => BadRowPolicy::Refuse,
        }
    }

    fn reading(&self) -> ReadOptions {
        ReadOptions::default().skip_bad(self.skip_bad)
    }

    /// The catalog of a file. Likely twins are said on stderr.
    ///
    /// # Errors
    /// When the file cannot be read, when rows are bad and not skipped, and when it holds no item;
    /// the error names file, line and field.
    pub fn catalog(&self, path: &Path, rule: TwinRule) -> Result<Catalog, Box<dyn Error>> {
        let items = convrec_formats::read_catalog(path, &self.reading())?;
        say_left_out(path, &items.skipped);
        let catalog = in_file(path, Catalog::new(items.rows))?;
        let merges = self.twins().unwrap_or(rule == TwinRule::Merge);
        let twins = audit(&catalog);
        if let Some(found) = twins.summary(&catalog) {
            let done = match (merges, twins.certain.is_empty()) {
                (_, true) => "",
                (true, false) => "; these count as one (`--keep-twins`: as different items)",
                (false, false) => "; these are different items here (`--merge-twins`: one)",
            };
            warn(&format_args!("catalog: {found}{done}"));
        }
        Ok(if merges {
            catalog.with_twins(twins.twins())
        } else {
            catalog
        })
    }

    /// The conversations of a file or folder, each with an id of its own. Their items may be
    /// anywhere.
    ///
    /// # Errors
    /// When it cannot be read, and when rows are bad and not skipped; the error names file, row and
    /// field.
    pub fn conversations(&self, path: &Path) -> Result<Vec<Example>, Box<dyn Error>> {
        let read = convrec_formats::read_conversations(path, &self.reading())?;
        say_left_out(path, &read.skipped);
        if !read.rows.iter().any(|example| !example.seen.is_empty()) {
            warn(&format_args!(
                "{}: no conversation has `seen`: items that they name may be recommended, and \
                 co-occurrence has nothing to count",
                path.display()
            ));
        }
        Ok(read.rows)
    }

    /// [`conversations`](Self::conversations), whose ground truth is in the catalog.
    ///
    /// # Errors
    /// As [`conversations`](Self::conversations). A conversation whose ground truth is not in the
    /// catalog is a bad row.
    pub fn examples(&self, catalog: &Catalog, path: &Path) -> Result<Vec<Example>, Box<dyn Error>> {
        self.in_catalog(catalog, self.conversations(path)?, path)
    }

    /// [`examples`](Self::examples) on which a list can be right. The number of the others is said
    /// on stderr.
    ///
    /// # Errors
    /// As [`examples`](Self::examples), and when none is left.
    pub fn judged_examples(
        &self,
        catalog: &Catalog,
        path: &Path,
    ) -> Result<Vec<Example>, Box<dyn Error>> {
        let (examples, report) = data::with_ground_truth(catalog, self.examples(catalog, path)?);
        say_report("conversations", &report);
        if examples.is_empty() {
            return Err(format!("{}: nothing can be judged: {report}", path.display()).into());
        }
        Ok(examples)
    }

    /// The conversations to validate on, where a file is named.
    ///
    /// # Errors
    /// As [`examples`](Self::examples).
    pub fn validation(
        &self,
        catalog: &Catalog,
        path: Option<&Path>,
    ) -> Result<Vec<Example>, Box<dyn Error>> {
        path.map_or(Ok(vec![]), |path| self.examples(catalog, path))
    }

    /// The demonstrations of a file or folder. Lines of their lists that are no items are left out,
    /// and said on stderr. A line without a year names an item where the catalog has such items.
    ///
    /// # Errors
    /// As [`conversations`](Self::conversations).
    pub fn demonstrations(
        &self,
        catalog: Option<&Catalog>,
        path: &Path,
    ) -> Result<Vec<Demonstration>, Box<dyn Error>> {
        let mut items = catalog.into_iter().flat_map(Catalog::iter);
        let optional = items.any(|(_, item)| item.year.is_none());
        let reading = self.reading().optional_years(optional);
        let read = convrec_formats::read_demonstrations(path, &reading)?;
        say_left_out(path, &read.skipped);
        let lines = &read.unparsed_lines;
        list(
            path,
            &format!("{} lines of lists name no item", lines.count),
            lines,
        );
        Ok(read.rows)
    }

    /// Rows whose items are in the catalog.
    ///
    /// # Errors
    /// When others are among them and not skipped.
    pub fn in_catalog<T: InCatalogRow>(
        &self,
        catalog: &Catalog,
        rows: Vec<T>,
        path: &Path,
    ) -> Result<Vec<T>, Box<dyn Error>> {
        let policy = self.policy();
        match data::in_catalog(catalog, rows, &path.display().to_string(), policy) {
            Ok((rows, skipped)) => {
                say_left_out(path, &skipped);
                Ok(rows)
            }
            Err(bad) => Err(convrec_formats::Error::BadRows {
                path: path.display().to_string(),
                bad,
                policy,
            }
            .into()),
        }
    }
}

/// The task of a model for the catalog of a file. Items that no list can tell apart are named with
/// the file.
///
/// # Errors
/// As [`Language::task_for`](convrec_train::Language::task_for).
pub fn in_catalog_file(
    path: &Path,
    task: Result<Task, ModelError>,
) -> Result<Task, Box<dyn Error>> {
    task.map_err(|error| match error {
        ModelError::Trie(error) => format!("{}: {error}", path.display()).into(),
        error => error.into(),
    })
}

/// The examples of the file at `path` that a model can be asked, in ids, and for each example
/// whether it is one of them. How many are changed or left out is said on stderr.
///
/// # Errors
/// When an example does not fit the task, and when none can be asked.
pub fn samples_of(
    task: &Task,
    examples: &[Example],
    path: &Path,
    model: &Path,
) -> Result<(Vec<Sample>, Vec<bool>), Box<dyn Error>> {
    let (samples, report) = in_file(path, data::samples_in_order(task, examples))?;
    if !report.is_clean() {
        say_report(&model.display().to_string(), &report);
    }
    let asked: Vec<bool> = samples.iter().map(Option::is_some).collect();
    if !asked.contains(&true) {
        return Err(format!(
            "{}: no conversation can be asked: {report}",
            model.display()
        )
        .into());
    }
    Ok((samples.into_iter().flatten().collect(), asked))
}

/// What `work` says of the data in a file, with the file's name before it.
///
/// # Errors
/// As `work`.
pub fn of_file<T>(path: &Path, work: Result<T, TaskError>) -> Result<T, Box<dyn Error>> {
    in_file(path, work)
}

fn in_file<T, E: fmt::Display>(path: &Path, work: Result<T, E>) -> Result<T, Box<dyn Error>> {
    work.map_err(|e| format!("{}: {e}", path.display()).into())
}

/// Says on stderr how much of some data is used, and what became of the rest.
pub fn say_report(what: &str, report: &DataReport) {
    warn(&format_args!("{what}: {report}"));
}

fn say_left_out(path: &Path, left_out: &BadRows) {
    let (count, all) = (left_out.count, left_out.rows_read);
    list(
        path,
        &format!("{count} of {all} rows cannot be used"),
        left_out,
    );
}

/// What is left out of a file, and the first of it.
fn list(path: &Path, what: &str, rows: &BadRows) {
    const SHOWN: usize = 10;
    if rows.is_empty() {
        return;
    }
    warn(&format_args!("{}: {what} and are left out", path.display()));
    for row in rows.listed.iter().take(SHOWN) {
        warn(&format_args!("left out: {row}"));
    }
    if rows.count > SHOWN {
        warn(&format_args!("left out: {} more", rows.count - SHOWN));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        data: DataOptions,
    }

    fn options(flags: &[&str]) -> DataOptions {
        Alone::parse_from([&["program"], flags].concat()).data
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::Builder::new()
            .suffix(".jsonl")
            .tempfile()
            .unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn bad_rows_are_refused_with_their_number_or_skipped() {
        let catalog = file(
            "{\"title\": \"Heat\", \"year\": 1995}\n{\"title\": \"\"}\n{\"year\": 3}\n\
             {\"title\": \"Up\", \"year\": \"x\"}\n{\"title\": \"Up\", \"year\": 2009}\n",
        );
        let read = |flags: &[&str]| options(flags).catalog(catalog.path(), TwinRule::Keep);
        let error = read(&[]).unwrap_err().to_string();
        assert!(
            error.contains("3 of 5 rows are bad") && error.contains("--skip-bad"),
            "{error}"
        );
        let films = read(&["--skip-bad"]).unwrap();
        assert_eq!(films.len(), 2);

        let row = |id: &str, title: &str| {
            format!(
                "{{\"id\": \"{id}\", \"dialog\": [{{\"role\": \"user\", \"content\": \"x\"}}], \
                 \"ground_truth\": [[\"{title}\", null]]}}\n"
            )
        };
        let text = row("a", "Heat") + "{}\n" + &row("b", "Nowhere") + &row("c", "Up");
        let conversations = file(&text);
        let read = |flags: &[&str]| options(flags).examples(&films, conversations.path());
        let error = read(&[]).unwrap_err().to_string();
        assert!(error.contains("1 of 4 rows is bad"), "{error}");
        let ids = |examples: Vec<Example>| -> Vec<String> {
            examples.into_iter().map(|example| example.id).collect()
        };
        assert_eq!(ids(read(&["--skip-bad"]).unwrap()), ["a", "c"]);
        // Those that no catalog is needed to read.
        let all = options(&["--skip-bad"]).conversations(conversations.path());
        assert_eq!(ids(all.unwrap()), ["a", "b", "c"]);
    }

    #[test]
    fn a_flag_decides_about_twins_and_else_the_program() {
        let catalog = file("{\"title\": \"Heat\"}\n{\"title\": \"Heat\", \"year\": 1995}\n");
        let aliases = |flags: &[&str], rule| {
            let read = options(flags).catalog(catalog.path(), rule);
            read.unwrap().aliases().len()
        };
        assert_eq!(aliases(&[], TwinRule::Keep), 0);
        assert_eq!(aliases(&[], TwinRule::Merge), 1);
        assert_eq!(aliases(&["--merge-twins"], TwinRule::Keep), 1);
        assert_eq!(aliases(&["--keep-twins"], TwinRule::Merge), 0);
        assert!(Alone::try_parse_from(["program", "--merge-twins", "--keep-twins"]).is_err());
    }
}
