//! The paper's claims, with their evidence.

use convrec_metrics::stats::Error;
use convrec_metrics::{JudgedList, Measure};
use convrec_train::Record;
use quickstart::{HEAD, N};
use serde::Serialize;

use crate::evidence::{Evidence, mean};
use crate::results::{Lists, Results, Runs, hits, number, relevance};
use crate::variants::{ALL_STEPS, named};
use crate::verdict::{Expected, Verdict, verdict};

/// A claim with its evidence.
#[derive(Debug, Clone, Serialize)]
pub struct Claim {
    /// The claim.
    pub text: String,
    /// The compared variants and the measure.
    pub difference: String,
    /// The claim about the difference.
    pub expected: Expected,
    /// The difference; none where a variant was not run.
    pub evidence: Option<Evidence>,
    /// The verdict on the claim.
    pub verdict: Verdict,
}

impl Claim {
    fn new(text: &str, difference: String, expected: Expected, evidence: Option<Evidence>) -> Self {
        let verdict = verdict(expected, evidence.as_ref());
        Self {
            text: text.into(),
            difference,
            expected,
            evidence,
            verdict,
        }
    }
}

type Value<'a> = (&'a str, &'a dyn Fn(&JudgedList) -> f64);

/// A claim about two variants' constrained lists.
fn pair(
    results: &Results,
    text: &str,
    [first, second]: [&str; 2],
    (what, of): Value<'_>,
    expected: Expected,
) -> Result<Claim, Error> {
    let evidence = match (results.variant(first), results.variant(second)) {
        (Some(first), Some(second)) => Some(first.less(second, Lists::Constrained, of)?),
        _ => None,
    };
    Ok(Claim::new(
        text,
        format!("{first} - {second}, {what}"),
        expected,
        evidence,
    ))
}

fn ndcg(list: &JudgedList) -> f64 {
    Measure::Ndcg(N).of(list)
}

/// Recall@10 without what Recall@5 has already.
fn late_recall(list: &JudgedList) -> f64 {
    Measure::Recall(N).of(list) - Measure::Recall(5).of(list)
}

/// The paper's claims about the algorithms.
///
/// # Errors
/// When there are fewer than two test conversations.
pub fn algorithms(results: &Results) -> Result<Vec<Claim>, Error> {
    use Expected::{Above, NotBelow, Open};
    let (at_10, late): (Value<'_>, Value<'_>) =
        (("NDCG@10", &ndcg), ("Recall@10 - Recall@5", &late_recall));
    let tail: Value<'_> = ("hits at ranks 4-10", &|list| hits(list, HEAD..N));
    let (ours, grows) = ("Rank-GRPO exp_inf", "(c) its gain grows with the rank");
    let better = "(b) Rank-GRPO is better than GRPO";
    let no_worse = "(d) exp_inf is no worse than other rewards";
    let mut claims = Vec::new();
    for mu in [1, 2] {
        let pairs = [
            ("(a) RL improves on SFT", ours, "SFT", at_10, Above),
            ("(a) RL improves on SFT", "GRPO", "SFT", at_10, Above),
            (better, ours, "GRPO", at_10, Above),
            (grows, ours, "GRPO", late, Above),
            (grows, ours, "GRPO", tail, Above),
            (no_worse, ours, "Rank-GRPO log_decay", at_10, NotBelow),
            (no_worse, ours, "Rank-GRPO exp_gamma(2)", at_10, NotBelow),
        ];
        for (text, first, second, value, expected) in pairs {
            let second = if second == "SFT" {
                second.into()
            } else {
                named(second, mu)
            };
            claims.push(pair(
                results,
                text,
                [&named(first, mu), &second],
                value,
                expected,
            )?);
        }
        let variants = [&*named(ours, mu), &*named("GRPO", mu)];
        claims.push(sampled(
            results,
            better,
            variants,
            "DCG@10 of the last rollouts",
            &|record| number(record, "dcg"),
        ));
        let what = "relevance of the last rollouts, ranks 4-10 minus ranks 1-3";
        claims.push(sampled(results, grows, variants, what, &tail_less_head));
        claims.push(worst(results, &named("R1-zero", mu), mu)?);
    }
    // With one update of each batch the two are the same.
    let [gspo, grpo] = ["GSPO", "GRPO"].map(|name| named(name, 2));
    claims.push(pair(
        results,
        "(e) GSPO or GRPO?",
        [&gspo, &grpo],
        at_10,
        Open,
    )?);
    claims.push(stable(results)?);
    claims.sort_by(|a, b| a.text.cmp(&b.text));
    Ok(claims)
}

