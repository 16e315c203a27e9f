//! The first half of a run: the teacher's answers, Remap and Reflect.

use std::borrow::Cow;
use std::collections::HashMap;

use convrec_catalog::top_k;
use convrec_core::{CatalogItem, Example, Item, ItemId};
use itertools::Itertools;
use ndarray::{Array2, Axis, concatenate};
use rayon::prelude::*;

use super::answer::text_of;
use super::counter::Counter;
use super::scored::Row;
use super::{Failure, Pipeline, PipelineError, Progress, Scored, Stage, TeacherItem};
use crate::score::map_rows;
use crate::{
    FactoredScores, Named, Ratings, ServiceError, conversation_text, rank_weights, remap_query,
    seen_ids,
};

/// Conversations that are asked about, embedded and rated together. Services that answer side by
/// side wait for the last answer of a block, so it should be much larger than the number of
/// requests at once.
const BLOCK: usize = 4096;

impl Pipeline<'_> {
    /// Asks the teacher, remaps its answers and reflects on them. `progress` is called from several
    /// threads.
    ///
    /// A conversation whose teacher, describer or judge gave no answer is one of the
    /// [failures](super::PipelineOutput::failures), and the others go on without it.
    ///
    /// An answer that names no item is an answer. Remap then uses the conversation alone.
    ///
    /// The memory is 8 D bytes a conversation, and 4 D bytes a distinct off-catalog item of a block
    /// of some thousand conversations.
    ///
    /// # Errors
    /// [`PipelineError::Service`] when the embedder fails, [`PipelineError::Nothing`] when no
    /// conversation was answered.
    pub fn score<'e>(
        &self,
        examples: &'e [Example],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Scored<'e>, PipelineError> {
        let count = |stage| Counter::new(stage, examples.len(), progress);
        let (taught, scored) = (count(Stage::Teach), count(Stage::Score));
        let (mut rows, mut queries, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for (start, block) in (0..).step_by(BLOCK).zip(examples.chunks(BLOCK)) {
            let done = self.score_block(start, block, &taught, &scored)?;
            rows.extend(done.rows);
            queries.push(done.queries);
            failures.extend(done.failures);
        }
        if let (true, Some(failure)) = (rows.is_empty(), failures.first()) {
            let Failure { id, problem } = failure.clone();
            return Err(PipelineError::Nothing {
                asked: examples.len(),
                id,
                problem,
            });
        }
        let views: Vec<_> = queries.iter().map(|block| block.view()).collect();
        let queries = if views.is_empty() {
            Array2::zeros((0, self.width()))
        } else {
            concatenate(Axis(0), &views).expect(
                "all queries have the width of the \
                embeddings",
            ) // [rows, D]
        };
        Ok(Scored {
            examples: Cow::Borrowed(examples),
            rows,
            queries,
            failures,
        })
    }

    fn score_block(
        &self,
        start: usize,
        block: &[Example],
        taught: &Counter<'_>,
        scored: &Counter<'_>,
    ) -> Result<Block, PipelineError> {
        let mut failed: HashMap<usize, ServiceError> = HashMap::new();
        let asked: Vec<&Example> = block.iter().collect();
        let texts = self
            .services
            .teacher
            .recommend_all(&asked, self.config.n, &|more| taught.count(more));
        let read = |text: Result<String, ServiceError>| text.map(|text| self.reader.read(&text));
        let read: Vec<_> = texts.into_par_iter().map(read).collect();
        let answers = keep(read.into_iter().enumerate(), &mut failed);
        let outside = self.embed_outside(&answers, &mut failed)?;
        let answers: Vec<_> = answers
            .into_iter()
            .filter(|(place, _)| !failed.contains_key(place))
            .collect();

        let queries = self.queries(block, &answers, &outside)?; // [answers, D]
        let mut rows = self.remapped(start, block, answers, &queries);
        let rated = self.reflect_on(start, block, &mut rows, &mut failed, scored);
        scored.count(block.len() - rated);
        let answered = |best: &Best| !failed.contains_key(&(best.row.example - start));
        let kept: Vec<usize> = rows.iter().positions(answered).collect();
        rows.retain(answered);
        let problem = |(place, error): (usize, ServiceError)| Failure {
            id: block[place].id.clone(),
            problem: error.to_string(),
        };
        Ok(Block {
            queries: queries.select(Axis(0), &kept),
            rows: rows.into_iter().map(|best| best.row).collect(),
            failures: failed
                .into_iter()
                .sorted_by_key(|(place, _)| *place)
                .map(problem)
                .collect(),
        })
    }

    /// Describes and embeds the off-catalog items of all answers, each once. Conversations whose
    /// items could not be described fail.
    fn embed_outside(
        &self,
        answers: &[(usize, Vec<TeacherItem>)],
        failed: &mut HashMap<usize, ServiceError>,
    ) -> Result<Outside, PipelineError> {
        if self.items.is_none() {
            return Ok(Outside::default());
        }
        let outside = |items: &[TeacherItem]| -> Vec<Item> {
            items
                .iter()
                .filter(|named| named.meant().is_none())
                .map(|named| named.item.clone())
                .collect()
        };
        let items: Vec<Item> = answers
            .iter()
            .flat_map(|(_, items)| outside(items))
            .unique()
            .collect();
        let described = self
            .services
            .describer
            .describe_all(&items.iter().collect::<Vec<_>>(), &|_| ());
        let mut problems: HashMap<&Item, ServiceError> = HashMap::new();
        let text = |(item, described): (_, Result<Option<String>, ServiceError>)| match described {
            Ok(metadata) => text_of(item, metadata),
            Err(problem) => {
                problems.insert(item, problem);
                text_of(item, None)
            }
        };
        let texts: Vec<String> = items.iter().zip(described).map(text).collect();
        for (place, named) in answers {
            if let Some(problem) = outside(named).iter().find_map(|item| problems.get(item)) {
                failed.insert(*place, problem.clone());
            }
        }
        let rows = self.embed(&texts)?; // [U, D]
        Ok(Outside {
            places: items.into_iter().zip(0..).collect(),
            rows,
        })
    }

    /// The query of each answered conversation. Shape `[answers, D]`.
    fn queries(
        &self,
        block: &[Example],
        answers: &[(usize, Vec<TeacherItem>)],
        outside: &Outside,
    ) -> Result<Array2<f32>, PipelineError> {
        let mut queries = Array2::zeros((answers.len(), self.width()));
        let Some(items) = &self.items else {
            return Ok(queries);
        };
        let texts: Vec<String> = answers
            .iter()
            .map(|(place, _)| conversation_text(&block[*place]))
            .collect();
        let conversations = self.embed(&texts)?; // [answers, D]
        let embedding = |named: &TeacherItem| match named.meant() {
            Some(item) => items.row(item.index()),
            None => outside.rows.row(outside.places[&named.item]),
        };
        for (((_, answer), conversation), mut query) in answers
            .iter()
            .zip(conversations.outer_iter())
            .zip(queries.outer_iter_mut())
        {
            let named: Vec<Named<'_, f32>> = weighted(answer)
                .map(|(named, weight)| Named {
                    weight,
                    embedding: embedding(named),
                    exact: named.meant(),
                })
                .collect();
            let exact = remap_query(&named, conversation, self.config.lambda);
            query
                .iter_mut()
                .zip(exact)
                .for_each(|(to, from)| *to = from as f32);
        }
        Ok(queries)
    }

    /// Remap for the answered conversations of a block.
    fn remapped(
        &self,
        start: usize,
        block: &[Example],
        answers: Vec<(usize, Vec<TeacherItem>)>,
        queries: &Array2<f32>,
    ) -> Vec<Best> {
        let exact = |answer: &[TeacherItem]| -> Vec<(ItemId, f32)> {
            weighted(answer)
                .filter_map(|(named, weight)| Some((named.meant()?, weight as f32)))
                .collect()
        };
        let additions: Vec<_> = answers.iter().map(|(_, answer)| exact(answer)).collect();
        let candidates = if self.config.reflect {
            self.config.n_reflect
        } else {
            0
        };
        let seen: Vec<Vec<ItemId>> = answers
            .par_iter()
            .map(|(place, _)| seen_ids(self.catalog, &block[*place]))
            .collect();
        // Ratings only move candidates, so the best n unseen items are always among these.
        let most = |row: usize| candidates + self.config.n + seen[row].len();
        let best: Vec<Vec<(ItemId, f32)>> = match &self.items {
            Some(items) => {
                let scores = FactoredScores::new(items.view(), queries.view(), &additions);
                map_rows(&scores, |row, scores| top_k(scores, most(row)))
            }
            None => additions
                .iter()
                .enumerate()
                .map(|(row, exact)| best_named(exact, most(row)))
                .collect(),
        };
        let rows = itertools::izip!(answers, additions, best, seen).map(
            |((place, teacher), exact, best, seen)| {
                let remap = best
                    .iter()
                    .map(|(item, _)| *item)
                    .filter(|item| !seen.contains(item))
                    .take(self.config.n);
                let remap: Vec<ItemId> = remap.collect();
                let (example, ratings) = (start + place, Vec::new());
                let row = Row {
                    example,
                    teacher,
                    exact,
                    ratings,
                    unrated: 0,
                    reflect: remap.clone(),
                    remap,
                    seen,
                };
                Best { row, best }
            },
        );
        rows.collect()
    }

    /// Reflect: the judge rates the best candidates, and the lists follow. Returns the number of
    /// conversations that it was asked about.
    fn reflect_on(
        &self,
        start: usize,
        block: &[Example],
        rows: &mut [Best],
        failed: &mut HashMap<usize, ServiceError>,
        scored: &Counter<'_>,
    ) -> usize {
        let (true, Some(judge)) = (self.config.reflect, self.services.judge) else {
            return 0;
        };
        let candidates = |best: &Best| best.best.len().min(self.config.n_reflect);
        let request = |best: &Best| -> (&Example, Vec<&CatalogItem>) {
            let items = best.best[..candidates(best)]
                .iter()
                .map(|(item, _)| &self.catalog[*item]);
            (&block[best.row.example - start], items.collect())
        };
        let requests: Vec<_> = rows.iter().map(request).collect();
        let ratings = judge.rate_all(&requests, &|more| scored.count(more));
        for (best, ratings) in rows.iter_mut().zip(ratings) {
            let expected = candidates(best);
            match ratings.and_then(|ratings| check_ratings(ratings, expected)) {
                Ok(ratings) => best.reflect(&ratings, self.config.gamma, self.config.n),
                Err(problem) => {
                    failed.insert(best.row.example - start, problem);
                }
            }
        }
        rows.len()
    }
}

