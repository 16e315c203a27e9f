//! The output files of a run: demonstrations, a manifest, a report, and the conversations without
//! an answer.

use std::path::PathBuf;
use std::time::Duration;

use convrec_catalog::Catalog;
use convrec_core::files::write_atomic;
use convrec_core::{Item, jsonl, printable};
use convrec_demonstrations::services::Usage;
use convrec_demonstrations::{Counts, Failure, FitReport, Origin, PipelineOutput, Scored};
use convrec_watch::report::{Marked, Report};
use serde::Serialize;

use super::DemonstrationOptions;
use crate::output::{say, say_table, warn};
use crate::steps::{Figures, Step, steps};
use crate::{Outcome, Paused, Table};

/// Conversations that the report shows.
const SHOWN: usize = 5;

/// Checks that every conversation got an answer. `again` says what to do where one did not.
///
/// # Errors
/// [`Paused`] with the first one that did not.
pub(super) fn complete(failures: &[Failure], again: &str) -> Outcome {
    let Some(failure) = failures.first() else {
        return Ok(());
    };
    let n = failures.len();
    let failure = failure.to_string();
    Err(Paused(format!(
        "{n} conversations got no answer and are left out; the first, {}\n{again}",
        printable(&failure)
    ))
    .into())
}

/// A run that is done.
#[derive(Debug)]
pub struct Output<'a> {
    /// The flags.
    pub options: &'a DemonstrationOptions,
    /// Whether the catalog has descriptions of its own.
    pub described: bool,
    /// The catalog that the lists are from.
    pub catalog: &'a Catalog,
    /// The origin of the demonstrations.
    pub origin: &'a Origin,
    /// The conversations with their scores.
    pub scored: &'a Scored<'a>,
    /// The lists.
    pub output: &'a PipelineOutput,
    /// The usage of the server.
    pub usage: Option<Usage>,
}

#[derive(Serialize)]
struct Manifest<'a> {
    counts: Counts,
    origin: &'a Origin,
    fit: Option<&'a FitReport>,
    demonstrations_sha256: String,
    usage_of_this_run: Option<Usage>,
    seconds: f64,
}

impl Output<'_> {
    /// Writes everything beside `--out`, and prints the table.
    ///
    /// # Errors
    /// When a file cannot be written; [`Paused`] when a conversation got no answer.
    pub fn write(&self, took: Duration) -> Outcome {
        let out = &self.options.out;
        jsonl::write_file(out, &self.output.demonstrations)?;
        let counts = self.output.counts;
        let manifest = Manifest {
            counts,
            origin: self.origin,
            fit: self.output.fit.as_ref().map(|fit| &fit.report),
            demonstrations_sha256: convrec_core::hash::sha256_file(out)?,
            usage_of_this_run: self.usage,
            seconds: took.as_secs_f64(),
        };
        let text = serde_json::to_string_pretty(&manifest)? + "\n";
        write_atomic(self.beside("manifest.json"), |file| {
            file.write_all(text.as_bytes())
        })?;
        if self.described {
            let items: Vec<_> = self.catalog.iter().map(|(_, item)| item).collect();
            jsonl::write_file(self.beside("catalog.jsonl"), &items)?;
        }
        let failures = self.beside("failures.jsonl");
        if !self.output.failures.is_empty() {
            jsonl::write_file(&failures, &self.output.failures)?;
        } else if failures.exists() {
            // Of an earlier run, which this one has made good.
            std::fs::remove_file(&failures)?;
        }

        let examples = self.scored.examples();
        let n = self.origin.config.n;
        let figures = Figures::new(self.output, self.catalog, examples, n);
        let steps = steps(self.output, self.catalog, examples, n);
        let table = figures.table(&steps);
        self.report(&table, &steps)?;
        say_table(&table);
        say(format_args!(
            "measured on the conversations that the steps learned from; 95% intervals by \
             resampling dialogs"
        ));
        let Counts {
            conversations,
            empty,
            named,
            named_in_catalog,
            candidates,
            unrated,
            demonstrations,
            ..
        } = counts;
        say(format_args!(
            "{named} items named, {named_in_catalog} in the catalog, {} more by a likely guess; \
             {empty} answers without any; {unrated} of {candidates} candidates unrated",
            counts.guessed
        ));
        if let Some(usage) = &self.usage {
            say(usage);
        }
        say(format_args!(
            "{demonstrations} demonstrations of {conversations} conversations in {}",
            out.display()
        ));
        let again = match self.options.merge.is_empty() {
            true => "the same command asks for these again",
            false => "score their parts again, and merge",
        };
        let without = conversations - counts.failed - demonstrations;
        if without > 0 {
            warn(&format_args!(
                "{without} conversations have no list, as their answers name no item of the catalog \
                 that was not seen"
            ));
        }
        if 2 * empty > conversations - counts.failed {
            warn(&format_args!(
                "most answers name no item that could be read; look at the report, and at `years` \
                 in the settings"
            ));
        }
        complete(&self.output.failures, again)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.options.out.with_extension(ending)
    }

    fn report(&self, table: &Table, steps: &[Step]) -> Outcome {
        let counts = self.output.counts;
        let subtitle = format!(
            "{} demonstrations of {} conversations",
            counts.demonstrations, counts.conversations
        );
        let mut report = Report::new("Remap-Reflect-Adjust", &subtitle);
        report.section(
            "Steps",
            "The lists after each step, against what was relevant in the same conversations.",
        );
        report.table(table);
        report.note(
            "95% intervals by resampling dialogs. popularity: mean share of conversations in which a named item is relevant; \
            coverage: share of the catalog that is named at all. Adjust was fitted to these conversations.",
        );
        report.section("Where it comes from", "");
        let mut facts = Table::new(["", ""]);
        self.origin
            .inputs
            .iter()
            .for_each(|(name, value)| facts.row(name, [value.clone()]));
        facts.row(
            "conversations without an answer",
            [counts.failed.to_string()],
        );
        facts.row(
            "candidates without a rating",
            [format!("{} of {}", counts.unrated, counts.candidates)],
        );
        if let Some(usage) = &self.usage {
            facts.row("asked", [usage.to_string()]);
        }
        if let Some(fit) = &self.output.fit {
            let r = &fit.report;
            let text = format!(
                "{} steps, objective {:.4} to {:.4}, gradient {:.1e}",
                r.iterations, r.objective_start, r.objective_end, r.gradient_norm
            );
            facts.row("Adjust", [text]);
        }
        report.table(&facts);
        for (place, row) in self.output.steps.iter().enumerate().take(SHOWN) {
            let example = &self.scored.examples()[row.example];
            report.section(&example.id, "");
            report.chat(&example.dialog);
            let right = |item: &Item| example.ground_truth.contains(item);
            let teacher = row.teacher.iter().map(|named| Marked {
                text: format!(
                    "{}{}",
                    printable(&named.item.to_string()),
                    if named.id.is_some() {
                        ""
                    } else {
                        " (not in the catalog)"
                    }
                ),
                relevant: right(&named.item),
                repeated: false,
            });
            let mut lists = vec![("teacher".to_string(), teacher.collect::<Vec<_>>())];
            for step in &steps[1..] {
                let marked = step.lists[place]
                    .iter()
                    .map(|&id| self.catalog[id].item())
                    .map(|item| Marked {
                        relevant: right(&item),
                        text: item.to_string(),
                        repeated: false,
                    });
                lists.push((step.name.clone(), marked.collect()));
            }
            report.lists(&lists);
        }
        Ok(report.write(&self.beside("report.html"))?)
    }
}
