//! The HTML report.

use std::error::Error;

use convrec_core::Item;
use convrec_train::Record;
use convrec_train::evaluate::Evaluation;
use convrec_watch::report::{Line, Marked, Report};
use quickstart::{HEAD, N};

use crate::experiment::{Plan, Run, Variant};
use crate::figures::{self, Lists};

/// Records averaged in a curve's point: one batch of rollouts says little.
const WINDOW: usize = 5;

/// The report on all seeds; the conversation and the lists are those of the first.
///
/// # Errors
/// When a chart cannot be drawn.
pub fn page(plan: &Plan, runs: &[Run]) -> Result<Report, Box<dyn Error>> {
    let run = &runs[0];
    let seeds = if runs.len() == 1 {
        String::new()
    } else {
        format!(", {} seeds", runs.len())
    };
    let mut report = Report::new(
        "ConvRec-R1: quickstart",
        &format!("{}{seeds}", plan.describe()),
    );
    report.section(
        "The task",
        "A conversation, and the films its user would choose next: the answer is a ranked list.",
    );
    report.chat(&run.example.dialog);
    report.text(&format!("Already named: {}", names(&run.example.seen)));
    report.text(&format!(
        "Right answers: {}",
        names(&run.example.ground_truth)
    ));

    report.section("Results", "");
    report.table(&figures::results(runs, Lists::Constrained));
    report.table(&figures::results(runs, Lists::Unconstrained));
    report.note(figures::LEGEND);
    report.table(&figures::differences(runs)?);
    report.note(&figures::differences_legend(runs));
    let best: Vec<_> = runs.iter().flat_map(|run| &run.best).collect();
    let best = Line::of_values("best possible", &figures::hits_per_rank(&best));
    for (lists, title) in [
        (Lists::Constrained, "hits per rank, constrained lists"),
        (Lists::Unconstrained, "hits per rank, unconstrained lists"),
    ] {
        let line = |(place, variant): (usize, &Variant)| {
            Line::of_values(
                variant.name,
                &figures::hits_per_rank(&figures::judged(runs, place, lists)),
            )
        };
        let mut lines: Vec<Line> = run.variants.iter().enumerate().skip(1).map(line).collect();
        lines.push(best.clone());
        report.chart(title, "rank", &lines)?;
    }

    report.section(
        "Behaviour cloning",
        "The teacher's lists on the training conversations, after each step of \
        Remap-Reflect-Adjust; then supervised fine-tuning (SFT) on what came out.",
    );
    report.table(&figures::demonstrations(runs));
    report.chart(
        "SFT: loss per token",
        "step",
        &[curve(runs, "SFT", |run| &run.sft, &|r| number(r, "loss"))],
    )?;

    report.section(
        "Reinforcement learning",
        "Means over the completions of each batch of rollouts, smoothed over 5 batches.",
    );
    let trained = || {
        run.variants
            .iter()
            .enumerate()
            .filter(|(_, variant)| !variant.log.is_empty())
    };
    let by_arm = |value: &dyn Fn(&Record) -> Option<f64>| -> Vec<Line> {
        trained()
            .map(|(place, variant)| {
                curve(runs, variant.name, |run| &run.variants[place].log, value)
            })
            .collect()
    };
    let charts = [
        ("reward: DCG@10 of the rollouts", "dcg"),
        ("KL against the SFT policy", "kl"),
        ("entropy per token, nats", "entropy"),
        (
            "list length, tokens (always 10 items)",
            "completions/mean_length",
        ),
        (
            "share of (prompt, rank) groups without a difference",
            "frac_reward_zero_std",
        ),
        ("gradient norm", "grad_norm"),
    ];
    for (title, field) in charts {
        report.chart(title, "batch", &by_arm(&|record| number(record, field)))?;
    }
    report.chart(
        "reward at ranks 1-3",
        "batch",
        &by_arm(&|record| ranks(record, 0..HEAD)),
    )?;
    report.chart(
        "reward at ranks 4-10",
        "batch",
        &by_arm(&|record| ranks(record, HEAD..N)),
    )?;
    for (place, variant) in trained() {
        let at = |rank: usize| {
            let value = move |record: &Record| ranks(record, rank..rank + 1);
            curve(
                runs,
                &format!("rank {}", rank + 1),
                |run| &run.variants[place].log,
                &value,
            )
        };
        report.chart(
            &format!("{}: reward per rank", variant.name),
            "batch",
            &[0, 1, 2, 4, 9].map(at),
        )?;
    }

    report.section(
        "Before and after",
        "Lists for the conversation above: right answers are marked, repetitions struck out.",
    );
    for lists in [Lists::Constrained, Lists::Unconstrained] {
        let list = |variant: &Variant| {
            (
                format!("{}, {}", variant.name, lists.name()),
                marked(lists.of(variant), run),
            )
        };
        report.lists(&run.variants.iter().skip(1).map(list).collect::<Vec<_>>());
    }
    Ok(report)
}

fn names(items: &[Item]) -> String {
    items
        .iter()
        .map(Item::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn number(record: &Record, field: &str) -> Option<f64> {
    record.get(field)?.as_f64()
}

/// The mean relevance of some ranks.
fn ranks(record: &Record, ranks: std::ops::Range<usize>) -> Option<f64> {
    let values = record.get("rank_relevance")?.as_array()?;
    let values: Vec<f64> = values
        .get(ranks)?
        .iter()
        .filter_map(serde_json::Value::as_f64)
        .collect();
    Some(values.iter().sum::<f64>() / values.len() as f64)
}

/// The mean over seeds, smoothed over steps.
fn curve<'a>(
    runs: &'a [Run],
    name: &str,
    log: impl Fn(&'a Run) -> &'a Vec<Record>,
    value: &dyn Fn(&Record) -> Option<f64>,
) -> Line {
    let logs: Vec<Vec<f64>> = runs
        .iter()
        .map(|run| log(run).iter().filter_map(value).collect())
        .collect();
    let mean = |step: usize| logs.iter().map(|log| log[step]).sum::<f64>() / logs.len() as f64;
    let steps = logs.iter().map(Vec::len).min().unwrap_or(0);
    Line::of_values(name, &(0..steps).map(mean).collect::<Vec<_>>()).smoothed(WINDOW)
}

/// A policy's list for the conversation that is shown.
fn marked(evaluation: &Evaluation, run: &Run) -> Vec<Marked> {
    let answer = &evaluation.samples[0].answer;
    let right = |item: &Item| run.example.ground_truth.contains(item);
    answer
        .names
        .iter()
        .enumerate()
        .map(|(rank, item)| Marked {
            text: item.to_string(),
            relevant: right(item) && !answer.names[..rank].contains(item),
            repeated: answer.names[..rank].contains(item),
        })
        .collect()
}