struct Block {
    rows: Vec<Row>,
    queries: Array2<f32>,
    failures: Vec<Failure>,
}

/// A row on its way, with the best items of s_remap, seen ones too.
struct Best {
    row: Row,
    best: Vec<(ItemId, f32)>,
}

impl Best {
    fn reflect(&mut self, ratings: &Ratings, gamma: f64, n: usize) {
        for ((item, score), rating) in self.best.iter_mut().zip(ratings) {
            if let Some(rating) = rating {
                *score += addition(*rating, gamma);
                self.row.ratings.push((*item, *rating));
            }
        }
        self.row.unrated = ratings.len() - self.row.ratings.len();
        // The candidates are in the order of items, so that the lower one wins a tie.
        self.best.sort_unstable_by_key(|(item, _)| *item);
        let scores: Vec<f32> = self.best.iter().map(|(_, score)| *score).collect();
        let sorted = top_k(&scores, scores.len())
            .into_iter()
            .map(|(place, _)| self.best[place.index()].0);
        self.row.reflect = sorted
            .filter(|item| !self.row.seen.contains(item))
            .take(n)
            .collect();
    }
}

/// The addition of a rating to a score.
pub(super) fn addition(rating: i8, gamma: f64) -> f32 {
    (gamma * f64::from(rating)) as f32
}

