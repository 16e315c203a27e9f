//! The weights under which what was accepted is most likely: multinomial logistic regression by
//! Newton's method.

use rayon::prelude::*;

/// Newton's steps at most; a handful does.
const MOST_STEPS: usize = 30;
/// The search ends when no weight moves by more.
const TOLERANCE: f64 = 1e-5;
/// Times a step is halved at most.
const HALVINGS: usize = 20;
/// Choices that are summed before sums are: the same on any number of threads.
const CHUNK: usize = 32;

/// A choice among some items.
#[derive(Debug)]
pub(crate) struct Choice {
    /// F numbers of each item, one item after the other.
    pub(crate) features: Vec<f32>,
    /// What share each item has of what was right; together 1.
    pub(crate) right: Vec<f32>,
}

/// The mean of -ln p(right), with its derivatives.
struct Value {
    loss: f64,
    gradient: Vec<f64>,
    /// Row by row, F x F.
    curvature: Vec<f64>,
}

/// The F weights w that minimise the mean over the choices of -ln p(right) + ridge |w|^2, where p
/// is the softmax of w's products with the features, each divided by its standard deviation.
pub(crate) fn fit(choices: &[Choice], n_features: usize, ridge: f64) -> Vec<f64> {
    let scales = scales(choices, n_features);
    let mut weights = vec![0.0; n_features];
    let mut value = value(choices, &scales, &weights, ridge);
    for _ in 0..MOST_STEPS {
        let step = solve(value.curvature.clone(), value.gradient.clone());
        let mut factor = 1.0;
        for _ in 0..HALVINGS {
            let moved: Vec<f64> = weights
                .iter()
                .zip(&step)
                .map(|(weight, step)| weight - factor * step)
                .collect();
            let there = self::value(choices, &scales, &moved, ridge);
            if there.loss <= value.loss {
                (weights, value) = (moved, there);
                break;
            }
            factor /= 2.0;
        }
        let largest = step.iter().map(|step| step.abs()).fold(0.0, f64::max);
        if factor * largest < TOLERANCE {
            break;
        }
    }
    weights
        .iter()
        .zip(&scales)
        .map(|(weight, scale)| weight / scale)
        .collect()
}

/// The standard deviation of each feature over all items of all choices; 1 where it is 0.
fn scales(choices: &[Choice], n_features: usize) -> Vec<f64> {
    let (mut n, mut sum, mut squares) = (0.0, vec![0.0; n_features], vec![0.0; n_features]);
    for row in choices
        .iter()
        .flat_map(|choice| choice.features.chunks(n_features))
    {
        n += 1.0;
        for (f, x) in row.iter().enumerate() {
            sum[f] += f64::from(*x);
            squares[f] += f64::from(*x) * f64::from(*x);
        }
    }
    let deviation = |(sum, squares): (&f64, &f64)| {
        let variance: f64 = squares / n - (sum / n) * (sum / n);
        if variance > 1e-12 {
            variance.sqrt()
        } else {
            1.0
        }
    };
    sum.iter().zip(&squares).map(deviation).collect()
}

fn value(choices: &[Choice], scales: &[f64], weights: &[f64], ridge: f64) -> Value {
    let f = weights.len();
    let empty = || Value {
        loss: 0.0,
        gradient: vec![0.0; f],
        curvature: vec![0.0; f * f],
    };
    let parts: Vec<Value> = choices
        .par_chunks(CHUNK)
        .map(|choices| {
            let mut sum = empty();
            choices
                .iter()
                .for_each(|choice| add(choice, scales, weights, &mut sum));
            sum
        })
        .collect();
    let mut total = empty();
    for part in &parts {
        total.loss += part.loss;
        for (sum, x) in total.gradient.iter_mut().zip(&part.gradient) {
            *sum += x;
        }
        for (sum, x) in total.curvature.iter_mut().zip(&part.curvature) {
            *sum += x;
        }
    }
    let n = choices.len().max(1) as f64;
    total.loss /= n;
    total.gradient.iter_mut().for_each(|x| *x /= n);
    total.curvature.iter_mut().for_each(|x| *x /= n);
    for (k, weight) in weights.iter().enumerate() {
        total.loss += ridge * weight * weight;
        total.gradient[k] += 2.0 * ridge * weight;
        total.curvature[k * f + k] += 2.0 * ridge;
    }
    total
}

fn add(choice: &Choice, scales: &[f64], weights: &[f64], sum: &mut Value) {
    let f = weights.len();
    let scaled: Vec<f64> = choice
        .features
        .chunks(f)
        .flat_map(|row| {
            row.iter()
                .zip(scales)
                .map(|(x, scale)| f64::from(*x) / scale)
        })
        .collect();
    let scores: Vec<f64> = scaled
        .chunks(f)
        .map(|row| row.iter().zip(weights).map(|(x, weight)| x * weight).sum())
        .collect();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let all: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
    let log_all = all.ln() + highest;
    let mut mean = vec![0.0; f];
    for ((row, score), right) in scaled.chunks(f).zip(&scores).zip(&choice.right) {
        let p = (score - log_all).exp();
        let right = f64::from(*right);
        sum.loss -= right * (score - log_all);
        for (k, x) in row.iter().enumerate() {
            mean[k] += p * x;
            sum.gradient[k] += (p - right) * x;
            for (j, y) in row[..=k].iter().enumerate() {
                sum.curvature[k * f + j] += p * x * y;
            }
        }
    }
    for k in 0..f {
        for j in 0..=k {
            sum.curvature[k * f + j] -= mean[k] * mean[j];
        }
    }
}

/// x with A x = b, A positive definite and given by its lower triangle, row by row.
fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for j in 0..n {
        let before: f64 = (0..j).map(|k| a[j * n + k] * a[j * n + k]).sum();
        a[j * n + j] = (a[j * n + j] - before).max(1e-12).sqrt();
        for i in j + 1..n {
            let before: f64 = (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum();
            a[i * n + j] = (a[i * n + j] - before) / a[j * n + j];
        }
    }
    for i in 0..n {
        let before: f64 = (0..i).map(|k| a[i * n + k] * b[k]).sum();
        b[i] = (b[i] - before) / a[i * n + i];
    }
    for i in (0..n).rev() {
        let after: f64 = (i + 1..n).map(|k| a[k * n + i] * b[k]).sum();
        b[i] = (b[i] - after) / a[i * n + i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two items and one feature: the best weight makes the share of the first that which was
    /// found. The second feature never differs and gets no weight.
    #[test]
    fn shares_are_met() {
        let choice = |right: [f32; 2]| Choice {
            features: vec![3.0, 1.0, 1.0, 1.0],
            right: right.into(),
        };
        let choices: Vec<Choice> = (0..10)
            .map(|n| choice(if n < 8 { [1.0, 0.0] } else { [0.0, 1.0] }))
            .collect();
        let weights = fit(&choices, 2, 1e-9);
        let p = 1.0 / (1.0 + (-2.0 * weights[0]).exp());
        assert!((p - 0.8).abs() < 1e-4, "{weights:?}");
        assert!(weights[1].abs() < 1e-6, "{weights:?}");
    }

    #[test]
    fn equations_are_solved() {
        let found = solve(vec![4.0, 0.0, 1.0, 3.0], vec![1.0, 2.0]);
        // 4x + y = 1, x + 3y = 2
        assert!((found[0] - 1.0 / 11.0).abs() < 1e-12 && (found[1] - 7.0 / 11.0).abs() < 1e-12);
    }
}
