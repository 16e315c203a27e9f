use std::collections::BTreeSet;
use std::fmt;

use convrec_catalog::{Catalog, YEAR_TOLERANCE, top_k};
use convrec_core::{Candidates, Demonstration, Example, Item, ItemId, Turn};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::Scorer;
use crate::cooccurrence::ids;
use crate::features::{FEATURES, FORMS, SOURCES, Sources, features_of, forms, highest};
use crate::file::RetrieverError;
use crate::fit::{Choice, fit};
use crate::words::words_of;

/// The best items of each source take part in the fit.
const POOL: usize = 100;
/// Items of the whole catalog that take part too, evenly spread: else nothing would say how
/// unlikely items are that no source finds.
const OTHERS: usize = 200;
/// Conversations that the weights are fitted to, at most; evenly spread.
const MOST_CHOICES: usize = 3000;
/// The strength of the pull of the weights towards 0, as that of so many conversations: the fewer
/// there are, the more it counts.
const PULL: f64 = 3.0;
/// The candidates that a policy gets, unless a file says otherwise.
const CANDIDATES: usize = 300;

/// What a retriever has learned: training conversations to count in, and the weights of the counts.
/// It fits any catalog with these items; [`over`](Self::over) makes a [`Retriever`] of it.
///
/// Of each training conversation the distinct words and the items are kept, not the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// The number of candidates that a policy gets.
    pub n_candidates: usize,
    /// What the scores are multiplied by before a policy adds its own; 1 takes them as they are.
    pub weight: f32,
    pub(crate) weights: Vec<f64>,
    pub(crate) training: Vec<Example>,
}

impl Fitted {
    /// Learns the weights: those under which the relevant items of the training conversations are
    /// most likely among the best of every source. Each conversation is scored without its own
    /// dialog.
    ///
    /// # Errors
    /// [`RetrieverError::NothingToLearn`] when no conversation has a relevant item that is in the
    /// catalog and was not seen.
    pub fn fit(catalog: &Catalog, training: &[Example]) -> Result<Self, RetrieverError> {
        let kept: Vec<Example> = training.iter().map(reduced).collect();
        let sources = Sources::new(catalog, &kept);
        let usable: Vec<&Example> = training
            .iter()
            .filter(|example| !right(&sources, example).is_empty())
            .collect();
        if usable.is_empty() {
            return Err(RetrieverError::NothingToLearn {
                conversations: training.len(),
            });
        }
        let stride = usable.len().div_ceil(MOST_CHOICES);
        let chosen: Vec<&Example> = usable.into_iter().step_by(stride).collect();
        let choices: Vec<Choice> = chosen
            .into_par_iter()
            .enumerate()
            .map(|(place, example)| choice(&sources, example, place))
            .collect();
        let weights = fit(&choices, FEATURES, PULL / choices.len() as f64);
        Ok(Self {
            n_candidates: CANDIDATES,
            weight: 1.0,
            weights,
            training: kept,
        })
    }

    /// The training conversations that are counted in.
    #[must_use]
    pub fn conversations(&self) -> usize {
        self.training.len()
    }

    /// The weight of each number that is made of each source's score s: of ln(1 + s), of its share
    /// of the highest score, and of the logarithm of that share.
    pub fn weights(&self) -> impl Iterator<Item = (&'static str, [f64; 3])> {
        let of_source = |(name, weights): (&&'static str, &[f64])| {
            (*name, [weights[0], weights[1], weights[2]])
        };
        SOURCES
            .iter()
            .zip(self.weights.chunks(FORMS))
            .map(of_source)
    }

    /// The retriever over a catalog. Items that were counted and are not in the catalog count for
    /// nothing; items of the catalog that were never named are found by their texts.
    #[must_use]
    pub fn over(&self, catalog: &Catalog) -> Retriever {
        Retriever {
            sources: Sources::new(catalog, &self.training),
            weights: self.weights.iter().map(|weight| *weight as f32).collect(),
            n_candidates: self.n_candidates,
            weight: self.weight,
        }
    }
}

/// A conversation as it is kept: its distinct words, and its last turn's words in the last turn.
fn reduced(example: &Example) -> Example {
    let words: BTreeSet<String> = words_of(example);
    let text = words.into_iter().collect::<Vec<_>>().join(" ");
    let mut last = example.clone();
    last.dialog.drain(..last.dialog.len().saturating_sub(1));
    let last = words_of(&last).into_iter().collect::<Vec<_>>().join(" ");
    Example {
        dialog: vec![Turn::assistant(text), Turn::user(last)],
        ..example.clone()
    }
}

/// Relevant items that were not seen.
fn right(sources: &Sources, example: &Example) -> Vec<ItemId> {
    let seen = sources.seen(example);
    let mut right = ids(&sources.catalog, &example.ground_truth);
    right.retain(|id| !seen.contains(id));
    right
}

