//! The paper's claims, and what was found of them.

use std::fmt;

use convrec_examples::world_experiment::{HEAD, N};
use convrec_metrics::stats::Error;
use convrec_metrics::{JudgedList, Measure};
use serde::Serialize;

use crate::arms::{ALL_STEPS, named};
use crate::evidence::{Evidence, mean};
use crate::results::{Lists, Results, Runs, hits, relevance};

/// NDCG@10 that "no worse" allows for.
pub const MARGIN: f64 = 0.01;

/// What a claim says of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// It is above 0.
    Above,
    /// It is not below 0 by more than [`MARGIN`].
    NotBelow,
    /// Nothing: it is asked which is ahead.
    Open,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both intervals say so.
    Reproduced,
    /// Both intervals say the contrary.
    NotReproduced,
    /// The intervals allow for either.
    Unclear,
    /// An arm is missing.
    NotRun,
    /// Of an open question: the first arm is ahead.
    FirstAhead,
    /// The second arm is.
    SecondAhead,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reproduced => "reproduced",
            Self::NotReproduced => "not reproduced",
            Self::Unclear => "unclear",
            Self::NotRun => "not run",
            Self::FirstAhead => "the first is ahead",
            Self::SecondAhead => "the second is ahead",
        })
    }
}

/// A claim and what was found of it.
#[derive(Debug, Clone, Serialize)]
pub struct Claim {
    /// The claim.
    pub text: String,
    /// The difference that is looked at.
    pub difference: String,
    /// What the claim says of it.
    pub expected: Expected,
    /// The difference; none where an arm was not run.
    pub evidence: Option<Evidence>,
    /// What became of the claim.
    pub verdict: Verdict,
}

/// What a difference means for a claim: the wider of its intervals must allow for one answer alone.
pub fn verdict(expected: Expected, evidence: Option<&Evidence>) -> Verdict {
    let Some(evidence) = evidence else { return Verdict::NotRun };
    let Some([low, high]) = evidence.bounds() else { return Verdict::Unclear };
    let floor = if expected == Expected::NotBelow { -MARGIN } else { 0.0 };
    match expected {
        Expected::Open if low > 0.0 => Verdict::FirstAhead,
        Expected::Open if high < 0.0 => Verdict::SecondAhead,
        Expected::Above | Expected::NotBelow if high < 0.0 => Verdict::NotReproduced,
        Expected::Above | Expected::NotBelow if low > floor => Verdict::Reproduced,
        _ => Verdict::Unclear,
    }
}

impl Claim {
    fn new(text: &str, difference: String, expected: Expected, evidence: Option<Evidence>) -> Self {
        let verdict = verdict(expected, evidence.as_ref());
        Self { text: text.into(), difference, expected, evidence, verdict }
    }
}

type Value<'a> = (&'a str, &'a dyn Fn(&JudgedList) -> f64);

/// A claim about two arms' constrained lists.
fn pair(
    results: &Results,
    text: &str,
    [first, second]: [&str; 2],
    (what, of): Value<'_>,
    expected: Expected,
) -> Result<Claim, Error> {
    let evidence = match (results.arm(first), results.arm(second)) {
        (Some(first), Some(second)) => Some(first.less(second, Lists::Constrained, of)?),
        _ => None,
    };
    Ok(Claim::new(text, format!("{first} - {second}, {what}"), expected, evidence))
}

fn ndcg(list: &JudgedList) -> f64 {
    Measure::Ndcg(N).of(list)
}

/// Recall@10 without what Recall@5 has already.
fn late_recall(list: &JudgedList) -> f64 {
    Measure::Recall(N).of(list) - Measure::Recall(5).of(list)
}

