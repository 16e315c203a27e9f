//! The loops over the tokens of one row that the compiler turns into vector instructions.
//!
//! Every operation is one of IEEE 754 in a fixed order, and none is fused. All processors therefore
//! give the same bits, whatever the width of their vectors.

use crate::KlEstimator;
use crate::terms::{MAX_LOG_RATIO, Range, ppo};

/// The numbers of a row's tokens that count, in f64. All tables are as long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes {
    pub log_prob: Vec<f64>,
    pub advantage: Vec<f64>,
    /// The log ratio of each token.
    pub log_ratio: Vec<f64>,
    /// The importance ratio of the segment of each token.
    pub ratio: Vec<f64>,
    /// The weight of each token in the policy loss, and in the KL with beta.
    pub weight: Vec<f64>,
    pub kl_weight: Vec<f64>,
    pub ref_log_prob: Vec<f64>,
    /// The loss of each token, with its weight.
    loss: Vec<f64>,
    /// The KL of each token, without its weight.
    kl: Vec<f64>,
    /// The derivative of the loss by the token's own log-probability.
    pub direct: Vec<f64>,
    /// The derivative of the loss by the log ratio of the token's segment.
    pub by_log_ratio: Vec<f64>,
}

/// What a row adds to the sums of its batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Totals {
    pub loss: f64,
    pub kl: f64,
    pub ratio_sum: f64,
    pub ratio_min: f64,
    pub ratio_max: f64,
    /// The tokens that were clipped from below and from above.
    pub low: usize,
    pub high: usize,
    /// Whether no ratio was so large that it counts as another one.
    pub in_bounds: bool,
}

impl Lanes {
    /// Computes losses and derivatives of the tokens. `by_token` says that ratios are still to be
    /// computed, from the log ratio of each token by itself.
    #[inline(always)]
    pub(crate) fn run(&mut self, range: Range, kl: Option<KlEstimator>, by_token: bool) -> Totals {
        let n = self.log_prob.len();
        for table in [&mut self.loss, &mut self.by_log_ratio] {
            table.resize(n, 0.0); // all of it is computed anew
        }
        for table in [&mut self.kl, &mut self.direct] {
            table.clear();
            table.resize(n, 0.0);
        }
        let mut in_bounds = true;
        if by_token {
            in_bounds &= largest(&self.log_ratio) <= MAX_LOG_RATIO;
            self.ratio.resize(n, 0.0);
            for (ratio, log) in self.ratio.iter_mut().zip(&self.log_ratio) {
                *ratio = exp(*log);
            }
        }
        let (low, high) = surrogate(self, range);
        if let Some(estimator) = kl {
            in_bounds &= penalty(self, estimator) <= MAX_LOG_RATIO;
        }
        Totals {
            loss: sum(&self.loss),
            kl: sum(&self.kl),
            ratio_sum: sum(&self.ratio),
            ratio_min: -largest_of(&self.ratio, |x| -x),
            ratio_max: largest(&self.ratio),
            low,
            high,
            in_bounds,
        }
    }
}

/// The policy loss of each token with its derivative, as `Clip::term` has them. Returns the numbers
/// of tokens that were clipped from below and from above.
#[inline(always)]
fn surrogate(lanes: &mut Lanes, range: Range) -> (usize, usize) {
    let (mut low, mut high) = (0_u64, 0_u64);
    let given = lanes.ratio.iter().zip(&lanes.advantage).zip(&lanes.weight);
    let found = lanes.loss.iter_mut().zip(&mut lanes.by_log_ratio);
    for (((&ratio, &advantage), &weight), (loss, by_log_ratio)) in given.zip(found) {
        let (value, slope) = ppo(ratio, ratio, advantage, range);
        *loss = -value * weight;
        *by_log_ratio = -slope * weight;
        let capped = range.capped(ratio);
        low += u64::from((capped < range.lowest) & (advantage < 0.0));
        high += u64::from((capped > range.highest) & (advantage > 0.0));
    }
    (low as usize, high as usize)
}

/// Adds the KL of each token, as `Kl::term` has it. Returns the largest
/// `log pi_ref - log pi_new` that was the exponent of a power.
#[inline(always)]
fn penalty(lanes: &mut Lanes, estimator: KlEstimator) -> f64 {
    let given = lanes.log_prob.iter().zip(&lanes.ref_log_prob);
    let given = given.zip(&lanes.kl_weight);
    let found = lanes.loss.iter_mut().zip(&mut lanes.kl);
    let found = found.zip(&mut lanes.direct);
    match estimator {
        KlEstimator::K1 => {
            for (((log_prob, reference), weight), ((loss, kl), direct)) in given.zip(found) {
                *kl = log_prob - reference;
                *loss += *kl * weight;
                *direct = *weight;
            }
            f64::NEG_INFINITY
        }
        KlEstimator::K3 => {
            for (((log_prob, reference), weight), ((loss, kl), direct)) in given.zip(found) {
                let d = reference - log_prob;
                let growth = exp_m1(d);
                *kl = growth - d;
                *loss += *kl * weight;
                *direct = -growth * weight;
            }
            largest_difference(&lanes.ref_log_prob, &lanes.log_prob)
        }
    }
}

#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The width of sums and maxima: as many parts are collected side by side.
const WIDTH: usize = 8;

