//! Evaluates a policy's lists.

use std::collections::HashSet;
use std::fmt;

use convrec_catalog::Catalog;
use convrec_core::{Example, ItemId};
use convrec_metrics::{JudgedList, Measure, lists};
use convrec_policy::{Completion, Generation, Policy, Sampling};
use serde::{Deserialize, Serialize};

use crate::task::{Answer, Sample, Task};

/// One evaluated sample.
#[derive(Debug, Clone)]
pub struct Evaluated {
    /// The answer of the policy.
    pub answer: Answer,
    /// The list that is judged: catalog items only, without seen and repeated ones, at most N.
    pub list: Vec<ItemId>,
    /// The list with its hits.
    pub judged: JudgedList,
}

/// Shares over all lines of all lists, before anything is removed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ListHealth {
    /// Lines that name an item.
    pub valid_lines: f64,
    /// Named items that are in the catalog.
    pub in_catalog: f64,
    /// Named items that repeat an earlier one of the list.
    pub duplicates: f64,
    /// Named items that were seen in the conversation.
    pub seen: f64,
    /// Items a list.
    pub length: f64,
    /// Lists that ended by themselves.
    pub ended: f64,
}

impl fmt::Display for ListHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            valid_lines,
            in_catalog,
            duplicates,
            seen,
            length,
            ended,
        } = self;
        write!(
            f,
            "valid lines {valid_lines:.4}, in catalog {in_catalog:.4}, duplicates {duplicates:.4}, \
             seen {seen:.4}, items a list {length:.2}, ended {ended:.4}"
        )
    }
}

/// The result of an evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// One entry a sample, in the order of the samples.
    pub samples: Vec<Evaluated>,
    /// The form of the lists.
    pub health: ListHealth,
    /// For each rank the share of samples whose judged list hits there.
    pub hits_per_rank: Vec<f64>,
}

impl Evaluation {
    /// The mean of a measure over all samples.
    pub fn mean(&self, measure: Measure) -> f64 {
        // The sum begins at 0.0, as the empty sum of floats is -0.0.
        self.values(measure)
            .iter()
            .fold(0.0, |sum, value| sum + value)
            / self.samples.len() as f64
    }

    /// The judged list of each example, where `asked` says which of them became samples. `None` for
    /// the others.
    #[must_use]
    pub fn judged_of(&self, asked: &[bool]) -> Vec<Option<JudgedList>> {
        let mut samples = self.samples.iter();
        let mut judged = || samples.next().map(|sample| sample.judged.clone());
        asked
            .iter()
            .map(|asked| asked.then(&mut judged).flatten())
            .collect()
    }

    /// A measure of each sample.
    pub fn values(&self, measure: Measure) -> Vec<f64> {
        self.samples
            .iter()
            .map(|sample| measure.of(&sample.judged))
            .collect()
    }
}

/// The decoding of the lists of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoding {
    /// Greedy decoding is the paper's protocol; temperature 1 shows the distribution that
    /// reinforcement learning trains.
    pub sampling: Sampling,
    /// The number of tokens after which a list is cut. Constrained lists all end.
    pub max_new_tokens: usize,
    /// The number of lists side by side. It bounds memory and changes no result.
    pub max_rows: usize,
    /// The seed of sampling.
    pub seed: u64,
}

impl Decoding {
    /// Greedy decoding, which always takes the most likely token.
    pub fn greedy(max_new_tokens: usize, max_rows: usize) -> Self {
        Self {
            sampling: Sampling::greedy(),
            max_new_tokens,
            max_rows,
            seed: 0,
        }
    }
}

/// Lets the policy answer every sample with one list, and judges the lists as the paper does. Seen
/// and off-catalog items are removed first, and each ground-truth item counts once.
///
/// # Panics
/// When there are no samples, [`Sampling::check`] fails, or a constrained task did not make the
/// samples itself.
pub fn evaluate(
    policy: &Policy,
    task: &Task,
    samples: &[Sample],
    decoding: &Decoding,
) -> Evaluation {
    assert!(!samples.is_empty(), "nothing to evaluate");
    let prompts: Vec<&[u32]> = samples
        .iter()
        .map(|sample| sample.prompt.as_slice())
        .collect();
    let generation = Generation {
        sampling: decoding.sampling,
        group_size: 1,
        max_new_tokens: decoding.max_new_tokens,
        end_token: task.prompter().end(),
        max_rows: decoding.max_rows,
        seed: decoding.seed,
    };
    let completions = generate(policy, task, |p| &samples[p], &prompts, 0, &generation);
    let answered = completions
        .iter()
        .zip(samples)
        .map(|(group, x)| (task.answer(x, &group[0].tokens), x));
    let evaluated: Vec<Evaluated> = answered
        .map(|(answer, x)| judge(answer, x, task.n_ranks()))
        .collect();
    let judged: Vec<JudgedList> = evaluated
        .iter()
        .map(|sample| sample.judged.clone())
        .collect();
    Evaluation {
        health: health(&evaluated, samples),
        hits_per_rank: lists::hits_per_rank(&judged, task.n_ranks()),
        samples: evaluated,
    }
}

