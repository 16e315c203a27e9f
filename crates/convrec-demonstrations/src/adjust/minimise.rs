//! L-BFGS with the line search of Hager and Zhang, both from `basin`.
//!
//! Near the minimum, differences of function values drown in rounding long before gradients do.
//! Hager and Zhang's "approximate Wolfe conditions" then judge a step by its slope, so that the
//! gradient can reach the tolerance.

use std::cell::RefCell;
use std::convert::Infallible;

use basin::{
    CostFunction, Executor, FirstOrderState, Gradient, GradientState, HagerZhang, Lbfgs, State,
    StepOutcome, Stepper,
};

/// Pairs of steps and gradient changes that are remembered. There are many, as a pass over the
/// scores costs far more.
const MEMORY: usize = 40;
/// Function values closer than this, relative to their size, count as equal.
const VALUE_NOISE: f64 = 1e-10;

/// The point where the search stopped, or is now.
pub(super) struct End {
    pub(super) x: Vec<f64>,
    pub(super) value: f64,
    pub(super) gradient_norm: f64,
    pub(super) start_value: f64,
    pub(super) iterations: usize,
    pub(super) evaluations: usize,
}

/// Goes from `start` downhill until the gradient's norm is at most `tolerance`, no step helps, or
/// the iterations are used up. `show` gets iteration, value and norm of the gradient.
pub(super) fn minimise(
    start: Vec<f64>,
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
    tolerance: f64,
    max_iterations: usize,
    show: impl Fn(usize, f64, f64),
) -> End {
    let problem = Cached {
        function,
        evaluated: RefCell::default(),
    };
    let line_search = HagerZhang::new().with_relative_cost_relaxation_tolerance(VALUE_NOISE);
    let solver = Lbfgs::with_line_search(line_search)
        .with_m_capacity(MEMORY)
        .unbounded();
    let state = FirstOrderState::new(start);
    let mut search = done(Executor::new(&problem, solver, state).into_stepper());
    let start_value = search.state().cost();
    let (iterations, value, gradient_norm) = loop {
        let here = at(&search);
        show(here.0, here.1, here.2);
        if here.2 <= tolerance
            || here.0 >= max_iterations
            || !matches!(done(search.step()), StepOutcome::Continue)
        {
            break here;
        }
    };
    let x = search.state().param().clone();
    let evaluations = problem.evaluated.borrow().count;
    End {
        x,
        value,
        gradient_norm,
        start_value,
        iterations,
        evaluations,
    }
}

/// Iteration, value and norm of the gradient.
fn at<P, S, So>(search: &Stepper<P, S, So>) -> (usize, f64, f64)
where
    S: GradientState<Param = Vec<f64>, Float = f64> + basin::CountsMirror,
    So: basin::Solver<P, S>,
{
    let state = search.state();
    let gradient = state
        .gradient()
        .expect("evaluated at the start and at each step");
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    (state.iter() as usize, state.cost(), norm)
}

fn done<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}

/// A function that keeps its last point, as the search asks again for the end of its line search.
struct Cached<F> {
    function: F,
    evaluated: RefCell<Evaluated>,
}

#[derive(Default)]
struct Evaluated {
    x: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
    count: usize,
}

impl<F: Fn(&[f64]) -> (f64, Vec<f64>)> Cached<F> {
    fn evaluate<T>(&self, x: &[f64], read: impl Fn(&Evaluated) -> T) -> Result<T, Infallible> {
        let mut last = self.evaluated.borrow_mut();
        if last.x != x {
            let (value, gradient) = (self.function)(x);
            *last = Evaluated {
                x: x.to_vec(),
                value,
                gradient,
                count: last.count + 1,
            };
        }
        Ok(read(&last))
    }
}

impl<F: Fn(&[f64]) -> (f64, Vec<f64>)> CostFunction for &Cached<F> {
    type Param = Vec<f64>;
    type Output = f64;
    type Error = Infallible;

    fn cost(&self, x: &Vec<f64>) -> Result<f64, Infallible> {
        self.evaluate(x, |at| at.value)
    }
}

impl<F: Fn(&[f64]) -> (f64, Vec<f64>)> Gradient for &Cached<F> {
    type Gradient = Vec<f64>;

    fn gradient(&self, x: &Vec<f64>) -> Result<Vec<f64>, Infallible> {
        self.evaluate(x, |at| at.gradient.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A convex function, badly scaled and far from quadratic. Its minimum is at x_i = ln(1 / (i +
    /// 1)).
    fn function(x: &[f64]) -> (f64, Vec<f64>) {
        let scale = |i: usize| 10.0_f64.powi(i as i32 % 5);
        let value = x
            .iter()
            .enumerate()
            .map(|(i, x)| scale(i) * (x.exp() * (i + 1) as f64 - x))
            .sum();
        (
            value,
            x.iter()
                .enumerate()
                .map(|(i, x)| scale(i) * (x.exp() * (i + 1) as f64 - 1.0))
                .collect(),
        )
    }

    #[test]
    fn every_start_leads_to_the_one_minimum() {
        for start in [-6.0, 0.0, 3.0] {
            let end = minimise(vec![start; 12], function, 1e-8, 500, |_, _, _| ());
            assert!(
                end.gradient_norm <= 1e-8,
                "{start}: {:e}",
                end.gradient_norm
            );
            assert_eq!(end.start_value, function(&[start; 12]).0);
            for (i, x) in end.x.iter().enumerate() {
                assert!(
                    (x + ((i + 1) as f64).ln()).abs() < 1e-8,
                    "{start}: x[{i}] = {x}"
                );
            }
        }
    }

    #[test]
    fn it_stops_where_nothing_helps() {
        let stop = |function: fn(&[f64]) -> (f64, Vec<f64>)| {
            minimise(vec![1.0], function, 1e-8, 500, |_, _, _| ()).iterations
        };
        // The gradient is wrong, so no step goes down.
        assert_eq!(stop(|x| (x[0], vec![-1.0])), 0);
        assert_eq!(stop(|_| (f64::NAN, vec![f64::NAN])), 0);
        let end = minimise(vec![0.0; 12], function, 0.0, 3, |_, _, _| ());
        assert!(end.iterations == 3 && end.evaluations >= 4);
    }
}
