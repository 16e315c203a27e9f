//! The second half of a run: Adjust, and the demonstrations.

use convrec_catalog::YEAR_TOLERANCE;
use convrec_core::{Demonstration, Example, Item, ItemId};
use itertools::Itertools;

use super::score::addition;
use super::scored::{Counts, Row};
use super::{Pipeline, PipelineError, PipelineOutput, Progress, Scored, Steps};
use crate::demonstration::demonstration_within;
use crate::score::map_rows;
use crate::{Adjust, AdjustError, FactoredScores, Fit, FitStep, demonstration, fit};

impl Pipeline<'_> {
    /// Runs all steps: [`score`](Self::score) and [`adjust`](Self::adjust).
    ///
    /// # Errors
    /// [`PipelineError`] of the steps.
    pub fn run(
        &self,
        examples: &[Example],
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<PipelineOutput, PipelineError> {
        Ok(self.adjust(&self.score(examples, progress)?, &|_| ())?)
    }

    /// Runs [`fit`](Self::fit) where Adjust is on, and [`finish`](Self::finish) on the same
    /// conversations.
    ///
    /// # Errors
    /// [`AdjustError`] of [`fit`](Self::fit).
    pub fn adjust(
        &self,
        scored: &Scored<'_>,
        progress: &dyn Fn(FitStep),
    ) -> Result<PipelineOutput, AdjustError> {
        let fit = if self.config.adjust {
            Some(self.fit(scored, progress)?)
        } else {
            None
        };
        let output = self.finish(scored, fit.as_ref().map(|fit| &fit.adjust));
        Ok(PipelineOutput { fit, ..output })
    }

    /// Fits Adjust to the answered conversations that have ground truth in the catalog. `progress`
    /// is told every step.
    ///
    /// # Errors
    /// [`AdjustError::Data`] when there is no ground truth, [`AdjustError::NotConverged`] when the
    /// fit does not converge.
    pub fn fit(&self, scored: &Scored<'_>, progress: &dyn Fn(FitStep)) -> Result<Fit, AdjustError> {
        let ids = |row: &Row| -> Vec<ItemId> {
            let right = &scored.examples[row.example].ground_truth;
            right
                .iter()
                .filter_map(|item| self.catalog.find_within(item, YEAR_TOLERANCE))
                .unique()
                .collect()
        };
        let (rows, ground_truth): (Vec<usize>, Vec<Vec<ItemId>>) = scored
            .rows
            .iter()
            .map(ids)
            .enumerate()
            .filter(|(_, items)| !items.is_empty())
            .unzip();
        let additions: Vec<_> = scored.rows.iter().map(|row| self.additions(row)).collect();
        let scores =
            FactoredScores::new(self.embeddings(), scored.queries.view(), &additions).select(rows);
        fit(&scores, &ground_truth, &self.config.fit, progress)
    }

    /// Applies an adjustment (or none) and takes the best unseen items of each conversation.
    ///
    /// The conversations need not be those that the adjustment was fitted to.
    ///
    /// # Panics
    /// When the adjustment belongs to another catalog.
    pub fn finish(&self, scored: &Scored<'_>, adjust: Option<&Adjust>) -> PipelineOutput {
        let lists = match adjust {
            None => scored.rows.iter().map(|row| row.reflect.clone()).collect(),
            Some(adjust) => self.adjusted(scored, adjust),
        };
        let demonstration_of = |(row, list): (&Row, &Vec<ItemId>)| {
            let list: Vec<Item> = list.iter().map(|&item| self.catalog[item].item()).collect();
            (!list.is_empty()).then(|| Demonstration {
                example: scored.examples[row.example].clone(),
                list,
            })
        };
        let demonstrations: Vec<_> = scored
            .rows
            .iter()
            .zip(&lists)
            .filter_map(demonstration_of)
            .collect();
        let steps = scored.rows.iter().zip(lists).map(|(row, adjust)| Steps {
            example: row.example,
            teacher: row.teacher.clone(),
            remap: row.remap.clone(),
            reflect: row.reflect.clone(),
            adjust,
        });
        let counts = Counts {
            demonstrations: demonstrations.len(),
            ..scored.counts()
        };
        PipelineOutput {
            steps: steps.collect(),
            fit: None,
            failures: scored.failures.clone(),
            counts,
            demonstrations,
        }
    }

    /// The lists after Adjust.
    fn adjusted(&self, scored: &Scored<'_>, adjust: &Adjust) -> Vec<Vec<ItemId>> {
        let additions: Vec<_> = scored.rows.iter().map(|row| self.additions(row)).collect();
        let scores = FactoredScores::new(self.embeddings(), scored.queries.view(), &additions);
        map_rows(&scores, |row, scores| {
            let row = &scored.rows[row];
            let mut scores: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
            adjust.apply(&mut scores);
            if self.items.is_some() {
                return demonstration(&scores, self.config.n, &row.seen);
            }
            let named: Vec<ItemId> = row.exact.iter().map(|(item, _)| *item).sorted().collect();
            demonstration_within(&scores, self.config.n, &row.seen, &named)
        })
    }

    /// The exact matches and ratings of a row, which are added to E q.
    fn additions(&self, row: &Row) -> Vec<(ItemId, f32)> {
        let ratings = row
            .ratings
            .iter()
            .map(|&(item, rating)| (item, addition(rating, self.config.gamma)));
        row.exact.iter().copied().chain(ratings).collect()
    }
}
