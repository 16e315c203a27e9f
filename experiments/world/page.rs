//! The HTML report.

use convrec_cli::Table;
use convrec_train::Record;
use convrec_watch::report::{Line, Report, ReportError};
use quickstart::{HEAD, N};

use crate::results::{Lists, Results, Runs, number, relevance};
use crate::summary::{ArmSummary, Summary};
use crate::tables;

/// Records that are averaged in a curve's point, as one batch of rollouts says little.
const WINDOW: usize = 5;

/// A value of a log record.
type Field<'a> = &'a dyn Fn(&Record) -> Option<f64>;

/// The report on an experiment.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn page(
    title: &str,
    subtitle: &str,
    summary: &Summary,
    results: &Results,
) -> Result<Report, ReportError> {
    let mut report = Report::new(&format!("ConvRec-R1: {title}"), subtitle);
    let add = |report: &mut Report, heading: &str, table: Option<Table>| {
        if let Some(table) = table {
            report.section(heading, "");
            report.table(&table);
        }
    };
    add(
        &mut report,
        "The paper's claims",
        tables::checklist(&summary.claims),
    );
    report.section("Results", "");
    report.table(&tables::quality(summary, Lists::Constrained));
    report.table(&tables::quality(summary, Lists::Unconstrained));
    report.note(&tables::legend());
    let hits =
        |variant: &ArmSummary| Line::of_values(&variant.name, &variant.constrained.hits_per_rank);
    let (trained, others): (Vec<&ArmSummary>, _) = summary
        .variants
        .iter()
        .partition(|variant| variant.training.is_some());
    for variants in std::iter::once(others.as_slice()).chain(trained.chunks(LINES)) {
        let lines: Vec<Line> = variants.iter().copied().map(hits).collect();
        report.chart("hits per rank, constrained lists", "rank", &lines)?;
    }
    if let Some(frontier) = summary.frontier() {
        report.section("Relevance against violations", "");
        report.table(&frontier.table());
        frontier.draw(&mut report)?;
    }
    add(&mut report, "Differences", tables::paired(summary));
    add(
        &mut report,
        "Demonstrations",
        Some(tables::demonstrations(summary)),
    );
    report.section(
        "Reinforcement learning",
        "Means over seeds and the completions of each batch, smoothed.",
    );
    report.table(&tables::training(summary));
    report.table(&tables::per_rank(summary));
    let charts: [(&str, Field<'_>); 6] = [
        ("reward: DCG@10 of the rollouts", &|record| {
            number(record, "dcg")
        }),
        ("relevance at ranks 1-3", &|record| {
            relevance(record, 0..HEAD)
        }),
        ("relevance at ranks 4-10", &|record| {
            relevance(record, HEAD..N)
        }),
        (
            "KL against the policy it started from, nats a token",
            &|record| number(record, "kl"),
        ),
        ("entropy, nats a token", &|record| number(record, "entropy")),
        ("gradient norm", &|record| number(record, "grad_norm")),
    ];
    let trained: Vec<&Runs> = results
        .variants
        .iter()
        .filter(|variant| has_rollouts(variant))
        .collect();
    for (title, field) in charts {
        for variants in trained.chunks(LINES) {
            report.chart(
                title,
                "batch",
                &variants
                    .iter()
                    .map(|variant| curve(variant, field))
                    .collect::<Vec<_>>(),
            )?;
        }
    }
    Ok(report)
}

/// The most lines of a chart, as there are no more colours.
const LINES: usize = 8;

fn has_rollouts(variant: &Runs) -> bool {
    variant.done.iter().all(|done| {
        done.log
            .iter()
            .any(|record| number(record, "dcg").is_some())
    })
}

/// The mean over seeds, as far as all of them got.
fn curve(variant: &Runs, field: Field<'_>) -> Line {
    let logs: Vec<Vec<f64>> = variant
        .done
        .iter()
        .map(|done| done.log.iter().filter_map(field).collect())
        .collect();
    let steps = logs.iter().map(Vec::len).min().unwrap_or(0);
    let mean = |step: usize| logs.iter().map(|log| log[step]).sum::<f64>() / logs.len() as f64;
    Line::of_values(&variant.name, &(0..steps).map(mean).collect::<Vec<_>>()).smoothed(WINDOW)
}
