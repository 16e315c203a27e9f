//! The figures of all seeds together, as tables.

use std::error::Error;

use convrec_cli::Table;
use convrec_metrics::stats::cluster_bootstrap;
use convrec_metrics::{JudgedList, Measure, lists};
use convrec_train::evaluate::{Evaluation, ListHealth};
use quickstart::{HEAD, N};

use crate::experiment::{Run, Variant};

/// The meaning of the columns of [`results`].
pub const LEGEND: &str = "Greedy lists for conversations not trained on. constrained: only different unseen catalog items can be \
    written, as in\nreinforcement learning; unconstrained: anything can, and seen, repeated and off-catalog items are removed before \
    judging.\nR: Recall, N: NDCG; hits: share of lists with a hit at a rank, mean over the ranks. `best possible` knows \
    each user's taste.";

/// The kind of lists.
#[derive(Clone, Copy)]
pub enum Lists {
    /// Only lists of N different unseen catalog items can be written, in training and here.
    Constrained,
    /// Anything can be written.
    Unconstrained,
}

impl Lists {
    /// The evaluation of these lists.
    pub fn of(self, variant: &Variant) -> &Evaluation {
        match self {
            Lists::Constrained => &variant.constrained,
            Lists::Unconstrained => &variant.unconstrained,
        }
    }

    /// Their name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Lists::Constrained => "constrained",
            Lists::Unconstrained => "unconstrained",
        }
    }
}

const MEASURES: [Measure; 4] = [
    Measure::Recall(5),
    Measure::Recall(10),
    Measure::Ndcg(5),
    Measure::Ndcg(10),
];

/// The teacher's lists on the training conversations, step by step.
pub fn demonstrations(runs: &[Run]) -> Table {
    let mut table = Table::new([
        "demonstrations",
        "in catalog",
        "Recall@10",
        "NDCG@5",
        "NDCG@10",
    ]);
    for (place, step) in runs[0].cloning.iter().enumerate() {
        let steps = || runs.iter().map(|run| &run.cloning[place]);
        let judged: Vec<&JudgedList> = steps().flat_map(|step| &step.judged).collect();
        let in_catalog = steps().map(|step| step.in_catalog).sum::<f64>() / runs.len() as f64;
        let measures = MEASURES[1..]
            .iter()
            .map(|measure| measure.mean(judged.iter().copied()));
        table.row(
            &step.name,
            std::iter::once(in_catalog)
                .chain(measures)
                .map(|x| format!("{x:.3}")),
        );
    }
    table
}

/// Every policy on the test conversations.
pub fn results(runs: &[Run], lists: Lists) -> Table {
    let heading = [
        lists.name(),
        "valid",
        "in catalog",
        "dupl.",
        "items",
        "R@5",
        "R@10",
        "N@5",
        "N@10",
        "hits@1-3",
        "hits@4-10",
    ];
    let mut table = Table::new(heading);
    for (place, variant) in runs[0].variants.iter().enumerate() {
        let share = |of: fn(&ListHealth) -> f64| {
            runs.iter()
                .map(|run| of(&lists.of(&run.variants[place]).health))
                .sum::<f64>()
                / runs.len() as f64
        };
        let health = [
            share(|h| h.valid_lines),
            share(|h| h.in_catalog),
            share(|h| h.duplicates),
        ];
        let health = health
            .map(|x| format!("{x:.3}"))
            .into_iter()
            .chain([format!("{:.1}", share(|h| h.length))]);
        table.row(
            variant.name,
            health.chain(quality(&judged(runs, place, lists))),
        );
    }
    let best: Vec<&JudgedList> = runs.iter().flat_map(|run| &run.best).collect();
    let perfect = ["1.000", "1.000", "0.000", "10.0"]
        .map(String::from)
        .into_iter();
    table.row("best possible", perfect.chain(quality(&best)));
    table
}