/// A claim about the last rollouts of two variants, which are rewarded. Its evidence is by seed
/// alone.
fn sampled(
    results: &Results,
    text: &str,
    [first, second]: [&str; 2],
    what: &str,
    of: &dyn Fn(&Record) -> Option<f64>,
) -> Claim {
    let last = |variant: &Runs| {
        variant
            .ends(of)
            .into_iter()
            .map(|[_, last]| last)
            .collect::<Vec<f64>>()
    };
    let evidence = results
        .variant(first)
        .zip(results.variant(second))
        .map(|(first, second)| {
            Evidence::of_seeds(
                last(first)
                    .iter()
                    .zip(last(second))
                    .map(|(a, b)| a - b)
                    .collect(),
            )
        });
    Claim::new(
        text,
        format!("{first} - {second}, {what}"),
        Expected::Above,
        evidence,
    )
}

/// The relevance of the ranks of the tail minus that of the head.
fn tail_less_head(record: &Record) -> Option<f64> {
    Some(relevance(record, HEAD..N)? - relevance(record, 0..HEAD)?)
}

/// Whether a variant is worse than the next worst.
fn worst(results: &Results, name: &str, mu: usize) -> Result<Claim, Error> {
    let score = |variant: &Runs| mean(&variant.values(Lists::Constrained, &ndcg).concat());
    let comparable = |variant: &&Runs| {
        variant.name == "SFT" || (variant.name.ends_with(&named("", mu)) && variant.name != name)
    };
    let others = results.variants.iter().filter(comparable);
    let next = others
        .min_by(|a, b| score(a).total_cmp(&score(b)))
        .map_or("SFT", |variant| &variant.name);
    pair(
        results,
        "(f) without SFT is worst",
        [next, name],
        ("NDCG@10", &ndcg),
        Expected::Above,
    )
}

/// Whether two updates of each batch cost nothing, and no run is lost.
fn stable(results: &Results) -> Result<Claim, Error> {
    let [one, two] = [1, 2].map(|mu| named("Rank-GRPO exp_inf", mu));
    let text = "(g) Rank-GRPO is stable with mu = 2";
    let mut claim = pair(
        results,
        text,
        [&two, &one],
        ("NDCG@10", &ndcg),
        Expected::NotBelow,
    )?;
    let lost = results.variant(&two).map_or(0, |variant| {
        variant
            .diverged()
            .iter()
            .filter(|diverged| **diverged)
            .count()
    });
    if lost > 0 {
        claim.verdict = Verdict::NotReproduced;
        claim.text += &format!(" ({lost} runs diverged)");
    }
    Ok(claim)
}

