//! The page about one or several runs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Line, Marked, Report, ReportError, Table, TrainingRun};
use crate::completions::CompletionRecord;
use crate::doctor::{Doctor, DoctorConfig, short};
use crate::record::step;
use crate::timing::Timing;

/// Points of a curve: the width of a chart has no room for more.
const POINTS: usize = 300;
/// Records whose mean is a last value.
const LAST: usize = 20;
/// Conversations that are shown.
const SHOWN: usize = 5;

/// The fields that come first, with their headings. Others follow under their own names.
const KNOWN: [(&str, &str); 17] = [
    ("reward", "reward: mean of the sums over a list"),
    ("dcg", "DCG of the rollouts"),
    ("ndcg", "NDCG of the rollouts"),
    ("loss", "loss"),
    ("kl", "KL against the reference, nats a token"),
    ("entropy", "entropy, nats a token"),
    ("completions/mean_length", "length, tokens"),
    ("items", "items a list"),
    ("completions/clipped_ratio", "share of cut completions"),
    ("in_catalog", "share of items in the catalog"),
    ("duplicates", "share of repeated items"),
    ("popularity", "popularity of what is recommended"),
    (
        "frac_reward_zero_std",
        "share of groups without a difference",
    ),
    ("clip_ratio/region_mean", "share of clipped tokens"),
    ("grad_norm", "gradient norm"),
    ("learning_rate", "learning rate"),
    (
        "sampling/sampling_logp_difference/mean",
        "sampler and trainer: difference, nats a token",
    ),
];

/// A report on runs, side by side where there are several. It has the doctor's findings with
/// `config`, curves, relevance per rank, last values, settings, and lists before and after.
///
/// # Errors
/// [`ReportError::Chart`] when a chart cannot be drawn.
pub fn page(
    title: &str,
    runs: &[TrainingRun],
    config: &DoctorConfig,
) -> Result<Report, ReportError> {
    let steps = runs.iter().map(|run| {
        format!(
            "{}: {} steps",
            run.name,
            run.records.last().and_then(step).unwrap_or(0)
        )
    });
    let mut report = Report::new(title, &steps.collect::<Vec<_>>().join(", "));
    findings(&mut report, runs, config);
    let fields: BTreeSet<&str> = runs
        .iter()
        .flat_map(|run| &run.records)
        .flat_map(|r| r.keys())
        .map(|x| &**x)
        .collect();
    let fields: Vec<&str> = fields
        .into_iter()
        .filter(|field| *field != "step" && *field != "epoch")
        .collect();
    let (evaluated, trained): (Vec<&str>, Vec<&str>) = fields
        .into_iter()
        .partition(|field| field.starts_with("eval_"));
    let known = KNOWN
        .iter()
        .map(|(field, _)| *field)
        .filter(|field| trained.contains(field));
    let others = trained
        .iter()
        .copied()
        .filter(|field| KNOWN.iter().all(|(known, _)| known != field));
    let trained: Vec<&str> = known.chain(others).collect();

    if !evaluated.is_empty() {
        report.section("Evaluations", "");
        evaluated
            .iter()
            .try_for_each(|field| chart(&mut report, runs, field, field, false))?;
    }
    report.section(
        "Training",
        "Means over each batch, smoothed. Values that never change are in the table of last \
         values alone.",
    );
    for field in trained.iter().copied().filter(|field| changes(runs, field)) {
        let title = KNOWN
            .iter()
            .find(|(known, _)| *known == field)
            .map_or(field, |(_, title)| title);
        chart(&mut report, runs, title, field, true)?;
    }
    ranks(&mut report, runs)?;
    report.section("Last values", "");
    report.table(&last_values(runs, &evaluated, &trained));
    report.note(&format!(
        "Values are means over the last {LAST} records; those of evaluations (eval_) are the last \
         one."
    ));
    settings(&mut report, runs);
    runs.iter()
        .for_each(|run| before_and_after(&mut report, run));
    Ok(report)
}

fn findings(report: &mut Report, runs: &[TrainingRun], config: &DoctorConfig) {
    report.section("What the doctor finds", "");
    for run in runs {
        match Doctor::examine(config.clone(), &run.records) {
            Ok(found) if found.is_empty() => report.text(&format!("{}: nothing.", run.name)),
            Ok(found) => found
                .iter()
                .for_each(|diagnosis| report.text(&format!("{}: {diagnosis}", run.name))),
            Err(error) => report.text(&error.to_string()),
        }
    }
}

fn last_values(runs: &[TrainingRun], evaluated: &[&str], trained: &[&str]) -> Table {
    let mut table = Table::new(std::iter::once("").chain(runs.iter().map(|run| run.name.as_str())));
    for (field, n) in evaluated
        .iter()
        .map(|field| (field, 1))
        .chain(trained.iter().map(|field| (field, LAST)))
    {
        let last = |run: &TrainingRun| {
            let curve = run.curve(field);
            let last = &curve[curve.len().saturating_sub(n)..];
            (!last.is_empty())
                .then(|| last.iter().map(|point| point.1).sum::<f64>() / last.len() as f64)
        };
        let values: Vec<Option<f64>> = runs.iter().map(last).collect();
        if values.iter().any(Option::is_some) {
            table.row(field, values.into_iter().map(shown));
        }
    }
    if runs.iter().any(|run| !run.timing.is_empty()) {
        let sum = |run: &TrainingRun, of: fn(&Timing) -> f64| {
            run.timing.iter().map(|step| of(&step.timing)).sum::<f64>()
        };
        let seconds =
            |run: &TrainingRun| Some(sum(run, |t| t.seconds)).filter(|seconds| *seconds > 0.0);
        table.row(
            "minutes",
            runs.iter()
                .map(|run| shown(seconds(run).map(|seconds| seconds / 60.0))),
        );
        let speed = |run: &TrainingRun| Some(sum(run, |t| t.tokens as f64) / seconds(run)?);
        table.row("tokens a second", runs.iter().map(|run| shown(speed(run))));
    }
    table
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), short)
}