/// The best unseen items of every source, some others, and what was right.
fn choice(sources: &Sources, example: &Example, place: usize) -> Choice {
    let scores = sources.scores(example);
    let highest = highest(&scores);
    let (seen, right) = (sources.seen(example), right(sources, example));
    let mut pool: BTreeSet<ItemId> = right.iter().copied().collect();
    for scores in &scores {
        pool.extend(top_k(scores, POOL).into_iter().map(|(id, _)| id));
    }
    let stride = sources.catalog.len().div_ceil(OTHERS);
    let others = (place % stride..sources.catalog.len()).step_by(stride);
    pool.extend(others.map(|id| ItemId(id as u32)));
    pool.retain(|id| !seen.contains(id));
    let mut features = Vec::with_capacity(FEATURES * pool.len());
    pool.iter()
        .for_each(|id| features_of(*id, &scores, &highest, &mut features));
    let share = 1.0 / right.len() as f32;
    Choice {
        features,
        right: pool
            .iter()
            .map(|id| if right.contains(id) { share } else { 0.0 })
            .collect(),
    }
}

/// Scores items of a catalog for conversations, by counts in others and the weights that were
/// learned for them.
pub struct Retriever {
    sources: Sources,
    weights: Vec<f32>,
    n_candidates: usize,
    weight: f32,
}

impl fmt::Debug for Retriever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retriever")
            .field("n_candidates", &self.n_candidates)
            .field("weight", &self.weight)
            .field("weights", &self.weights)
            .finish_non_exhaustive()
    }
}

impl Retriever {
    /// The `n` most likely unseen items, best first, with the logarithms of their probabilities
    /// among all unseen items.
    #[must_use]
    pub fn candidates(&self, example: &Example, n: usize) -> Candidates {
        let (scores, shift) = self.unseen(example);
        let best = top_k(&scores, n);
        Candidates::scored(best.into_iter().map(|(id, score)| (id, score - shift)))
    }

    /// The scores, minus infinity for seen items, and what they are above the logarithms of the
    /// items' probabilities among all unseen items.
    fn unseen(&self, example: &Example) -> (Vec<f32>, f32) {
        let mut scores = self.scores(example);
        for name in &example.seen {
            for id in self.sources.catalog.may_mean(name, YEAR_TOLERANCE) {
                scores[id.index()] = f32::NEG_INFINITY;
            }
        }
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let all: f64 = scores
            .iter()
            .map(|score| f64::from(score - highest).exp())
            .sum();
        (scores, highest + all.ln() as f32)
    }

    /// What a policy gets: [`Fitted::n_candidates`] candidates, their scores times
    /// [`Fitted::weight`].
    #[must_use]
    pub fn prior(&self, example: &Example) -> Candidates {
        let found = self.candidates(example, self.n_candidates);
        let scores = found.scores().unwrap_or_default().iter();
        let scaled = scores.map(|score| score * self.weight);
        Candidates::scored(found.items().iter().copied().zip(scaled))
    }

    /// The unseen ones of these items, in their order, scored as those of [`prior`](Self::prior):
    /// so a policy can rank what another search found.
    #[must_use]
    pub fn prior_among(&self, example: &Example, items: &[ItemId]) -> Candidates {
        let (scores, shift) = self.unseen(example);
        let scored = |id: &ItemId| (*id, (scores[id.index()] - shift) * self.weight);
        Candidates::scored(items.iter().map(scored))
    }

    /// Lists of `n` to imitate: what was right, and candidates drawn by their scores. Conversations
    /// in which nothing was right are left out. What was right is in front, in any order, or
    /// `anywhere`: then a policy that learns the accepted items alone learns them at every rank.
    #[must_use]
    pub fn demonstrations(
        &self,
        examples: &[Example],
        n: usize,
        anywhere: bool,
        seed: u64,
    ) -> Vec<Demonstration> {
        let of_example = |(place, example): (usize, &Example)| {
            let mut accepted = right(&self.sources, example);
            if accepted.is_empty() {
                return None;
            }
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(place as u64);
            accepted.shuffle(&mut rng);
            accepted.truncate(n);
            let found = self.candidates(example, self.n_candidates.max(n));
            let scores = found.scores().unwrap_or_default().iter();
            // The best of scores with noise of this law are a sample without replacement.
            let noisy = scores.map(|score| score - (-rng.random::<f32>().max(1e-30).ln()).ln());
            let noisy: Vec<f32> = noisy.collect();
            let drawn = top_k(&noisy, noisy.len()).into_iter();
            let drawn = drawn.map(|(place, _)| found.items()[place.index()]);
            let mut list: Vec<ItemId> = drawn
                .filter(|id| !accepted.contains(id))
                .take(n - accepted.len())
                .collect();
            for id in accepted.into_iter().rev() {
                let most = if anywhere { list.len() } else { 0 };
                list.insert(rng.random_range(0..=most), id);
            }
            let item = |id: ItemId| -> Item { self.sources.catalog[id].item() };
            Some(Demonstration {
                example: example.clone(),
                list: list.into_iter().map(item).collect(),
            })
        };
        let examples: Vec<(usize, &Example)> = examples.iter().enumerate().collect();
        let lists: Vec<Option<Demonstration>> = examples.into_par_iter().map(of_example).collect();
        lists.into_iter().flatten().collect()
    }
}

impl Scorer for Retriever {
    fn scores(&self, example: &Example) -> Vec<f32> {
        let scores = self.sources.scores(example);
        let highest = highest(&scores);
        let mut sum = vec![0.0; self.sources.catalog.len()];
        let of_source = self.weights.chunks(FORMS).zip(scores.iter().zip(highest));
        for (weights, (scores, highest)) in of_source {
            for (sum, score) in sum.iter_mut().zip(scores) {
                let forms = forms(*score, highest);
                *sum += forms.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>();
            }
        }
        sum
    }
}
