//! The weights of the features, by conditional logit: exp(score) of each candidate against 1 for
//! "none of them".

use convrec_catalog::{Features, FuzzyIndex, N_FEATURES};

use crate::queries::QuerySet;

/// The strength of the penalty on weights, so that a feature that never misleads has a finite
/// weight.
const RIDGE: f64 = 1.0;
const STEPS: usize = 30;

/// The candidates of a name, and which of them is meant, if any.
struct Choice {
    candidates: Vec<Features>,
    answer: Option<usize>,
}

/// The maximum of the penalised likelihood, which is concave, by Newton's steps.
pub fn fit(sets: &[QuerySet]) -> Features {
    let choices = choices(sets);
    let mut weights = [0.0; N_FEATURES];
    for _ in 0..STEPS {
        let mut gradient = weights.map(|weight| -RIDGE * weight);
        let mut hessian = [[0.0; N_FEATURES]; N_FEATURES];
        (0..N_FEATURES).for_each(|n| hessian[n][n] = RIDGE);
        for choice in &choices {
            let odds: Vec<f64> = choice
                .candidates
                .iter()
                .map(|features| dot(features, &weights).exp())
                .collect();
            let all = 1.0 + odds.iter().sum::<f64>();
            let mut mean = [0.0; N_FEATURES];
            for (place, features) in choice.candidates.iter().enumerate() {
                let chance = odds[place] / all;
                let surplus = f64::from(u8::from(choice.answer == Some(place))) - chance;
                for a in 0..N_FEATURES {
                    gradient[a] += surplus * features[a];
                    mean[a] += chance * features[a];
                    (0..N_FEATURES)
                        .for_each(|b| hessian[a][b] += chance * features[a] * features[b]);
                }
            }
            for a in 0..N_FEATURES {
                (0..N_FEATURES).for_each(|b| hessian[a][b] -= mean[a] * mean[b]);
            }
        }
        let step = solve(hessian, gradient);
        let longest = step
            .iter()
            .fold(0.0_f64, |longest, part| longest.max(part.abs()));
        let damped = (2.0 / longest).min(1.0);
        (0..N_FEATURES).for_each(|n| weights[n] += damped * step[n]);
    }
    weights
}

/// The training half; without names whose item is not among the candidates.
fn choices(sets: &[QuerySet]) -> Vec<Choice> {
    let mut choices = Vec::new();
    for set in sets {
        let index = FuzzyIndex::new(&set.catalog);
        for query in set.queries.iter().filter(|query| query.training) {
            let found = index.candidates(&query.name);
            let answer = found
                .iter()
                .position(|candidate| Some(candidate.id) == query.answer);
            if query.answer.is_none() || answer.is_some() {
                choices.push(Choice {
                    candidates: found.into_iter().map(|found| found.features).collect(),
                    answer,
                });
            }
        }
    }
    choices
}

fn dot(a: &Features, b: &Features) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `matrix x = values` for a symmetric matrix above 0, by elimination.
fn solve(mut matrix: [[f64; N_FEATURES]; N_FEATURES], mut values: Features) -> Features {
    for pivot in 0..N_FEATURES {
        for row in pivot + 1..N_FEATURES {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            (pivot..N_FEATURES)
                .for_each(|column| matrix[row][column] -= factor * matrix[pivot][column]);
            values[row] -= factor * values[pivot];
        }
    }
    for row in (0..N_FEATURES).rev() {
        let later: f64 = (row + 1..N_FEATURES)
            .map(|column| matrix[row][column] * values[column])
            .sum();
        values[row] = (values[row] - later) / matrix[row][row];
    }
    values
}