/// All settings of a single run. Of several runs, the settings that differ.
fn settings(report: &mut Report, runs: &[TrainingRun]) {
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differ = |name: &&String| {
        runs.len() == 1
            || runs
                .iter()
                .any(|run| run.settings.get(*name) != runs[0].settings.get(*name))
    };
    let rows: Vec<&String> = names.iter().copied().filter(differ).collect();
    if names.is_empty() {
        return;
    }
    report.section(
        "Settings",
        if runs.len() == 1 {
            ""
        } else {
            "Those that differ."
        },
    );
    let mut table = Table::new(std::iter::once("").chain(runs.iter().map(|run| run.name.as_str())));
    for name in rows {
        table.row(
            name,
            runs.iter().map(|run| {
                run.settings
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| "-".into())
            }),
        );
    }
    report.table(&table);
}

fn changes(runs: &[TrainingRun], field: &str) -> bool {
    let mut values = runs
        .iter()
        .flat_map(|run| run.curve(field))
        .map(|point| point.1);
    values
        .next()
        .is_some_and(|first| values.any(|value| value != first))
}

fn chart(
    report: &mut Report,
    runs: &[TrainingRun],
    title: &str,
    field: &str,
    smooth: bool,
) -> Result<(), ReportError> {
    let line = |run: &TrainingRun| line(&run.name, run.curve(field), smooth);
    let lines: Vec<Line> = runs.iter().map(line).collect();
    report.chart(title, "step", &lines)
}

fn line(name: &str, points: Vec<(f64, f64)>, smooth: bool) -> Line {
    let window = if smooth {
        (points.len() / 30).clamp(1, 10)
    } else {
        1
    };
    Line::of_points(name, points)
        .thinned(POINTS)
        .smoothed(window)
}

fn ranks(report: &mut Report, runs: &[TrainingRun]) -> Result<(), ReportError> {
    let relevant = |run: &TrainingRun| {
        (0..)
            .map(|rank| run.rank_curve(rank))
            .take_while(|c| !c.is_empty())
            .collect::<Vec<_>>()
    };
    let runs: Vec<_> = runs
        .iter()
        .map(|run| (run, relevant(run)))
        .filter(|(_, ranks)| !ranks.is_empty())
        .collect();
    if runs.is_empty() {
        return Ok(());
    }
    report.section(
        "Relevance per rank",
        "The share of lists with a relevant item at the rank.",
    );
    for (run, ranks) in runs {
        let at = |rank: usize| {
            Some(line(
                &format!("rank {}", rank + 1),
                ranks.get(rank)?.clone(),
                true,
            ))
        };
        let lines: Vec<Line> = [0, 1, 2, 4, 9, 19].into_iter().filter_map(at).collect();
        report.chart(
            &format!("{}: relevance over time", run.name),
            "step",
            &lines,
        )?;
        let n = (ranks[0].len() / 5).max(1);
        let mean = |points: &[(f64, f64)]| {
            points.iter().map(|point| point.1).sum::<f64>() / points.len().max(1) as f64
        };
        let first: Vec<f64> = ranks
            .iter()
            .map(|curve| mean(&curve[..n.min(curve.len())]))
            .collect();
        let last: Vec<f64> = ranks
            .iter()
            .map(|curve| mean(&curve[curve.len().saturating_sub(n)..]))
            .collect();
        let lines = [
            Line::of_values("first fifth", &first),
            Line::of_values("last fifth", &last),
        ];
        report.chart(&format!("{}: relevance by rank", run.name), "rank", &lines)?;
    }
    Ok(())
}

/// Lists for the conversations that both ends of the run have, else for any.
fn before_and_after(report: &mut Report, run: &TrainingRun) {
    let [first, last] = run.completions.each_ref().map(|all| by_id(all));
    if first.is_empty() {
        return;
    }
    report.section(
        &format!("{}: lists", run.name),
        "Relevant items are marked, repetitions struck out.",
    );
    let same: Vec<&str> = first
        .keys()
        .copied()
        .filter(|id| last.contains_key(id))
        .take(SHOWN)
        .collect();
    for id in &same {
        said(report, first[id]);
        report.lists(&[first[id], last[id]].map(list));
    }
    if same.is_empty() {
        for (_, completion) in first.iter().take(SHOWN).chain(last.iter().take(SHOWN)) {
            said(report, completion);
            report.lists(&[list(completion)]);
        }
    }
}

/// One completion of each conversation.
fn by_id(completions: &[CompletionRecord]) -> BTreeMap<&str, &CompletionRecord> {
    completions
        .iter()
        .rev()
        .map(|completion| (completion.id.as_str(), completion))
        .collect()
}

fn said(report: &mut Report, completion: &CompletionRecord) {
    report.text(&completion.id);
    if let Some(prompt) = &completion.prompt {
        report.note(prompt);
    }
}

fn list(completion: &CompletionRecord) -> (String, Vec<Marked>) {
    let marked = |(rank, item): (usize, &crate::ListedItem)| Marked {
        text: format!(
            "{}{}",
            item.name,
            if item.in_catalog {
                ""
            } else {
                " (not in the catalog)"
            }
        ),
        relevant: item.hit,
        repeated: completion.items[..rank]
            .iter()
            .any(|earlier| earlier.name == item.name),
    };
    (
        format!("step {}", completion.step),
        completion.items.iter().enumerate().map(marked).collect(),
    )
}
