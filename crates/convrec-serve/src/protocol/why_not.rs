//! What else could have stood at each rank.

use std::borrow::Cow;

use convrec_policy::{Constraint, Request, Sampling, Writer, Written};
use serde_json::Value;

use super::choices::item;
use crate::asked::List;
use crate::deployment::{Deployment, Shelf};
use crate::listing::{ListConstraint, Ranked};
use crate::refusal::Refusal;

/// Another way to go on at a rank, up to where the model chooses again.
struct Branch {
    rank: usize,
    /// The place in the list's tokens where it leaves it.
    leaves: usize,
    tokens: Vec<u32>,
    /// Of the tokens of its item so far.
    log_prob: f64,
    constraint: ListConstraint,
}

/// For each rank the items that the `n` likeliest other branches lead to, with the probabilities of
/// these items. A branch that several items share is followed to the most likely of them.
pub(super) async fn alternatives(
    deployment: &Deployment,
    shelf: &Shelf,
    list: &List,
    written: &Written,
    n: usize,
    request: &(dyn Fn(Vec<u32>, ListConstraint) -> Request<'static> + Sync),
) -> Result<Vec<Vec<Value>>, Refusal> {
    let Some(constraint) = &list.constraint else {
        return Ok(vec![]);
    };
    let mut branches = branches(constraint, written, n);
    let mut parts = vec![];
    let mut asked = vec![];
    for (place, branch) in branches.iter().enumerate() {
        if branch.constraint.allowed().is_empty() {
            continue;
        }
        let before = &written.completion.tokens[..branch.leaves];
        let prompt = [&list.sample.prompt, before, &branch.tokens].concat();
        parts.push(request(prompt, branch.constraint.clone()));
        asked.push(place);
    }
    let found = match parts.is_empty() {
        true => vec![],
        false => deployment.write(parts).await?,
    };
    for (place, written) in asked.into_iter().zip(found) {
        let Some(written) = written.first() else {
            continue;
        };
        let branch = &mut branches[place];
        let completion = &written.completion;
        for token in &completion.tokens {
            branch.constraint.push(*token);
        }
        branch.log_prob += completion
            .log_probs
            .iter()
            .map(|p| f64::from(*p))
            .sum::<f64>();
    }
    let mut ranks: Vec<Vec<Value>> = vec![vec![]; list.n];
    for branch in branches {
        let Some(id) = branch.constraint.cursor.items().get(branch.rank) else {
            continue;
        };
        let ranked = Ranked {
            id: *id,
            log_prob: branch.log_prob,
            first: branch.leaves,
        };
        ranks[branch.rank].push(item(shelf, branch.rank + 1, &ranked));
    }
    for rank in &mut ranks {
        rank.sort_by(|a, b| score(b).total_cmp(&score(a)));
    }
    Ok(ranks)
}

fn score(item: &Value) -> f64 {
    item["score"].as_f64().unwrap_or(0.0)
}

/// The likeliest branches of each rank.
fn branches(constraint: &ListConstraint, written: &Written, n: usize) -> Vec<Branch> {
    let completion = &written.completion;
    let mut all = vec![];
    let mut here = constraint.clone();
    let mut log_prob = 0.0;
    let mut of_rank: Vec<Branch> = vec![];
    for (t, token) in completion.tokens.iter().enumerate() {
        let rank = here.cursor.items().len();
        for (other, p) in written.top.get(t).into_iter().flatten() {
            if other != token && here.cursor.is_allowed(*other) && p.is_finite() {
                of_rank.push(branch(&here, rank, t, *other, log_prob + f64::from(*p)));
            }
        }
        if !here.cursor.is_allowed(*token) {
            break;
        }
        here.push(*token);
        log_prob += f64::from(completion.log_probs[t]);
        if here.cursor.items().len() > rank {
            of_rank.sort_by(|a, b| b.log_prob.total_cmp(&a.log_prob));
            of_rank.truncate(n);
            all.append(&mut of_rank);
            log_prob = 0.0;
        }
    }
    all
}

fn branch(here: &ListConstraint, rank: usize, leaves: usize, token: u32, log_prob: f64) -> Branch {
    let mut constraint = here.clone().one_more();
    let mut tokens = vec![token];
    constraint.push(token);
    while let [only] = *constraint.allowed() {
        constraint.push(only);
        tokens.push(only);
    }
    Branch {
        rank,
        leaves,
        tokens,
        log_prob,
        constraint,
    }
}

/// A request for the most likely end of an item.
pub(super) fn end_of_item(
    prompt: Vec<u32>,
    constraint: ListConstraint,
    longest: usize,
    end_token: u32,
    client: u64,
    deadline: std::time::Instant,
) -> Request<'static> {
    Request {
        prompt: Cow::Owned(prompt),
        sampling: Sampling::greedy(),
        max_new_tokens: longest.max(1),
        end_token,
        writers: vec![Writer::new(0, 0).within(constraint)],
        search: None,
        top: 0,
        client,
        deadline: Some(deadline),
    }
}
