use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use convrec_catalog::YEAR_TOLERANCE;
use convrec_core::{Demonstration, Example, Item, ItemId};
use itertools::Itertools;
use ndarray::{Array2, ArrayView1, Axis};
use rayon::prelude::*;

use super::answer::{read_answer, text_of};
use super::scored::{Row, Selected};
use super::{Cloned, Pipeline, PipelineError, Progress, Scored, Stage, Steps, TeacherItem};
use crate::demonstration::demonstration_within;
use crate::{
    Adjust, AdjustError, Fit, Named, ServiceError, conversation_text, demonstration, fit, rank_weights, reflect, remap,
    seen_ids,
};

/// Conversations whose texts are embedded together; bounds the memory for them.
const BATCH: usize = 256;

impl Pipeline<'_> {
    /// All steps: [`score`](Self::score), [`fit`](Self::fit) where Adjust is on, [`finish`](Self::finish).
    ///
    /// # Errors
    /// As the steps.
    pub fn run(&self, examples: &[Example], progress: &(dyn Fn(Progress) + Sync)) -> Result<Cloned, PipelineError> {
        let scored = self.score(examples, progress)?;
        let fit = if self.config.adjust { Some(self.fit(&scored)?) } else { None };
        let cloned = self.finish(&scored, fit.as_ref().map(|fit| &fit.adjust));
        Ok(Cloned { fit, ..cloned })
    }

    /// Asks the teacher, remaps its answers and reflects on them. `progress` is called from several threads.
    ///
    /// Memory: 4 C bytes a conversation, and 4 D bytes a distinct off-catalog item.
    ///
    /// # Errors
    /// When a service fails; the error names the first conversation with a failure.
    pub fn score<'e>(
        &self,
        examples: &'e [Example],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Scored<'e>, PipelineError> {
        let counter = Counter::new(Stage::Teach, examples.len(), progress);
        let answers = for_each(examples, |_, example| {
            let text = self.services.teacher.recommend(example, self.config.n)?;
            counter.count(1);
            Ok(read_answer(&text, self.config.n, self.catalog, self.config.years))
        })?;
        let outside = self.embed_outside(&answers, progress)?;
        let counter = Counter::new(Stage::Score, examples.len(), progress);
        let mut scores = Array2::zeros((examples.len(), self.catalog.len())); // [conversations, C]
        let mut rows = Vec::with_capacity(examples.len());
        for (start, mut block) in (0..).step_by(BATCH).zip(scores.axis_chunks_iter_mut(Axis(0), BATCH)) {
            let batch = &examples[start..start + block.nrows()];
            let texts: Vec<String> = batch.iter().map(conversation_text).collect();
            let conversations =
                if self.items.is_some() { self.embed(&texts)? } else { Array2::zeros((texts.len(), 0)) };
            let done = for_each(batch, |index, example| {
                let named = outside.list(self, &answers[start + index]);
                let done = self.score_one(example, named, conversations.row(index))?;
                counter.count(1);
                Ok(done)
            })?;
            for ((row, scores), (mut to, teacher)) in
                done.into_iter().zip(block.outer_iter_mut().zip(&answers[start..]))
            {
                to.iter_mut().zip(scores).for_each(|(to, score)| *to = score as f32);
                rows.push(Row { teacher: teacher.clone(), ..row });
            }
        }
        Ok(Scored { examples, rows, scores })
    }

    /// Remap and Reflect for one conversation: its lists and s_reflect `[C]`.
    fn score_one(
        &self,
        example: &Example,
        named: Vec<Named<'_, f32>>,
        conversation: ArrayView1<'_, f32>,
    ) -> Result<(Row, Vec<f64>), ServiceError> {
        let seen = seen_ids(self.catalog, example);
        let (mut scores, support) = match &self.items {
            Some(items) => (remap(&named, items.view(), conversation, self.config.lambda), None),
            None => self.exact_only(&named),
        };
        let list = |scores: &[f64], n: usize, seen: &[ItemId]| match &support {
            None => demonstration(scores, n, seen),
            Some(support) => demonstration_within(scores, n, seen, support),
        };
        let remapped = list(&scores, self.config.n, &seen);
        if let (true, Some(judge)) = (self.config.reflect, self.services.judge) {
            let candidates = list(&scores, self.config.n_reflect, &[]);
            let items: Vec<_> = candidates.iter().map(|&item| &self.catalog[item]).collect();
            let ratings = check_ratings(judge.rate(example, &items)?, candidates.len())?;
            reflect(
                &mut scores,
                candidates.into_iter().zip(ratings).filter_map(|(item, r)| Some((item, r?))),
                self.config.gamma,
            );
        }
        let reflected = list(&scores, self.config.n, &seen);
        Ok((Row { teacher: Vec::new(), remap: remapped, reflect: reflected, seen, support }, scores))
    }

    /// What is left without Remap: p' I_ic, and the items that it names.
    fn exact_only(&self, named: &[Named<'_, f32>]) -> (Vec<f64>, Option<Vec<ItemId>>) {
        let mut scores = vec![0.0; self.catalog.len()]; // [C]
        let exact = || named.iter().filter_map(|named| Some((named.exact?, named.weight)));
        exact().for_each(|(item, weight)| scores[item.index()] += weight);
        (scores, Some(exact().map(|(item, _)| item).sorted().dedup().collect()))
    }

    fn embed_outside<'t>(
        &self,
        answers: &'t [Vec<TeacherItem>],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Outside<'t>, PipelineError> {
        let Some(catalog) = &self.items else { return Ok(Outside::default()) };
        let outside = answers.iter().flatten().filter(|named| named.id.is_none()).map(|named| &named.item);
        let items: Vec<&Item> = outside.unique().collect();
        let counter = Counter::new(Stage::Embed, items.len(), progress);
        let mut rows = Array2::zeros((items.len(), catalog.ncols())); // [U, D]
        for (batch, mut block) in items.chunks(BATCH).zip(rows.axis_chunks_iter_mut(Axis(0), BATCH)) {
            let described = self.services.describer.describe_all(batch, &|_| ());
            let described: Vec<Option<String>> = described.into_iter().try_collect()?;
            let texts: Vec<String> = batch.iter().zip(described).map(|(item, text)| text_of(item, text)).collect();
            block.assign(&self.embed(&texts)?);
            counter.count(batch.len());
        }
        Ok(Outside { places: items.into_iter().zip(0..).collect(), rows })
    }

    /// Fits Adjust to the conversations that have ground truth in the catalog.
    ///
    /// # Errors
    /// When there is none, or the fit does not converge.
    pub fn fit(&self, scored: &Scored<'_>) -> Result<Fit, AdjustError> {
        let ids = |example: &Example| -> Vec<ItemId> {
            let found = example.groundtruth.iter().filter_map(|item| self.catalog.find_within(item, YEAR_TOLERANCE));
            found.unique().collect()
        };
        let (rows, groundtruth) = scored
            .examples
            .iter()
            .map(ids)
            .enumerate()
            .filter(|(_, items)| !items.is_empty())
            .unzip::<_, _, Vec<_>, Vec<_>>();
        fit(&Selected { scores: &scored.scores, rows }, &groundtruth, &self.config.fit, &|_| ())
    }

    /// Applies an adjustment (or none) and takes the best unseen items of each conversation.
    ///
    /// The conversations need not be those that the adjustment was fitted to.
    ///
    /// # Panics
    /// When the adjustment is of another catalog.
    pub fn finish(&self, scored: &Scored<'_>, adjust: Option<&Adjust>) -> Cloned {
        let finish_one = |(index, row): (usize, &Row)| {
            let Some(adjust) = adjust else { return row.reflect.clone() };
            let mut scores: Vec<f64> = scored.scores.row(index).iter().map(|&score| score.into()).collect();
            adjust.apply(&mut scores);
            match &row.support {
                None => demonstration(&scores, self.config.n, &row.seen),
                Some(support) => demonstration_within(&scores, self.config.n, &row.seen, support),
            }
        };
        let lists: Vec<Vec<ItemId>> = scored.rows.par_iter().enumerate().map(finish_one).collect();
        let demonstration_of = |(example, list): (&Example, &Vec<ItemId>)| {
            let list: Vec<Item> = list.iter().map(|&item| self.catalog[item].item()).collect();
            (!list.is_empty()).then(|| Demonstration { example: example.clone(), list })
        };
        let demonstrations = scored.examples.iter().zip(&lists).filter_map(demonstration_of).collect();
        let steps = scored.rows.iter().zip(lists).map(|(row, adjust)| Steps {
            teacher: row.teacher.clone(),
            remap: row.remap.clone(),
            reflect: row.reflect.clone(),
            adjust,
        });
        Cloned { demonstrations, steps: steps.collect(), fit: None }
    }
}

