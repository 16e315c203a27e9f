use burn::module::Module;
use convrec_core::{CatalogItem, Example};
use convrec_policy::{Allowed, Policy, Sequence};
use convrec_services::{Judge, Ratings, ServiceError, ratings_by_order};

use super::{check_room, sample};
use crate::task::{Sample, Task};

/// A policy that writes lists as judge. The likelier it is to recommend an item first, the better
/// is the item's rating.
///
/// A candidate's score is the log-probability of its whole line behind the prompt, its line feed
/// included. The probabilities of all items then add up to at most one, for titles of any length.
/// The score is a sum over the line's tokens. A mean would favour long titles, whose later tokens
/// can be foreseen. Under a constraint it is the probability among catalog items.
/// [`ratings_by_order`] makes ratings of the scores.
///
/// Under a constraint, candidates that are not in the catalog or were seen get no rating, as the
/// policy cannot name them.
#[derive(Debug)]
pub struct PolicyJudge {
    name: String,
    policy: Policy,
    task: Task,
}

impl PolicyJudge {
    /// `name` is for errors: the folder that the policy came from.
    pub fn new(name: impl Into<String>, policy: &Policy, task: Task) -> Self {
        Self {
            name: name.into(),
            policy: policy.valid(),
            task,
        }
    }

    /// The log-probability of each candidate as the first item, in nats; `None` where it cannot be
    /// named.
    ///
    /// All candidates are computed in one forward pass that reads the prompt once.
    ///
    /// # Errors
    /// [`ServiceError`] when the prompt cannot be written or is too long, or the policy's numbers
    /// are not finite.
    pub fn log_probs(
        &self,
        example: &Example,
        candidates: &[&CatalogItem],
    ) -> Result<Vec<Option<f32>>, ServiceError> {
        let refuse = |problem: String| ServiceError::new(&self.name, problem);
        let sample = sample(&self.task, example).map_err(|e| refuse(e.to_string()))?;
        let lines = candidates
            .iter()
            .map(|item| self.line(&sample, item))
            .collect::<Result<Vec<_>, _>>();
        let lines = lines.map_err(|e| refuse(e.to_string()))?;
        let named: Vec<&Vec<u32>> = lines.iter().flatten().collect();
        if named.is_empty() {
            return Ok(vec![None; candidates.len()]);
        }
        let longest = named.iter().map(|line| line.len()).max().unwrap_or(0);
        check_room(&self.policy, sample.prompt.len(), longest).map_err(refuse)?;
        let sums = self.sums(&sample, &named);
        if sums.iter().any(|sum| !sum.is_finite()) {
            return Err(refuse(
                "its log-probabilities are not finite; the weights have diverged".into(),
            ));
        }
        let mut sums = sums.into_iter();
        Ok(lines
            .iter()
            .map(|line| line.as_ref().and_then(|_| sums.next()))
            .collect())
    }

    /// The tokens of a candidate's line, where it can be named.
    fn line(
        &self,
        sample: &Sample,
        candidate: &CatalogItem,
    ) -> Result<Option<Vec<u32>>, convrec_text::TokenizerError> {
        let (item, prompter) = (candidate.item(), self.task.prompter());
        let can_be_named = || {
            self.task.catalog().find(&item).is_some_and(|id| {
                let candidates = sample.candidates.as_ref();
                !sample.seen.contains(&id)
                    && candidates.is_none_or(|found| found.items().contains(&id))
            })
        };
        if self.task.is_constrained() && !can_be_named() {
            return Ok(None);
        }
        match prompter.has_semantic_id(&item) {
            true => prompter.line(0, &item),
            false => prompter.tokenizer().encode(&prompter.list().line(0, &item)),
        }
        .map(Some)
    }

    /// The log-probability of each line behind the prompt.
    fn sums(&self, sample: &Sample, lines: &[&Vec<u32>]) -> Vec<f32> {
        let sequences: Vec<Sequence<'_>> = lines
            .iter()
            .map(|line| Sequence {
                prompt: &sample.prompt,
                completion: line,
            })
            .collect();
        let allowed: Option<Vec<Allowed>> = lines
            .iter()
            .map(|line| self.task.allowed(sample, line))
            .collect();
        let found = match &allowed {
            Some(allowed) => self.policy.log_probs_constrained(
                &sequences,
                &allowed.iter().collect::<Vec<_>>(),
                1.0,
            ),
            None => self.policy.log_probs(&sequences, 1.0),
        };
        let sums = found.log_probs.sum_dim(1).into_data();
        sums.try_into_vec_as::<f32>()
            .expect("log-probabilities are floats")
    }
}

impl Judge for PolicyJudge {
    fn rate(
        &self,
        example: &Example,
        candidates: &[&CatalogItem],
    ) -> Result<Ratings, ServiceError> {
        Ok(ratings_by_order(&self.log_probs(example, candidates)?))
    }
}