/// The sum, in a fixed order.
#[inline(always)]
fn sum(values: &[f64]) -> f64 {
    let mut parts = [0.0; WIDTH];
    let (chunks, rest) = values.as_chunks::<WIDTH>();
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part += value;
        }
    }
    for (part, value) in parts.iter_mut().zip(rest) {
        *part += value;
    }
    parts.iter().sum()
}

#[inline(always)]
fn largest(values: &[f64]) -> f64 {
    largest_of(values, |x| x)
}

#[inline(always)]
fn largest_of(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    let mut parts = [f64::NEG_INFINITY; WIDTH];
    let (chunks, rest) = values.as_chunks::<WIDTH>();
    for chunk in chunks {
        for (part, value) in parts.iter_mut().zip(chunk) {
            *part = larger(*part, of(*value));
        }
    }
    for (part, value) in parts.iter_mut().zip(rest) {
        *part = larger(*part, of(*value));
    }
    parts.into_iter().fold(f64::NEG_INFINITY, larger)
}

/// The largest `a - b`.
#[inline(always)]
fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    let mut parts = [f64::NEG_INFINITY; WIDTH];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<WIDTH>(), b.as_chunks::<WIDTH>());
    for (a, b) in a.iter().zip(b) {
        for (part, (a, b)) in parts.iter_mut().zip(a.iter().zip(b)) {
            *part = larger(*part, a - b);
        }
    }
    for (part, (a, b)) in parts.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *part = larger(*part, a - b);
    }
    parts.into_iter().fold(f64::NEG_INFINITY, larger)
}

/// `e^x` to rounding, for x from -708 to 709.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    let (power, rest) = split(x);
    power + power * rest
}

/// `e^x - 1` to rounding, for x from -708 to 709.
#[inline(always)]
fn exp_m1(x: f64) -> f64 {
    let (power, rest) = split(x);
    power * rest + (power - 1.0)
}

/// `2^k` and `e^r - 1` with `x = k ln 2 + r`, and r at most half of ln 2 in size.
#[inline(always)]
fn split(x: f64) -> (f64, f64) {
    // Adding this rounds a small number to an integer, which then is in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
    // ln 2 in two parts. The first has trailing zeros, so that its product with k is exact.
    const LN_2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
    const LN_2_LOW: f64 = f64::from_bits(0x3DEA_39EF_3579_3C76);
    /// 1 / n! from n = 13 down to 2: the next term of the series is below 5e-18.
    const SERIES: [f64; 12] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
    ];
    let x = if x < -708.0 { -708.0 } else { x };
    let x = if x > 709.0 { 709.0 } else { x };
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let mut tail = SERIES[0];
    for factor in &SERIES[1..] {
        tail = tail * r + factor;
    }
    let rest = r + r * r * tail;
    let power = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    (power, rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectors::{Work, widest};

    struct Run<'a>(&'a mut Lanes, Range);

    impl Work for Run<'_> {
        type Output = Totals;

        #[inline(always)]
        fn run(self) -> Totals {
            self.0.run(self.1, Some(KlEstimator::K3), true)
        }
    }

    /// The log-probability, advantage, log ratio and reference of a token.
    type Token = (f64, f64, f64, f64);

    proptest! {
        #[test]
        fn powers_are_those_of_the_standard_library(
            x in -700.0_f64..700.0,
            small in -1.0_f64..1.0,
        ) {
            for x in [x, small, small * 1e-3, small * 1e-9] {
                prop_assert!((exp(x) / x.exp() - 1.0).abs() < 5e-16, "exp {x}");
                let expected = x.exp_m1();
                let near = (exp_m1(x) - expected).abs() <= 5e-16 * expected.abs();
                prop_assert!(near || expected == 0.0, "exp_m1 {x}: {}", exp_m1(x));
            }
        }

        #[test]
        fn wide_vectors_change_no_bit(
            tokens in prop::collection::vec(
                (-3.0_f64..0.0, -2.0_f64..2.0, -1.0_f64..1.0, -4.0_f64..0.0), 1..40),
            delta in prop::option::of(1.0_f64..2.0),
        ) {
            let column = |of: &dyn Fn(&Token) -> f64| -> Vec<f64> {
                tokens.iter().map(of).collect()
            };
            let mut lanes = Lanes {
                log_prob: column(&|token| token.0),
                advantage: column(&|token| token.1),
                log_ratio: column(&|token| token.2),
                ref_log_prob: column(&|token| token.3),
                weight: column(&|_| 0.3),
                kl_weight: column(&|_| 0.1),
                ..Lanes::default()
            };
            let range = Range::new(0.2, 0.2, delta);
            let mut narrow = lanes.clone();
            let totals = widest(Run(&mut lanes, range));
            let slow = Run(&mut narrow, range).run();
            prop_assert_eq!(totals, slow);
            prop_assert_eq!(&lanes.by_log_ratio, &narrow.by_log_ratio);
            prop_assert_eq!(&lanes.direct, &narrow.direct);
        }
    }

    #[test]
    fn powers_at_the_ends() {
        assert_eq!((exp(0.0), exp_m1(0.0)), (1.0, 0.0));
        assert!(exp(-1e6) < 1e-300 && exp(-1e6) > 0.0);
        assert_eq!(exp_m1(-1e6), -1.0);
        assert!(exp(1e6).is_finite() && exp(1e6) > 1e307);
    }
}
