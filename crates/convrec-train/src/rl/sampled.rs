//! Completions of another sampler are checked before they are used.

use convrec_policy::{Completion, Generation, Policy};

use crate::task::{Sample, Task};

/// A sampler gave completions that it cannot have sampled from the policy and the task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SampledError {
    #[error(
        "the sampler gave {found:?} completions; expected {expected} of each of {prompts} prompts"
    )]
    Count {
        found: Vec<usize>,
        expected: usize,
        prompts: usize,
    },
    #[error("sample `{sample}`: a completion with {problem}")]
    Completion {
        sample: String,
        problem: &'static str,
    },
}

/// Checks the number of completions, and that each can have been sampled.
pub(super) fn check(
    task: &Task,
    policy: &Policy,
    batch: &[&Sample],
    completions: &[Vec<Completion>],
    generation: &Generation,
) -> Result<(), SampledError> {
    let expected = generation.group_size;
    if completions.len() != batch.len() || completions.iter().any(|group| group.len() != expected) {
        return Err(SampledError::Count {
            found: completions.iter().map(Vec::len).collect(),
            expected,
            prompts: batch.len(),
        });
    }
    for (sample, group) in batch.iter().zip(completions) {
        for completion in group {
            if let Some(problem) = problem(task, policy, sample, completion, generation) {
                return Err(SampledError::Completion {
                    sample: sample.id.clone(),
                    problem,
                });
            }
        }
    }
    Ok(())
}

/// What a completion has that it cannot have.
fn problem(
    task: &Task,
    policy: &Policy,
    sample: &Sample,
    completion: &Completion,
    generation: &Generation,
) -> Option<&'static str> {
    let (tokens, log_probs) = (&completion.tokens, &completion.log_probs);
    let longest = task.longest_list().unwrap_or(generation.max_new_tokens);
    let end = generation.end_token;
    let Some((last, before)) = tokens.split_last() else {
        return Some("no tokens");
    };
    // Rounding can lift a log-probability above 0 by a little.
    let is_log_prob = |x: &f32| (-1e6..1e-3).contains(x);
    let rules = [
        (
            tokens.len() == log_probs.len(),
            "not as many log-probabilities as tokens",
        ),
        (
            log_probs.iter().all(is_log_prob),
            "a number that is no log-probability",
        ),
        (tokens.len() <= longest, "more tokens than were asked for"),
        (
            (*last == end) == completion.ended,
            "an end that is not where its end token is",
        ),
        (!before.contains(&end), "tokens after its end token"),
        (
            tokens
                .iter()
                .all(|token| (*token as usize) < policy.config().vocab_size),
            "a token outside of the vocabulary",
        ),
    ];
    let broken = rules
        .iter()
        .find(|(holds, _)| !holds)
        .map(|(_, problem)| *problem);
    // The walk along the constraint costs most, so it comes last.
    let left = || {
        (!task.admits(sample.open(), tokens))
            .then_some("a list that the task's constraint does not allow")
    };
    broken.or_else(left)
}