/// The best of the items that were named exactly. Without Remap only these are left.
fn best_named(exact: &[(ItemId, f32)], most: usize) -> Vec<(ItemId, f32)> {
    let sorted: Vec<(ItemId, f32)> = exact
        .iter()
        .copied()
        .sorted_by_key(|(item, _)| *item)
        .collect();
    let scores: Vec<f32> = sorted.iter().map(|(_, weight)| *weight).collect();
    top_k(&scores, most)
        .into_iter()
        .map(|(place, _)| sorted[place.index()])
        .collect()
}

/// The distinct items of an answer with their weights p; a repetition keeps its best rank.
fn weighted(answer: &[TeacherItem]) -> impl Iterator<Item = (&TeacherItem, f64)> {
    let keys: Vec<Result<ItemId, &Item>> = answer
        .iter()
        .map(|named| named.meant().ok_or(&named.item))
        .collect();
    answer
        .iter()
        .zip(rank_weights(&keys))
        .filter_map(|(named, weight)| Some((named, weight?)))
}

/// The off-catalog items of a block's answers, each once, and their embeddings `[U, D]`.
#[derive(Default)]
struct Outside {
    places: HashMap<Item, usize>,
    rows: Array2<f32>,
}

/// The answers by place. Conversations without an answer go to `failed`.
fn keep<T>(
    answers: impl Iterator<Item = (usize, Result<T, ServiceError>)>,
    failed: &mut HashMap<usize, ServiceError>,
) -> Vec<(usize, T)> {
    let mut kept = Vec::new();
    for (place, answer) in answers {
        match answer {
            Ok(answer) => kept.push((place, answer)),
            Err(problem) => {
                failed.insert(place, problem);
            }
        }
    }
    kept
}

fn check_ratings(ratings: Ratings, expected: usize) -> Result<Ratings, ServiceError> {
    if ratings.len() != expected {
        let problem = format!(
            "{} ratings for {expected} candidates; expected one for each",
            ratings.len()
        );
        return Err(ServiceError::new("judge", problem));
    }
    match ratings
        .iter()
        .flatten()
        .find(|rating| !(-2..=2).contains(*rating))
    {
        Some(rating) => Err(ServiceError::new(
            "judge",
            format!("a rating of {rating}; expected -2..=2, or none"),
        )),
        None => Ok(ratings),
    }
}
