//! The inner loops of Adjust, in f64. They are plain loops that are compiled for each instruction
//! set (`pulp`), so that the compiler uses the widest vectors of the machine. No operation is fused
//! or reordered, so all sets give the same bits.

use std::f64::consts::LOG2_E;

use pulp::{Simd, WithSimd};

/// Partial sums side by side; one sum would fix the order of additions and so forbid vectors.
const LANES: usize = 16;

/// Makes z = w * s + b, adds softmax(z) * s to `by_w` and softmax(z) to `by_b`, and returns log sum
/// exp(z).
///
/// # Shapes
/// All slices are `[C]`. The content of `scratch` is lost.
pub(super) fn accumulate<T: Copy + Into<f64>>(
    scores: &[T],
    w: &[f64],
    b: &[f64],
    scratch: &mut [f64],
    by_w: &mut [f64],
    by_b: &mut [f64],
) -> f64 {
    let n = scores.len();
    assert!([w.len(), b.len(), scratch.len(), by_w.len(), by_b.len()] == [n; 5]);
    pulp::Arch::new().dispatch(Accumulate {
        scores,
        w,
        b,
        z: scratch,
        by_w,
        by_b,
    })
}

struct Accumulate<'a, T> {
    scores: &'a [T],
    w: &'a [f64],
    b: &'a [f64],
    z: &'a mut [f64],
    by_w: &'a mut [f64],
    by_b: &'a mut [f64],
}

impl<T: Copy + Into<f64>> WithSimd for Accumulate<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Self {
            scores,
            w,
            b,
            z,
            by_w,
            by_b,
        } = self;
        let n = scores.len();
        for i in 0..n {
            z[i] = w[i] * scores[i].into() + b[i];
        }
        let max = max(z);
        let sum = exp_sum(z, max);
        let share = 1.0 / sum;
        for i in 0..n {
            let p = z[i] * share;
            by_w[i] += p * scores[i].into();
            by_b[i] += p;
        }
        max + sum.ln()
    }
}

#[inline(always)]
fn max(z: &[f64]) -> f64 {
    // Not `f64::max`, which is more than one instruction. A NaN may get lost here; it comes back in
    // the sum.
    let larger = |a: f64, b: f64| if b > a { b } else { a };
    let mut lanes = [f64::NEG_INFINITY; LANES];
    let (chunks, rest) = z.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    lanes
        .iter()
        .chain(rest)
        .fold(f64::NEG_INFINITY, |a, &b| larger(a, b))
}

/// Replaces z by exp(z - max), and returns the sum.
#[inline(always)]
fn exp_sum(z: &mut [f64], max: f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = z.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - max);
            lanes[lane] += chunk[lane];
        }
    }
    let mut sum = lanes.iter().sum();
    for z in rest {
        *z = exp(*z - max);
        sum += *z;
    }
    sum
}

/// exp(x) for x <= 0 to about one unit in the last place; at least exp(-700). It has no branches,
/// so that it can be a vector.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; exp(x) = 2^n exp(r), and exp(r) is its Taylor series (the
/// first term left out is below 1e-17).
#[inline(always)]
fn exp(x: f64) -> f64 {
    // ln 2 in two parts; the product of the first with a small integer is exact.
    const LN_2: [f64; 2] = [
        f64::from_bits(0x3fe6_2e42_fee0_0000),
        1.908_214_929_270_587_7e-10,
    ];
    // Added to a number, it leaves the number rounded in the lowest bits.
    const ROUND: f64 = 1.5 * (1_u64 << 52) as f64;
    const TERMS: usize = 13;
    const FACTORS: [f64; TERMS] = {
        let (mut factors, mut k) = ([1.0; TERMS], 1);
        while k < TERMS {
            factors[k] = factors[k - 1] * k as f64;
            k += 1;
        }
        k = 0;
        while k < TERMS {
            factors[k] = 1.0 / factors[k];
            k += 1;
        }
        factors
    };
    let x = if x < -700.0 { -700.0 } else { x };
    let rounded = x * LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let mut series = FACTORS[TERMS - 1];
    for k in (0..TERMS - 1).rev() {
        series = series * r + FACTORS[k];
    }
    let power = f64::from_bits((rounded.to_bits() << 52).wrapping_add(1023 << 52)); // 2^n
    series * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_that_of_the_standard_library() {
        for k in 0..200_000 {
            let x = -f64::from(k) * 0.0035;
            let (found, expected) = (exp(x), x.exp());
            assert!(
                (found / expected - 1.0).abs() < 5e-16,
                "exp({x:e}) = {found:e}, expected {expected:e}"
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f64::NEG_INFINITY) < 1e-303 && exp(f64::NAN).is_nan());
    }
}
