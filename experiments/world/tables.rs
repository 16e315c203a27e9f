//! The figures as tables.

use convrec_cli::Table;
use quickstart::{HEAD, N};

use crate::checklist::Claim;
use crate::evidence::{Evidence, mean};
use crate::frontier::arrow;
use crate::results::Lists;
use crate::summary::{Quality, Summary, Training};
use crate::verdict::MARGIN;

/// The quality of the lists of every variant.
pub fn quality(summary: &Summary, lists: Lists) -> Table {
    let (name, more): (&str, &[&str]) = match lists {
        Lists::Constrained => ("constrained", &[]),
        Lists::Unconstrained => ("unconstrained", &["in catalog", "repeated", "items"]),
    };
    let measures = [
        "Recall@5",
        "Recall@10",
        "NDCG@5",
        "NDCG@10",
        "hits@1-3",
        "hits@4-10",
        "NDCG@10 by seed",
    ];
    let mut table = Table::new(std::iter::once(&name).chain(&measures).chain(more).copied());
    for variant in &summary.variants {
        match lists {
            Lists::Constrained => table.row(&variant.name, measured(&variant.constrained)),
            Lists::Unconstrained => {
                let shares = [variant.health.in_catalog, variant.health.duplicates]
                    .map(|share| format!("{share:.3}"));
                let health = shares
                    .into_iter()
                    .chain([format!("{:.1}", variant.health.length)]);
                table.row(
                    &variant.name,
                    measured(&variant.unconstrained).into_iter().chain(health),
                );
            }
        }
    }
    if lists == Lists::Constrained {
        table.row("best possible", measured(&summary.best));
    }
    table
}

fn measured(quality: &Quality) -> Vec<String> {
    let Quality {
        recall_5,
        recall_10,
        ndcg_5,
        ndcg_10,
        head,
        tail,
        ..
    } = quality;
    let intervals =
        [recall_5, recall_10, ndcg_5, ndcg_10, head, tail].map(|interval| format!("{interval:.3}"));
    intervals
        .into_iter()
        .chain([by_seed(&quality.ndcg_10_by_seed, false)])
        .collect()
}

/// The figures of training.
pub fn training(summary: &Summary) -> Table {
    let heading = [
        "reinforcement learning",
        "DCG",
        "ranks 1-3",
        "ranks 4-10",
        "entropy",
        "largest KL",
        "clipped",
        "largest gradient",
        "diverged",
        "s a seed",
    ];
    let mut table = Table::new(heading);
    for variant in &summary.variants {
        let Some(training) = &variant.training else {
            continue;
        };
        let ranks = |ranks: std::ops::Range<usize>| {
            [0, 1].map(|end| {
                mean(
                    &training.ranks[ranks.clone()]
                        .iter()
                        .map(|ends| ends[end])
                        .collect::<Vec<_>>(),
                )
            })
        };
        let Training {
            dcg,
            entropy,
            largest_kl,
            clip_ratio,
            largest_grad_norm,
            diverged,
            ..
        } = training;
        let cells = [
            arrow(*dcg),
            arrow(ranks(0..HEAD)),
            arrow(ranks(HEAD..N)),
            arrow(*entropy),
            format!("{largest_kl:.4}"),
            format!("{clip_ratio:.3}"),
            format!("{largest_grad_norm:.3}"),
            format!("{diverged:.2}"),
            format!("{:.0}", mean(&variant.seconds)),
        ];
        table.row(&variant.name, cells);
    }
    table
}

/// The reward per rank of the rollouts, before and after.
pub fn per_rank(summary: &Summary) -> Table {
    let ranks = (1..=N).map(|rank| format!("rank {rank}"));
    let mut table = Table::new(std::iter::once("relevance of rollouts".to_string()).chain(ranks));
    for variant in &summary.variants {
        if let Some(training) = &variant.training {
            table.row(
                &variant.name,
                training.ranks.iter().map(|ends| arrow(*ends)),
            );
        }
    }
    table
}

