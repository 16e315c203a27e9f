//! Helpers of the tests: operations as functions of flat tensors, their values and gradients.

#![allow(
    dead_code,
    missing_docs,
    reason = "every test file uses its own part of this"
)]

use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An operation on inputs of these sizes, each flat; it gives back a flat output.
pub struct Case<F: Fn(&[Tensor<1>]) -> Tensor<1>> {
    pub sizes: Vec<usize>,
    pub run: F,
}

/// The output of a case and the gradients of its inputs, for one random weighting of the outputs.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub value: Vec<f32>,
    pub gradients: Vec<Vec<f32>>,
}

pub fn device() -> Device {
    Device::flex().autodiff()
}

pub fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (u, v): (f32, f32) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

pub fn random(size: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..size).map(|_| normal(&mut rng)).collect()
}

pub fn flat(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let size = values.len();
    Tensor::from_data(TensorData::new(values, [size]), device)
}

/// M pseudo-random tokens of a vocabulary of V.
pub fn targets(m: usize, v: usize) -> Tensor<1, Int> {
    let targets: Vec<i64> = (0..m).map(|n| (n * 7919 + 13) as i64 % v as i64).collect();
    Tensor::from_data(TensorData::new(targets, [m]), &device())
}

/// One segment for each trunk and for each of its branches.
pub fn packing(trees: &[(usize, &[usize])]) -> convrec_kernels::Packing {
    let mut packing = convrec_kernels::Packing::default();
    for (trunk, branches) in trees {
        let trunk = packing.add(*trunk);
        for length in *branches {
            packing.branch(trunk, *length);
        }
    }
    packing
}

/// M rows of allowed tokens, ascending, of one to a dozen, the last of all V; and a target in each.
pub fn allowed(m: usize, v: usize) -> (Tensor<1, Int>, Vec<Vec<u32>>) {
    let set = |row: usize| {
        let size = if row == m - 1 {
            v
        } else {
            (1 + row * 5 % 12).min(v)
        };
        let tokens: std::collections::BTreeSet<u32> = (0..size)
            .map(|n| ((row * 31 + n * n * 7 + n) % v) as u32)
            .collect();
        if row == m - 1 {
            (0..v as u32).collect()
        } else {
            tokens.into_iter().collect::<Vec<_>>()
        }
    };
    let sets: Vec<Vec<u32>> = (0..m).map(set).collect();
    let targets: Vec<i64> = sets
        .iter()
        .enumerate()
        .map(|(row, set)| i64::from(set[row * 3 % set.len()]))
        .collect();
    (
        Tensor::from_data(TensorData::new(targets, [m]), &device()),
        sets,
    )
}

pub fn host(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec_as::<f32>().expect("floats")
}

impl<F: Fn(&[Tensor<1>]) -> Tensor<1>> Case<F> {
    pub fn inputs(&self) -> Vec<Vec<f32>> {
        self.sizes
            .iter()
            .enumerate()
            .map(|(n, size)| random(*size, n as u64))
            .collect()
    }

    pub fn outcome(&self) -> Outcome {
        let inputs: Vec<_> = self
            .inputs()
            .into_iter()
            .map(|values| flat(values, &device()).require_grad())
            .collect();
        let output = (self.run)(&inputs);
        let value = host(output.clone().detach());
        let gradients = self.weigh(output).backward();
        let gradient =
            |input: &Tensor<1>| host(input.grad(&gradients).expect("every input matters"));
        Outcome {
            value,
            gradients: inputs.iter().map(gradient).collect(),
        }
    }

    fn weigh(&self, output: Tensor<1>) -> Tensor<1> {
        let weights = random(output.dims()[0], 99);
        let device = output.device();
        (output * flat(weights, &device)).sum()
    }

