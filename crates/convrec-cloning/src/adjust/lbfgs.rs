//! L-BFGS for smooth convex functions (Nocedal and Wright, "Numerical Optimization", algorithm 7.5).
//!
//! Its line search looks at derivatives first. Near the minimum, differences of function values drown in rounding long
//! before gradients do, and a search for "sufficient decrease" then never ends; for a convex function the sign of the
//! derivative along the line tells on which side of the minimum a step lies.

use std::collections::VecDeque;

/// Pairs of steps and gradient changes that are remembered: many, as a pass over the scores costs far more than they do.
const MEMORY: usize = 40;
/// A step is good when it takes away this share of the slope along the line.
const SLOPE_LEFT: f64 = 0.9;
/// Function values closer than this, relative to their size, count as equal.
const VALUE_NOISE: f64 = 1e-12;
const MAX_TRIALS: usize = 60;

/// A point that was evaluated.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) x: Vec<f64>,
    pub(super) value: f64,
    pub(super) gradient: Vec<f64>,
}

impl Point {
    pub(super) fn gradient_norm(&self) -> f64 {
        dot(&self.gradient, &self.gradient).sqrt()
    }
}

/// Where the search stopped.
pub(super) struct End {
    pub(super) start_value: f64,
    pub(super) point: Point,
    pub(super) iterations: usize,
    pub(super) evaluations: usize,
}

/// Goes from `x` downhill until the gradient's norm is at most `tolerance`, no step helps, or the iterations are used up.
pub(super) fn minimise(
    x: Vec<f64>,
    mut function: impl FnMut(&[f64]) -> (f64, Vec<f64>),
    tolerance: f64,
    max_iterations: usize,
    step: impl Fn(usize, &Point),
) -> End {
    let mut evaluations = 0;
    let mut evaluate = |x: Vec<f64>| {
        evaluations += 1;
        let (value, gradient) = function(&x);
        Point { x, value, gradient }
    };
    let mut point = evaluate(x);
    let start_value = point.value;
    let mut memory = Memory::default();
    let mut iterations = 0;
    step(iterations, &point);
    while iterations < max_iterations && point.gradient_norm() > tolerance {
        let direction = memory.direction(&point.gradient);
        // Without curvature known, a step of unit length; with it, the full quasi-Newton step.
        let first = if memory.pairs.is_empty() { 1.0 / point.gradient_norm().max(1.0) } else { 1.0 };
        let Some(next) = line_search(&point, &direction, first, &mut evaluate) else {
            if memory.pairs.is_empty() {
                break;
            }
            memory = Memory::default();
            continue;
        };
        memory.remember(&point, &next);
        point = next;
        iterations += 1;
        step(iterations, &point);
    }
    End { start_value, point, iterations, evaluations }
}

/// A point along `direction` where the slope is clearly smaller and the value not higher.
fn line_search(
    from: &Point,
    direction: &[f64],
    first: f64,
    evaluate: &mut impl FnMut(Vec<f64>) -> Point,
) -> Option<Point> {
    let slope = dot(&from.gradient, direction);
    if slope.is_nan() || slope >= 0.0 {
        return None;
    }
    let highest = from.value + VALUE_NOISE * from.value.abs();
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, first);
    for _ in 0..MAX_TRIALS {
        let point = evaluate(from.x.iter().zip(direction).map(|(x, d)| x + step * d).collect());
        let slope_here = dot(&point.gradient, direction);
        if slope_here < SLOPE_LEFT * slope {
            low = step;
        } else if point.value <= highest && slope_here <= -SLOPE_LEFT * slope {
            return Some(point);
        } else {
            high = step;
        }
        step = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * step };
    }
    None
}

#[derive(Default)]
struct Memory {
    /// Step, change of the gradient, 1 / their product; oldest first.
    pairs: VecDeque<(Vec<f64>, Vec<f64>, f64)>,
}

impl Memory {
    fn remember(&mut self, from: &Point, to: &Point) {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
        let (s, y) = (difference(&to.x, &from.x), difference(&to.gradient, &from.gradient));
        let product = dot(&s, &y);
        // Positive for a strictly convex function, but for rounding.
        if product > 0.0 {
            self.pairs.push_back((s, y, 1.0 / product));
            if self.pairs.len() > MEMORY {
                self.pairs.pop_front();
            }
        }
    }

    /// Minus the approximate inverse Hessian times the gradient: the two-loop recursion.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for (s, y, rho) in self.pairs.iter().rev() {
            let alpha = rho * dot(s, &q);
            add(&mut q, -alpha, y);
            alphas.push(alpha);
        }
        if let Some((_, y, rho)) = self.pairs.back() {
            let scale = 1.0 / (rho * dot(y, y));
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for ((s, y, rho), alpha) in self.pairs.iter().zip(alphas.iter().rev()) {
            let beta = rho * dot(y, &q);
            add(&mut q, alpha - beta, s);
        }
        q
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Convex, badly scaled and far from quadratic; its minimum is at x_i = ln(1 / (i + 1)).
    fn function(x: &[f64]) -> (f64, Vec<f64>) {
        let scale = |i: usize| 10.0_f64.powi(i as i32 % 5);
        let value = x.iter().enumerate().map(|(i, x)| scale(i) * (x.exp() * (i + 1) as f64 - x)).sum();
        (value, x.iter().enumerate().map(|(i, x)| scale(i) * (x.exp() * (i + 1) as f64 - 1.0)).collect())
    }

    #[test]
    fn every_start_leads_to_the_one_minimum() {
        for start in [-6.0, 0.0, 3.0] {
            let end = minimise(vec![start; 12], function, 1e-8, 500, |_, _| ());
            assert!(end.point.gradient_norm() <= 1e-8, "{start}: {:e}", end.point.gradient_norm());
            assert_eq!(end.start_value, function(&[start; 12]).0);
            for (i, x) in end.point.x.iter().enumerate() {
                assert!((x + ((i + 1) as f64).ln()).abs() < 1e-8, "{start}: x[{i}] = {x}");
            }
        }
    }

    #[test]
    fn it_stops_where_nothing_helps() {
        // A gradient that lies: no step goes down.
        let end = minimise(vec![0.0], |x| (x[0], vec![-1.0]), 1e-8, 500, |_, _| ());
        assert_eq!(end.iterations, 0);
        assert_eq!(minimise(vec![1.0], |_| (f64::NAN, vec![f64::NAN]), 1e-8, 500, |_, _| ()).iterations, 0);
        assert_eq!(minimise(vec![0.0; 12], function, 0.0, 3, |_, _| ()).iterations, 3);
    }
}