/// What the papers of the family's members say of them.
///
/// # Errors
/// When there are fewer than two test conversations.
pub fn family(results: &Results) -> Result<Vec<Claim>, Error> {
    use Expected::{Above, NotBelow};
    let claims = [
        ("Rank-GRPO is better than GRPO", "Rank-GRPO", "GRPO", Above),
        ("Rank-GRPO is better than GSPO", "Rank-GRPO", "GSPO", Above),
        ("GSPO is better than GRPO", "GSPO", "GRPO", Above),
        ("Dr.GRPO is no worse than GRPO", "Dr.GRPO", "GRPO", NotBelow),
        ("DAPO's loss is better than GRPO", "DAPO", "GRPO", Above),
        ("CISPO is better than GRPO", "CISPO", "GRPO", Above),
        ("CISPO is better than DAPO", "CISPO", "DAPO", Above),
        ("SAPO is better than GRPO", "SAPO", "GRPO", Above),
        ("SAPO is better than GSPO", "SAPO", "GSPO", Above),
        ("LUSPO is better than GSPO", "LUSPO", "GSPO", Above),
        ("VESPO is better than GRPO", "VESPO", "GRPO", Above),
        ("GOPO is better than GRPO", "GOPO", "GRPO", Above),
        (
            "a two-sided clip costs nothing",
            "two-sided clip",
            "GRPO",
            NotBelow,
        ),
        (
            "an off-policy mask costs nothing",
            "off-policy mask",
            "GRPO",
            NotBelow,
        ),
    ];
    let claim = |(text, first, second, expected)| {
        pair(results, text, [first, second], ("NDCG@10", &ndcg), expected)
    };
    claims.into_iter().map(claim).collect()
}

