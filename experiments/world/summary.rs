//! All figures of an experiment, for `results.json` and the tables.

use std::path::PathBuf;

use convrec_metrics::stats::{Error, Interval, cluster_bootstrap, holm};
use convrec_metrics::{JudgedList, Measure};
use convrec_train::evaluate::ListHealth;
use quickstart::{HEAD, N};
use serde::Serialize;

use crate::checklist::Claim;
use crate::evidence::{Evidence, RESAMPLES, mean};
use crate::frontier::{Frontier, Point};
use crate::lab::Sizes;
use crate::outcome::{Done, Judged, Made};
use crate::results::{Lists, Results, Runs, hits, hits_per_rank, number, relevance};
use crate::variants::BOUNDED;

/// The options of the run.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// The subcommand.
    pub experiment: String,
    /// The seeds of the runs.
    pub seeds: Vec<u64>,
    /// The sizes of training and test.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Batches of rollouts of each reinforcement learning run.
    pub rl_steps: usize,
    /// The variant that others are tested against.
    pub against: String,
}

/// All figures.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The options of the run.
    pub settings: Settings,
    /// Seconds of training that the variants took, in this run or earlier.
    pub trained_seconds: f64,
    /// The variants.
    pub variants: Vec<ArmSummary>,
    /// The best lists by each user's known taste.
    pub best: Quality,
    /// The delta of every variant to the one that it is tested against.
    pub paired: Vec<Paired>,
    /// The paper's claims.
    pub claims: Vec<Claim>,
}

/// The figures of a variant.
#[derive(Debug, Clone, Serialize)]
pub struct ArmSummary {
    /// Its name.
    pub name: String,
    /// The folders of its runs, which hold their settings.
    pub folders: Vec<PathBuf>,
    /// Seconds of training of each seed, without what it started from.
    pub seconds: Vec<f64>,
    /// The demonstrations that it learned to imitate, by seed.
    pub demonstrations: Vec<Option<Made>>,
    /// The quality of its constrained lists.
    pub constrained: Quality,
    /// The quality of its unconstrained lists.
    pub unconstrained: Quality,
    /// The form of its unconstrained lists.
    pub health: ListHealth,
    /// Its reinforcement learning, if any.
    pub training: Option<Training>,
}

/// The quality of lists, with intervals over dialogs.
#[derive(Debug, Clone, Serialize)]
pub struct Quality {
    /// Recall@5.
    pub recall_5: Interval,
    /// Recall@10.
    pub recall_10: Interval,
    /// NDCG@5.
    pub ndcg_5: Interval,
    /// NDCG@10.
    pub ndcg_10: Interval,
    /// Share of ranks 1-3 that hit.
    pub head: Interval,
    /// Share of ranks 4-10 that hit.
    pub tail: Interval,
    /// NDCG@10 of each seed.
    pub ndcg_10_by_seed: Vec<f64>,
    /// For each rank the share of lists that hit there.
    pub hits_per_rank: Vec<f64>,
}

/// The figures of training. They are means over seeds where nothing else is said.
#[derive(Debug, Clone, Serialize)]
pub struct Training {
    /// DCG of the first and last batches of rollouts.
    pub dcg: [f64; 2],
    /// The same of the relevance at each rank.
    pub ranks: Vec<[f64; 2]>,
    /// The same of the entropy, nats a token.
    pub entropy: [f64; 2],
    /// The largest KL of any step and seed, nats a token.
    pub largest_kl: f64,
    /// The share of clipped tokens.
    pub clip_ratio: f64,
    /// The largest gradient norm of any step and seed.
    pub largest_grad_norm: f64,
    /// The share of runs that were stopped, or lost half of the reward that they began with.
    pub diverged: f64,
    /// The share of items of the genre [`BOUNDED`] in the first and last batches of rollouts.
    pub share: Option<[f64; 2]>,
    /// The same of the multiplier of its target.
    pub multiplier: Option<[f64; 2]>,
}