/// The gains of reinforcement learning on the same conversations, with intervals and the figures of
/// each seed.
///
/// # Errors
/// With fewer than two test conversations.
pub fn differences(runs: &[Run]) -> Result<Table, Box<dyn Error>> {
    let mut table = Table::new([
        "difference",
        "in",
        "constrained lists",
        "unconstrained lists",
    ]);
    let ndcg = |list: &JudgedList| Measure::Ndcg(N).of(list);
    let mut add =
        |measure: &str, first: usize, second: usize, value: &dyn Fn(&JudgedList) -> f64| {
            let cell = |lists| difference(runs, [first, second], lists, value);
            let name = format!(
                "{} - {}",
                runs[0].variants[first].name, runs[0].variants[second].name
            );
            table.row(
                &name,
                [
                    measure.to_string(),
                    cell(Lists::Constrained)?,
                    cell(Lists::Unconstrained)?,
                ],
            );
            Ok::<(), Box<dyn Error>>(())
        };
    let (sft, rank_grpo, others) = (1, 2, 3..runs[0].variants.len());
    for trained in rank_grpo..others.end {
        add("NDCG@10", trained, sft, &ndcg)?;
    }
    for other in others {
        add("NDCG@10", rank_grpo, other, &ndcg)?;
        add("hits@4-10", rank_grpo, other, &tail)?;
    }
    Ok(table)
}

/// The mean difference between two policies with its interval. With several seeds the difference of
/// each follows.
fn difference(
    runs: &[Run],
    [first, second]: [usize; 2],
    lists: Lists,
    value: &dyn Fn(&JudgedList) -> f64,
) -> Result<String, Box<dyn Error>> {
    let of_run = |run: &Run| -> Vec<f64> {
        let values = |place: usize| {
            lists
                .of(&run.variants[place])
                .samples
                .iter()
                .map(|sample| value(&sample.judged))
        };
        values(first)
            .zip(values(second))
            .map(|(a, b)| a - b)
            .collect()
    };
    let each: Vec<Vec<f64>> = runs.iter().map(of_run).collect();
    let all = each.concat();
    let interval = cluster_bootstrap(&all, &(0..all.len()).collect::<Vec<_>>(), 1, 10_000)?;
    let means: Vec<String> = each
        .iter()
        .map(|values| format!("{:+.3}", values.iter().sum::<f64>() / values.len() as f64))
        .collect();
    let seeds = if runs.len() == 1 {
        String::new()
    } else {
        format!(" ({})", means.join(" "))
    };
    Ok(format!("{interval:.3}{seeds}"))
}

/// The meaning of the intervals of [`differences`].
pub fn differences_legend(runs: &[Run]) -> String {
    let luck = if runs.len() == 1 {
        "one seed; --full trains three."
    } else {
        "compare the seeds."
    };
    format!("The intervals resample conversations; they do not know of luck in training: {luck}")
}

/// The lists of one policy, over all seeds.
pub fn judged(runs: &[Run], place: usize, lists: Lists) -> Vec<&JudgedList> {
    runs.iter()
        .flat_map(|run| {
            lists
                .of(&run.variants[place])
                .samples
                .iter()
                .map(|sample| &sample.judged)
        })
        .collect()
}

fn quality(judged: &[&JudgedList]) -> Vec<String> {
    let hits = hits_per_rank(judged);
    let share = |ranks: &[f64]| ranks.iter().sum::<f64>() / ranks.len() as f64;
    let measures = MEASURES
        .iter()
        .map(|measure| measure.mean(judged.iter().copied()));
    measures
        .chain([share(&hits[..HEAD]), share(&hits[HEAD..])])
        .map(|x| format!("{x:.3}"))
        .collect()
}

/// For each rank the share of lists that hit there.
pub fn hits_per_rank(judged: &[&JudgedList]) -> Vec<f64> {
    lists::hits_per_rank(
        &judged
            .iter()
            .map(|list| (*list).clone())
            .collect::<Vec<_>>(),
        N,
    )
}

fn tail(list: &JudgedList) -> f64 {
    list.hits().iter().skip(HEAD).filter(|hit| **hit).count() as f64 / (N - HEAD) as f64
}