/// The paper's claims about the steps of Remap-Reflect-Adjust.
///
/// # Errors
/// When there are fewer than two test conversations.
pub fn demonstrations(results: &Results) -> Result<Vec<Claim>, Error> {
    let variants = ["no remap, no reflect", "no reflect", "no adjust"];
    let claim = |after: &str, variant: &str, text: &str| {
        let variants = [format!("{ALL_STEPS}{after}"), format!("{variant}{after}")];
        pair(
            results,
            text,
            [&variants[0], &variants[1]],
            ("NDCG@10", &ndcg),
            Expected::Above,
        )
    };
    let imitated = variants
        .iter()
        .map(|variant| claim("", variant, "every step is worth it, after SFT"));
    let trained = variants
        .iter()
        .map(|variant| claim(": + Rank-GRPO", variant, "and after Rank-GRPO still"));
    imitated.chain(trained).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::outcome::{Done, Hits, Judged, Outcome};
    use crate::variants::family as family_variants;
    use crate::variants::{algorithms as algorithm_variants, demonstration_steps};

    /// A variant whose lists for 40 dialogs of three seeds hit at so many ranks from the first on,
    /// and whose rollouts get better.
    fn variant(name: &str, hits: usize) -> Runs {
        let health = json!({ "valid_lines": 1.0, "in_catalog": 1.0, "duplicates": 0.0, "seen": 0.0, "length": 10.0,
            "ended": 1.0 });
        // Dialogs and seeds differ a little, in all variants alike.
        let list = |n: usize| Hits {
            hits: (0..hits + n % 2).collect(),
            relevant: N,
        };
        let done = |seed: usize| {
            let judged = Judged {
                health: serde_json::from_value(health.clone()).unwrap(),
                lists: (seed..40 + seed).map(list).collect(),
            };
            let log = [0.1, 0.3].map(|dcg| {
                let ranks: Vec<f64> = (0..N).map(|rank| dcg + (hits * rank) as f64).collect();
                serde_json::from_value(
                    json!({ "dcg": dcg * (1 + hits) as f64, "rank_relevance": ranks }),
                )
                .unwrap()
            });
            let outcome = Outcome {
                constrained: judged.clone(),
                unconstrained: judged,
                stopped: None,
            };
            Done {
                folder: "".into(),
                outcome,
                log: log.into(),
                seconds: 1.0,
                made: None,
            }
        };
        Runs {
            name: name.into(),
            done: (0..3).map(done).collect(),
        }
    }

    fn results(variants: Vec<Runs>) -> Results {
        Results {
            seeds: vec![1, 2, 3],
            variants,
            best: vec![],
        }
    }

    /// The hits of a variant, as in the paper.
    fn as_in_the_paper(name: &str) -> usize {
        match name.split(" mu=").next().unwrap() {
            "untrained" => 0,
            "R1-zero" => 1,
            "SFT" => 2,
            "GRPO" => 4,
            "Rank-GRPO exp_inf" => 7,
            "Rank-GRPO log_decay" | "Rank-GRPO exp_gamma(2)" => 6,
            _ => 5,
        }
    }

    #[test]
    fn the_papers_results_are_found_where_they_are() {
        let variants = algorithm_variants(1).variants;
        let found = results(
            variants
                .iter()
                .map(|a| variant(&a.name, as_in_the_paper(&a.name)))
                .collect(),
        );
        let claims = algorithms(&found).unwrap();
        assert_eq!(claims.len(), 22);
        for claim in &claims {
            let expected = match claim.expected {
                Expected::Open => Verdict::FirstAhead,
                _ => Verdict::Reproduced,
            };
            assert_eq!(claim.verdict, expected, "{claim:?}");
        }
    }

    #[test]
    fn the_contrary_is_found_where_it_is() {
        let variants = algorithm_variants(1).variants;
        let found = results(
            variants
                .iter()
                .map(|a| variant(&a.name, 8 - as_in_the_paper(&a.name)))
                .collect(),
        );
        let verdict_of = |letter: &str| {
            let claims = algorithms(&found).unwrap();
            let of_letter = claims
                .iter()
                .filter(|claim| claim.text.starts_with(letter))
                .map(|claim| claim.verdict);
            of_letter.collect::<Vec<_>>()
        };
        assert_eq!(verdict_of("(a)"), [Verdict::NotReproduced; 4]);
        assert_eq!(verdict_of("(b)"), [Verdict::NotReproduced; 4]);
        assert_eq!(verdict_of("(d)"), [Verdict::NotReproduced; 4]);
        assert_eq!(verdict_of("(e)"), [Verdict::SecondAhead]);
        assert_eq!(verdict_of("(f)"), [Verdict::NotReproduced; 2]);
        assert_eq!(verdict_of("(g)"), [Verdict::Reproduced]); // the same with one update and with two
    }

    #[test]
    fn a_run_that_diverges_is_not_stable_and_missing_arms_are_said() {
        let mut two = variant("Rank-GRPO exp_inf mu=2", 5);
        two.done[1].log.reverse(); // ends with a third of what it began with
        let claims = algorithms(&results(vec![variant("Rank-GRPO exp_inf mu=1", 5), two])).unwrap();
        let (stable, others) = claims.split_last().unwrap();
        assert_eq!(stable.verdict, Verdict::NotReproduced);
        assert!(stable.text.contains("1 runs diverged"));
        assert!(others.iter().all(|claim| claim.verdict == Verdict::NotRun));
    }

    #[test]
    fn the_papers_of_the_family_are_right_where_its_members_are_as_they_say() {
        let hits = |name: &str| match name {
            "GRPO" => 3,
            "GSPO" | "DAPO" => 4,
            "Rank-GRPO" => 6,
            _ => 5,
        };
        let verdicts = |of: &dyn Fn(usize) -> usize| {
            let variants = family_variants(1).variants;
            let runs = variants.iter().map(|a| variant(&a.name, of(hits(&a.name))));
            let claims = family(&results(runs.collect())).unwrap();
            claims.iter().map(|claim| claim.verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(&|hits| hits), [Verdict::Reproduced; 14]);
        assert_eq!(verdicts(&|hits| 8 - hits), [Verdict::NotReproduced; 14]);
    }

    #[test]
    fn steps_are_claimed_to_help_before_and_after() {
        let hits = |name: &str| if name.starts_with(ALL_STEPS) { 6 } else { 4 };
        let found = results(
            demonstration_steps(1)
                .variants
                .iter()
                .map(|a| variant(&a.name, hits(&a.name)))
                .collect(),
        );
        let claims = demonstrations(&found).unwrap();
        assert_eq!(
            claims.iter().map(|claim| claim.verdict).collect::<Vec<_>>(),
            [Verdict::Reproduced; 6]
        );
    }
}