/// The delta of a variant to the one that it is tested against.
#[derive(Debug, Clone, Serialize)]
pub struct Paired {
    /// The variant.
    pub variant: String,
    /// NDCG@10 of constrained lists.
    pub constrained: Evidence,
    /// The p-value, corrected for the number of variants (Holm).
    pub corrected: f64,
    /// NDCG@10 of unconstrained lists.
    pub unconstrained: Evidence,
}

impl Summary {
    /// # Errors
    /// When there are fewer than two test conversations, or the variant to test against was not
    /// run.
    pub fn new(
        settings: Settings,
        results: &Results,
        claims: Vec<Claim>,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let variants = results
            .variants
            .iter()
            .map(ArmSummary::new)
            .collect::<Result<Vec<_>, _>>()?;
        let best: Vec<Vec<&JudgedList>> = results
            .best
            .iter()
            .map(|seed| seed.iter().collect())
            .collect();
        let trained_seconds = results
            .variants
            .iter()
            .flat_map(|variant| &variant.done)
            .map(|done| done.seconds)
            .sum();
        let paired = paired(results, &settings.against)?;
        Ok(Self {
            trained_seconds,
            variants,
            best: Quality::new(&best)?,
            paired,
            claims,
            settings,
        })
    }

    /// Relevance against the share of a genre; none where no variant rewards it.
    pub fn frontier(&self) -> Option<Frontier> {
        let point = |variant: &ArmSummary| {
            let training = variant.training.as_ref()?;
            Some(Point {
                name: variant.name.clone(),
                share: training.share?,
                relevance: training.dcg,
                multiplier: training.multiplier,
            })
        };
        let points: Vec<Point> = self.variants.iter().filter_map(point).collect();
        (!points.is_empty()).then(|| Frontier {
            violation: BOUNDED.into(),
            relevance: format!("DCG@{N}"),
            points,
        })
    }
}

fn paired(results: &Results, against: &str) -> Result<Vec<Paired>, Error> {
    // With --only it may have been left out.
    let Some(other) = results.variant(against) else {
        return Ok(vec![]);
    };
    let ndcg = |list: &JudgedList| Measure::Ndcg(N).of(list);
    let compared = results
        .variants
        .iter()
        .filter(|variant| variant.name != against)
        .map(|variant| {
            let constrained = variant.less(other, Lists::Constrained, &ndcg)?;
            let unconstrained = variant.less(other, Lists::Unconstrained, &ndcg)?;
            Ok(Paired {
                variant: variant.name.clone(),
                constrained,
                corrected: 1.0,
                unconstrained,
            })
        });
    let mut compared = compared.collect::<Result<Vec<Paired>, Error>>()?;
    let p_values: Vec<f64> = compared
        .iter()
        .map(|paired| paired.constrained.p_value.unwrap_or(1.0))
        .collect();
    compared
        .iter_mut()
        .zip(holm(&p_values))
        .for_each(|(paired, p)| paired.corrected = p);
    Ok(compared)
}

impl ArmSummary {
    fn new(runs: &Runs) -> Result<Self, Error> {
        let each = |lists: Lists| -> Result<Quality, Error> {
            let judged = |done: &Done| {
                lists
                    .of(done)
                    .lists
                    .iter()
                    .map(|list| list.judged())
                    .collect()
            };
            let judged: Vec<Vec<JudgedList>> = runs.done.iter().map(judged).collect();
            Quality::new(
                &judged
                    .iter()
                    .map(|seed| seed.iter().collect())
                    .collect::<Vec<_>>(),
            )
        };
        Ok(Self {
            name: runs.name.clone(),
            folders: runs.done.iter().map(|done| done.folder.clone()).collect(),
            seconds: runs.done.iter().map(|done| done.seconds).collect(),
            demonstrations: runs.done.iter().map(|done| done.made).collect(),
            constrained: each(Lists::Constrained)?,
            unconstrained: each(Lists::Unconstrained)?,
            health: health(
                &runs
                    .done
                    .iter()
                    .map(|done| Lists::Unconstrained.of(done))
                    .collect::<Vec<_>>(),
            ),
            training: Training::new(runs),
        })
    }