    /// The derivative along a random direction, from the gradients and from a difference of values.
    pub fn slopes(&self, step: f32) -> [f64; 2] {
        let outcome = self.outcome();
        let directions: Vec<_> = self
            .sizes
            .iter()
            .enumerate()
            .map(|(n, size)| random(*size, 50 + n as u64))
            .collect();
        let at = |step: f32| -> f64 {
            let moved = |(input, direction): (Vec<f32>, &Vec<f32>)| {
                flat(
                    input
                        .iter()
                        .zip(direction)
                        .map(|(x, d)| x + step * d)
                        .collect(),
                    &device(),
                )
            };
            let inputs: Vec<_> = self
                .inputs()
                .into_iter()
                .zip(&directions)
                .map(moved)
                .collect();
            let output = host((self.run)(&inputs));
            output
                .iter()
                .zip(random(output.len(), 99))
                .map(|(y, w)| f64::from(*y) * f64::from(w))
                .sum()
        };
        let pairs = outcome
            .gradients
            .iter()
            .flatten()
            .zip(directions.iter().flatten());
        let analytic = pairs.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        [analytic, (at(step) - at(-step)) / (2.0 * f64::from(step))]
    }
}

/// Differences are measured against the largest expected element.
#[track_caller]
pub fn assert_close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}: sizes differ");
    let largest = expected.iter().fold(1e-3f32, |max, x| max.max(x.abs()));
    for (n, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / largest;
        assert!(
            error <= tolerance,
            "{what}, element {n}: {got} instead of {expected}, {error:e} of {largest}"
        );
    }
}

#[track_caller]
pub fn assert_agree(what: &str, got: &Outcome, expected: &Outcome, tolerance: f32) {
    assert_close(
        &format!("{what}, value"),
        &got.value,
        &expected.value,
        tolerance,
    );
    for (n, (got, expected)) in got.gradients.iter().zip(&expected.gradients).enumerate() {
        assert_close(
            &format!("{what}, gradient of input {n}"),
            got,
            expected,
            tolerance,
        );
    }
}