/// The paper's claims about the family.
///
/// # Errors
/// When there are fewer than two test conversations.
pub fn family(results: &Results) -> Result<Vec<Claim>, Error> {
    use Expected::{Above, NotBelow, Open};
    let (at_10, late): (Value<'_>, Value<'_>) = (("NDCG@10", &ndcg), ("Recall@10 - Recall@5", &late_recall));
    let tail: Value<'_> = ("hits at ranks 4-10", &|list| hits(list, HEAD..N));
    let (ours, grows) = ("Rank-GRPO exp_inf", "(c) its gain grows with the rank");
    let no_worse = "(d) exp_inf is no worse than other rewards";
    let mut claims = Vec::new();
    for mu in [1, 2] {
        let pairs = [
            ("(a) RL improves on SFT", ours, "SFT", at_10, Above),
            ("(a) RL improves on SFT", "GRPO", "SFT", at_10, Above),
            ("(b) Rank-GRPO is better than GRPO", ours, "GRPO", at_10, Above),
            (grows, ours, "GRPO", late, Above),
            (grows, ours, "GRPO", tail, Above),
            (no_worse, ours, "Rank-GRPO log_decay", at_10, NotBelow),
            (no_worse, ours, "Rank-GRPO exp_gamma(2)", at_10, NotBelow),
        ];
        for (text, first, second, value, expected) in pairs {
            let second = if second == "SFT" { second.into() } else { named(second, mu) };
            claims.push(pair(results, text, [&named(first, mu), &second], value, expected)?);
        }
        claims.push(in_rollouts(results, grows, &named(ours, mu), &named("GRPO", mu)));
        claims.push(worst(results, &named("R1-zero", mu), mu)?);
    }
    // With one update of each batch the two are the same.
    let [gspo, grpo] = ["GSPO", "GRPO"].map(|name| named(name, 2));
    claims.push(pair(results, "(e) GSPO or GRPO?", [&gspo, &grpo], at_10, Open)?);
    claims.push(stable(results)?);
    claims.sort_by(|a, b| a.text.cmp(&b.text));
    Ok(claims)
}

/// In what is sampled, which is what is rewarded, the tail's gain less the head's.
fn in_rollouts(results: &Results, text: &str, first: &str, second: &str) -> Claim {
    let last = |arm: &Runs, ranks: std::ops::Range<usize>| -> Vec<f64> {
        arm.ends(&|record| relevance(record, ranks.clone())).iter().map(|ends| ends[1]).collect()
    };
    let difference = |first: &Runs, second: &Runs| {
        let gain = |ranks: std::ops::Range<usize>| -> Vec<f64> {
            last(first, ranks.clone()).iter().zip(last(second, ranks)).map(|(a, b)| a - b).collect()
        };
        Evidence::of_seeds(gain(HEAD..N).iter().zip(gain(0..HEAD)).map(|(tail, head)| tail - head).collect())
    };
    let evidence = results.arm(first).zip(results.arm(second)).map(|(first, second)| difference(first, second));
    let what = "relevance of the last rollouts, ranks 4-10 less ranks 1-3";
    Claim::new(text, format!("{first} - {second}, {what}"), Expected::Above, evidence)
}

/// Whether an arm is worse than the next worst.
fn worst(results: &Results, name: &str, mu: usize) -> Result<Claim, Error> {
    let score = |arm: &Runs| mean(&arm.values(Lists::Constrained, &ndcg).concat());
    let comparable = |arm: &&Runs| arm.name == "SFT" || (arm.name.ends_with(&named("", mu)) && arm.name != name);
    let others = results.arms.iter().filter(comparable);
    let next = others.min_by(|a, b| score(a).total_cmp(&score(b))).map_or("SFT", |arm| &arm.name);
    pair(results, "(f) without SFT is worst", [next, name], ("NDCG@10", &ndcg), Expected::Above)
}

/// Whether two updates of each batch cost nothing, and no run is lost.
fn stable(results: &Results) -> Result<Claim, Error> {
    let [one, two] = [1, 2].map(|mu| named("Rank-GRPO exp_inf", mu));
    let text = "(g) Rank-GRPO is stable with mu = 2";
    let mut claim = pair(results, text, [&two, &one], ("NDCG@10", &ndcg), Expected::NotBelow)?;
    let lost = results.arm(&two).map_or(0, |arm| arm.diverged().iter().filter(|diverged| **diverged).count());
    if lost > 0 {
        claim.verdict = Verdict::NotReproduced;
        claim.text += &format!(" ({lost} runs diverged)");
    }
    Ok(claim)
}

/// The paper's claims about the steps of Remap-Reflect-Adjust.
///
/// # Errors
/// When there are fewer than two test conversations.
pub fn cloning(results: &Results) -> Result<Vec<Claim>, Error> {
    let variants = ["no remap, no reflect", "no reflect", "no adjust"];
    let claim = |after: &str, variant: &str, text: &str| {
        let arms = [format!("{ALL_STEPS}{after}"), format!("{variant}{after}")];
        pair(results, text, [&arms[0], &arms[1]], ("NDCG@10", &ndcg), Expected::Above)
    };
    let imitated = variants.iter().map(|variant| claim("", variant, "every step is worth it, after SFT"));
    let trained = variants.iter().map(|variant| claim(": + Rank-GRPO", variant, "and after Rank-GRPO still"));
    imitated.chain(trained).collect()
}