    /// The mean over seeds of its demonstrations' quality.
    pub fn made(&self) -> Option<Made> {
        let made: Vec<Made> = self.demonstrations.iter().flatten().copied().collect();
        let of = |value: fn(&Made) -> f64| mean(&made.iter().map(value).collect::<Vec<_>>());
        let count = made.first()?.count;
        Some(Made {
            count,
            items: of(|m| m.items),
            recall: of(|m| m.recall),
            ndcg: of(|m| m.ndcg),
        })
    }
}

fn health(judged: &[&Judged]) -> ListHealth {
    let of = |value: fn(&ListHealth) -> f64| {
        mean(&judged.iter().map(|j| value(&j.health)).collect::<Vec<_>>())
    };
    ListHealth {
        valid_lines: of(|h| h.valid_lines),
        in_catalog: of(|h| h.in_catalog),
        duplicates: of(|h| h.duplicates),
        seen: of(|h| h.seen),
        length: of(|h| h.length),
        ended: of(|h| h.ended),
    }
}

impl Quality {
    /// The quality of the lists of each seed.
    fn new(seeds: &[Vec<&JudgedList>]) -> Result<Self, Error> {
        let all = || seeds.iter().flatten().copied();
        let interval = |of: &dyn Fn(&JudgedList) -> f64| {
            let values: Vec<f64> = all().map(of).collect();
            cluster_bootstrap(
                &values,
                &(0..values.len()).collect::<Vec<_>>(),
                1,
                RESAMPLES,
            )
        };
        let measured = |measure: Measure| interval(&|list| measure.of(list));
        let ndcg = |seed: &Vec<&JudgedList>| {
            mean(
                &seed
                    .iter()
                    .map(|list| Measure::Ndcg(N).of(list))
                    .collect::<Vec<_>>(),
            )
        };
        Ok(Self {
            recall_5: measured(Measure::Recall(5))?,
            recall_10: measured(Measure::Recall(N))?,
            ndcg_5: measured(Measure::Ndcg(5))?,
            ndcg_10: measured(Measure::Ndcg(N))?,
            head: interval(&|list| hits(list, 0..HEAD))?,
            tail: interval(&|list| hits(list, HEAD..N))?,
            ndcg_10_by_seed: seeds.iter().map(ndcg).collect(),
            hits_per_rank: hits_per_rank(all()),
        })
    }
}

impl Training {
    fn new(runs: &Runs) -> Option<Self> {
        let ends = |of: &dyn Fn(&convrec_train::Record) -> Option<f64>| {
            let ends = runs.ends(of);
            [0, 1].map(|end| mean(&ends.iter().map(|ends| ends[end]).collect::<Vec<_>>()))
        };
        let ends_of = |field: &str, divisor: f64| {
            let of = |record: &convrec_train::Record| number(record, field).map(|x| x / divisor);
            (!runs.ends(&of).is_empty()).then(|| ends(&of))
        };
        let values = |field: &str| -> Vec<f64> {
            runs.done
                .iter()
                .flat_map(|done| &done.log)
                .filter_map(|record| number(record, field))
                .collect()
        };
        let largest = |field: &str| values(field).into_iter().fold(0.0, f64::max);
        let diverged: Vec<f64> = runs
            .diverged()
            .iter()
            .map(|diverged| f64::from(u8::from(*diverged)))
            .collect();
        // Supervised fine-tuning has no rollouts.
        (!values("dcg").is_empty()).then(|| Self {
            dcg: ends(&|record| number(record, "dcg")),
            ranks: (0..N)
                .map(|rank| ends(&|record| relevance(record, rank..rank + 1)))
                .collect(),
            entropy: ends(&|record| number(record, "entropy")),
            largest_kl: largest("kl"),
            clip_ratio: mean(&values("clip_ratio/region_mean")),
            largest_grad_norm: largest("grad_norm"),
            diverged: mean(&diverged),
            // Rewards of ranks are summed over the list.
            share: ends_of(&format!("rewards/{BOUNDED}/mean"), N as f64),
            multiplier: ends_of(&format!("targets/{BOUNDED}/multiplier"), 1.0),
        })
    }
}