/// The demonstrations, where variants learned from different ones.
pub fn demonstrations(summary: &Summary) -> Table {
    let mut table = Table::new([
        "demonstrations of",
        "how many",
        "items",
        "Recall@10",
        "NDCG@10",
    ]);
    for variant in summary
        .variants
        .iter()
        .filter(|variant| variant.training.is_none())
    {
        if let Some(made) = variant.made() {
            let cells = [
                format!("{:.1}", made.items),
                format!("{:.3}", made.recall),
                format!("{:.3}", made.ndcg),
            ];
            table.row(
                &variant.name,
                std::iter::once(made.count.to_string()).chain(cells),
            );
        }
    }
    table
}

/// Every variant against a named one; none where that was not run.
pub fn paired(summary: &Summary) -> Option<Table> {
    let first = format!("NDCG@10, delta to {}", summary.settings.against);
    let mut table = Table::new([
        first.as_str(),
        "constrained",
        "by seed",
        "over seeds",
        "p (Holm)",
        "unconstrained",
        "by seed",
    ]);
    for paired in &summary.paired {
        let Evidence {
            seeds, over_seeds, ..
        } = &paired.constrained;
        let over_seeds = over_seeds.map_or_else(
            || "-".into(),
            |interval| bounds([interval.low, interval.high]),
        );
        let cells = [
            difference(&paired.constrained),
            by_seed(seeds, true),
            over_seeds,
            format!("{:.4}", paired.corrected),
            difference(&paired.unconstrained),
            by_seed(&paired.unconstrained.seeds, true),
        ];
        table.row(&paired.variant, cells);
    }
    (!summary.paired.is_empty()).then_some(table)
}

/// The paper's claims; none where the experiment has none.
pub fn checklist(claims: &[Claim]) -> Option<Table> {
    let mut table = Table::new([
        "claim",
        "found",
        "difference",
        "over seeds",
        "by seed",
        "of",
    ]);
    for Claim {
        text,
        difference: what,
        evidence,
        verdict,
        ..
    } in claims
    {
        let cells = match evidence {
            None => ["", "", ""].map(String::from),
            Some(evidence) => {
                let over_seeds = evidence
                    .over_seeds
                    .map_or_else(|| "-".into(), |i| bounds([i.low, i.high]));
                [
                    difference(evidence),
                    over_seeds,
                    by_seed(&evidence.seeds, true),
                ]
            }
        };
        table.row(
            text,
            [verdict.to_string()]
                .into_iter()
                .chain(cells)
                .chain([what.clone()]),
        );
    }
    (!claims.is_empty()).then_some(table)
}

/// The meaning of the tables.
pub fn legend() -> String {
    format!(
        "Greedy lists for conversations not trained on. constrained: only lists of {N} different \
         unseen catalog items can be written;\nunconstrained: anything can, and seen, repeated and \
         off-catalog items are removed before judging. In brackets: 95%, by resampling the \
         dialogs\nof all seeds; over seeds: 95% of the mean over seeds, by Student's t, which \
         includes the luck of training. p: permutation test over dialogs,\ncorrected for the \
         number of variants. a>b: means over the first and the last 5 batches of rollouts; \
         relevance: share of lists that hit at a rank;\nKL and entropy: nats a token. diverged: \
         stopped, or lost half of the DCG it began with. A claim is reproduced where both \
         intervals are\nabove 0 (for \"no worse\" above -{MARGIN}), not reproduced where both are \
         below 0, and else unclear."
    )
}

fn difference(evidence: &Evidence) -> String {
    let interval = evidence
        .dialogs
        .map_or_else(String::new, |i| format!(" {}", bounds([i.low, i.high])));
    format!("{:+.3}{interval}", evidence.mean)
}

fn bounds([low, high]: [f64; 2]) -> String {
    format!("[{low:+.3}, {high:+.3}]")
}

fn by_seed(seeds: &[f64], signed: bool) -> String {
    let shown = seeds.iter().map(|x| {
        if signed {
            format!("{x:+.3}")
        } else {
            format!("{x:.3}")
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}