/// The off-catalog items of all answers, each once, and their embeddings `[U, D]`.
#[derive(Default)]
struct Outside<'t> {
    places: HashMap<&'t Item, usize>,
    rows: Array2<f32>,
}

impl Outside<'_> {
    /// The distinct items of one answer, as Remap wants them; without Remap, the exact ones only.
    fn list<'s>(&'s self, pipeline: &'s Pipeline<'_>, answer: &[TeacherItem]) -> Vec<Named<'s, f32>> {
        let keys: Vec<Result<ItemId, &Item>> = answer.iter().map(|named| named.id.ok_or(&named.item)).collect();
        let named = keys.iter().zip(rank_weights(&keys)).filter_map(|(key, weight)| {
            let embedding = match (key, &pipeline.items) {
                (Ok(item), Some(items)) => items.row(item.index()),
                (Err(item), Some(_)) => self.rows.row(self.places[item]),
                (_, None) => ArrayView1::from(&[]),
            };
            Some(Named { weight: weight?, embedding, exact: key.ok() })
        });
        named.collect()
    }
}

fn check_ratings(ratings: Vec<Option<i8>>, expected: usize) -> Result<Vec<Option<i8>>, ServiceError> {
    if ratings.len() != expected {
        let problem = format!("{} ratings for {expected} candidates; expected one for each", ratings.len());
        return Err(ServiceError::new("judge", problem));
    }
    match ratings.iter().flatten().find(|rating| !(-2..=2).contains(*rating)) {
        Some(rating) => Err(ServiceError::new("judge", format!("a rating of {rating}; expected -2..=2, or none"))),
        None => Ok(ratings),
    }
}

/// Does the same for each example on all threads; the error is that of the first example that fails.
fn for_each<T: Send>(
    examples: &[Example],
    work: impl Fn(usize, &Example) -> Result<T, ServiceError> + Sync,
) -> Result<Vec<T>, PipelineError> {
    let done: Vec<_> = examples.par_iter().enumerate().map(|(index, example)| work(index, example)).collect();
    let name = |(done, example): (Result<T, ServiceError>, &Example)| {
        done.map_err(|source| PipelineError::Sample { id: example.id.clone(), source })
    };
    done.into_iter().zip(examples).map(name).collect()
}

struct Counter<'p> {
    stage: Stage,
    done: AtomicUsize,
    total: usize,
    progress: &'p (dyn Fn(Progress) + Sync),
}

impl<'p> Counter<'p> {
    fn new(stage: Stage, total: usize, progress: &'p (dyn Fn(Progress) + Sync)) -> Self {
        Self { stage, done: AtomicUsize::new(0), total, progress }
    }

    fn count(&self, more: usize) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        (self.progress)(Progress { stage: self.stage, done, total: self.total });
    }
}