/// Every operation of the crate as a case, by the module that holds it (`convrec_kernels` or its
/// `composed`).
#[macro_export]
macro_rules! cases {
    ($module:ident, $kernels:path) => {
        #[allow(dead_code, reason = "every test file uses its own part of this")]
        mod $module {
            use super::common::{Case, Outcome, device, flat, host, random, targets};
            use burn::tensor::Tensor;
            use $kernels as kernels;

            pub fn linear(
                m: usize,
                n: usize,
                k: usize,
            ) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let run = move |x: &[Tensor<1>]| {
                    kernels::linear(x[0].clone().reshape([m, k]), x[1].clone().reshape([n, k]))
                        .reshape([m * n])
                };
                Case {
                    sizes: vec![m * k, n * k],
                    run,
                }
            }

            pub fn rms_norm(m: usize, d: usize) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let run = move |x: &[Tensor<1>]| {
                    kernels::rms_norm(x[0].clone().reshape([1, m, d]), x[1].clone(), 1e-5)
                        .reshape([m * d])
                };
                Case {
                    sizes: vec![m * d, d],
                    run,
                }
            }

            pub fn swiglu(size: usize) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let run = |x: &[Tensor<1>]| kernels::swiglu(x[0].clone() * 3.0, x[1].clone());
                Case {
                    sizes: vec![size; 2],
                    run,
                }
            }

            /// `trees`: of each one the tokens of its trunk and of its branches.
            pub fn attention(
                trees: &[(usize, &[usize])],
                h: usize,
                hk: usize,
                d: usize,
            ) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let packing = super::common::packing(trees);
                let m = packing.tokens();
                let run = move |x: &[Tensor<1>]| {
                    let heads = |n: usize, heads| x[n].clone().reshape([m, heads, d]);
                    kernels::attention(heads(0, h), heads(1, hk), heads(2, hk), &packing)
                        .reshape([m * h * d])
                };
                Case {
                    sizes: vec![m * h * d, m * hk * d, m * hk * d],
                    run,
                }
            }

            /// As [`attention`], where a token sees itself and the `window - 1` tokens before it.
            pub fn attention_in_window(
                trees: &[(usize, &[usize])],
                window: usize,
                h: usize,
                hk: usize,
                d: usize,
            ) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let packing = super::common::packing(trees).with_window(window);
                let m = packing.tokens();
                let run = move |x: &[Tensor<1>]| {
                    let heads = |n: usize, heads| x[n].clone().reshape([m, heads, d]);
                    kernels::attention(heads(0, h), heads(1, hk), heads(2, hk), &packing)
                        .reshape([m * h * d])
                };
                Case {
                    sizes: vec![m * h * d, m * hk * d, m * hk * d],
                    run,
                }
            }

            /// Segments of these lengths; every token sees its whole segment.
            pub fn attention_both_ways(
                lengths: &[usize],
                h: usize,
                d: usize,
            ) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let mut packing = convrec_kernels::Packing::both_ways();
                lengths.iter().for_each(|length| _ = packing.add(*length));
                let m = packing.tokens();
                let run = move |x: &[Tensor<1>]| {
                    let heads = |n: usize| x[n].clone().reshape([m, h, d]);
                    kernels::attention(heads(0), heads(1), heads(2), &packing).reshape([m * h * d])
                };
                Case {
                    sizes: vec![m * h * d; 3],
                    run,
                }
            }

            /// Values alone, as the operation has no gradients.
            pub fn bias_gelu(m: usize, d: usize) -> Outcome {
                let x = flat(random(m * d, 1), &device()).reshape([m, d]) * 3.0;
                let y: Tensor<2> = kernels::bias_gelu(x, flat(random(d, 2), &device()));
                Outcome {
                    value: host(y.reshape([m * d])),
                    gradients: vec![],
                }
            }

            pub fn rotate(
                m: usize,
                h: usize,
                d: usize,
            ) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let run = move |x: &[Tensor<1>]| {
                    let angle = flat(random(m * d / 2, 7), &device()).reshape([m, d / 2]);
                    let x = x[0].clone().reshape([m, h, d]);
                    kernels::rotate(x, angle.clone().cos(), angle.sin()).reshape([m * h * d])
                };
                Case {
                    sizes: vec![m * h * d],
                    run,
                }
            }

            /// Sets of one to a dozen tokens, and one of all.
            pub fn token_log_probs_constrained(
                m: usize,
                v: usize,
                d: usize,
            ) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let run = move |x: &[Tensor<1>]| {
                    let (hidden, weight) =
                        (x[0].clone().reshape([m, d]), x[1].clone().reshape([v, d]));
                    let (targets, allowed) = super::common::allowed(m, v);
                    let prior = |tokens: &Vec<u32>| -> Vec<f32> {
                        tokens.iter().map(|t| (*t % 7) as f32 / 4.0).collect()
                    };
                    let priors: Vec<Vec<f32>> = allowed.iter().map(prior).collect();
                    let priors: Vec<&[f32]> = priors.iter().map(Vec::as_slice).collect();
                    let allowed: Vec<&[u32]> = allowed.iter().map(Vec::as_slice).collect();
                    let (log_probs, entropies) = kernels::token_log_probs_constrained(
                        hidden, weight, targets, &allowed, &priors, 1.7,
                    );
                    Tensor::cat(vec![log_probs, entropies], 0)
                };
                Case {
                    sizes: vec![m * d, v * d],
                    run,
                }
            }

            /// The case of most losses: nothing depends on the entropies.
            pub fn token_log_probs_alone(
                m: usize,
                v: usize,
                d: usize,
            ) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let run = move |x: &[Tensor<1>]| {
                    let (hidden, weight) =
                        (x[0].clone().reshape([m, d]), x[1].clone().reshape([v, d]));
                    kernels::token_log_probs(hidden, weight, targets(m, v), 1.7).0
                };
                Case {
                    sizes: vec![m * d, v * d],
                    run,
                }
            }

            pub fn token_log_probs(
                m: usize,
                v: usize,
                d: usize,
            ) -> Case<impl Fn(&[Tensor<1>]) -> Tensor<1>> {
                let run = move |x: &[Tensor<1>]| {
                    let (hidden, weight) =
                        (x[0].clone().reshape([m, d]), x[1].clone().reshape([v, d]));
                    let (log_probs, entropies) =
                        kernels::token_log_probs(hidden, weight, targets(m, v), 1.7);
                    Tensor::cat(vec![log_probs, entropies], 0)
                };
                Case {
                    sizes: vec![m * d, v * d],
                    run,
                }
            }
        }
    };
}