/// Completions, under the task's constraint where it has one; those are never cut. The prompts are
/// those of a longer list from place `first` on.
pub(crate) fn generate<'a>(
    policy: &Policy,
    task: &Task,
    samples: impl Fn(usize) -> &'a Sample,
    prompts: &[&[u32]],
    first: usize,
    generation: &Generation,
) -> Vec<Vec<Completion>> {
    let Some(longest) = task.longest_list() else {
        return policy.generate_part(prompts, first, generation, None);
    };
    let begin = |p: usize| {
        task.constraint(samples(p))
            .expect("the task is constrained")
    };
    let generation = Generation {
        max_new_tokens: longest,
        ..generation.clone()
    };
    policy.generate_part(prompts, first, &generation, Some(&begin))
}

/// Judges a ranking of catalog items, as from a baseline, by the same rules.
pub fn judge_ranking(
    ranking: &[ItemId],
    seen: &[ItemId],
    ground_truth: &[ItemId],
    n_ranks: usize,
) -> (Vec<ItemId>, JudgedList) {
    let mut kept = HashSet::new();
    let list: Vec<ItemId> = ranking
        .iter()
        .copied()
        .filter(|id| !seen.contains(id) && kept.insert(*id))
        .take(n_ranks)
        .collect();
    let ground_truth = ground_truth
        .iter()
        .copied()
        .filter(|id| !seen.contains(id))
        .collect();
    let judged = JudgedList::from_ids(&list, &ground_truth);
    (list, judged)
}

/// Judges a ranking of catalog items for an example, by the same rules. Relevant items outside of
/// the catalog are ignored, and twins count as one.
#[must_use]
pub fn judge_example(
    catalog: &Catalog,
    example: &Example,
    ranking: &[ItemId],
    n_ranks: usize,
) -> JudgedList {
    let relevant = example.ground_truth.iter();
    let relevant: Vec<ItemId> = relevant
        .filter_map(|item| catalog.meant(item).ok())
        .collect();
    let ranking: Vec<ItemId> = ranking
        .iter()
        .map(|id| catalog.representative(*id))
        .collect();
    judge_ranking(
        &ranking,
        &catalog.seen_ids(&example.seen),
        &relevant,
        n_ranks,
    )
    .1
}

fn judge(answer: Answer, sample: &Sample, n_ranks: usize) -> Evaluated {
    let ranking: Vec<ItemId> = answer.items.iter().copied().flatten().collect();
    let (list, judged) = judge_ranking(&ranking, &sample.seen, &sample.ground_truth, n_ranks);
    Evaluated {
        answer,
        list,
        judged,
    }
}

fn health(evaluated: &[Evaluated], samples: &[Sample]) -> ListHealth {
    let count = |f: &dyn Fn(&Evaluated, &Sample) -> usize| -> f64 {
        evaluated
            .iter()
            .zip(samples)
            .map(|(evaluated, sample)| f(evaluated, sample))
            .sum::<usize>() as f64
    };
    let items = count(&|e, _| e.answer.names.len());
    let lines = items + count(&|e, _| e.answer.unparsed_lines);
    let named = items.max(1.0);
    ListHealth {
        valid_lines: items / lines.max(1.0),
        in_catalog: count(&|e, _| e.answer.items.iter().flatten().count()) / named,
        duplicates: count(&|e, _| lists::duplicates(&e.answer.names)) / named,
        seen: count(&|e, s| {
            e.answer
                .items
                .iter()
                .flatten()
                .filter(|id| s.seen.contains(id))
                .count()
        }) / named,
        length: items / evaluated.len() as f64,
        ended: count(&|e, _| usize::from(e.answer.segments.ended)) / evaluated.len() as f64,
    }
}
