//! Vector code written once: AVX-512 or AVX2 where the machine has it (looked up at run time),
//! scalar code elsewhere.
//!
//! A vector instruction is only compiled inline where every function around it is compiled for its
//! instruction set. Everything generic over [`Simd`] here is therefore `#[inline(always)]`, and has
//! no closures, which cannot be.

use std::sync::atomic::{AtomicU8, Ordering};

use pulp::{Scalar, Simd, WithSimd};

/// Which vector code to run.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(u8)]
pub enum Vectors {
    /// The widest vectors of this machine.
    Widest,
    /// At most AVX2.
    Avx2,
    /// None.
    Scalar,
}

static LIMIT: AtomicU8 = AtomicU8::new(Vectors::Widest as u8);

/// Limits the vector code of this process (tests compare the kinds).
pub fn limit_vectors(limit: Vectors) {
    LIMIT.store(limit as u8, Ordering::Relaxed);
}

/// Runs `op` with the widest vectors of this machine, up to the limit.
pub(crate) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    let limit = LIMIT.load(Ordering::Relaxed);
    if limit == Vectors::Scalar as u8 {
        return Simd::vectorize(Scalar, op);
    }
    #[cfg(target_arch = "x86_64")]
    {
        use pulp::x86::{V3, V4};
        if let (true, Some(simd)) = (limit == Vectors::Widest as u8, V4::try_new()) {
            return Simd::vectorize(simd, op);
        }
        if let Some(simd) = V3::try_new() {
            return Simd::vectorize(simd, op);
        }
    }
    pulp::Arch::new().dispatch(op)
}

/// Numbers in the widest vectors of this machine, up to the limit.
pub(crate) fn widest_lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    dispatch(Lanes)
}

/// Declares a function whose body is compiled once per instruction set; `simd: S` is not a
/// parameter for callers.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($simd:ident: $S:ident, $($arg:ident: $type:ty),+ $(,)?) $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),+) {
            struct Arguments<T>(T);
            impl pulp::WithSimd for Arguments<($($type,)+)> {
                type Output = ();

                #[inline(always)]
                fn with_simd<$S: pulp::Simd>(self, $simd: $S) {
                    let ($($arg,)+) = self.0;
                    $body
                }
            }
            $crate::cpu::simd::dispatch(Arguments(($($arg,)+)))
        }
    };
}
pub(crate) use simd_fn;

/// e^x to 1e-7 relative, by Cephes' polynomial on `x - n ln 2`; below 2^-125 it stays about there.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ];
    // With `x` as the second operand a NaN stays a NaN on x86.
    let x = simd.min_f32s(
        simd.splat_f32s(88.0),
        simd.max_f32s(simd.splat_f32s(-87.0), x),
    );
    let log2_e = simd.splat_f32s(std::f32::consts::LOG2_E);
    let rounded = simd.mul_add_e_f32s(x, log2_e, simd.splat_f32s(ROUND));
    let n = simd.sub_f32s(rounded, simd.splat_f32s(ROUND));
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2[0]), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2[1]), r);
    let mut p = simd.splat_f32s(POLYNOMIAL[0]);
    for c in &POLYNOMIAL[1..] {
        p = simd.mul_add_e_f32s(p, r, simd.splat_f32s(*c));
    }
    let p = simd.add_f32s(
        simd.mul_add_e_f32s(simd.mul_f32s(p, r), r, r),
        simd.splat_f32s(1.0),
    );
    let exponent =
        simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    simd.mul_f32s(
        p,
        simd.transmute_f32s_u32s(simd.add_u32s(exponent, simd.splat_u32s(127 << 23))),
    )
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(one, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
}

#[cfg(test)]
mod tests {
    use super::*;

    simd_fn! {
        fn exp_all(simd: S, values: &mut [f32]) {
            let (whole, rest) = S::as_mut_simd_f32s(values);
            for value in whole {
                *value = exp(simd, *value);
            }
            let last = exp(simd, simd.partial_load_f32s(rest));
            simd.partial_store_f32s(rest, last);
        }
    }

    #[test]
    fn exp_is_right_to_rounding() {
        let inputs: Vec<f32> = (-8600..8800).map(|n| n as f32 * 0.01).collect();
        let mut powers = inputs.clone();
        exp_all(&mut powers);
        for (x, power) in inputs.iter().zip(powers) {
            let expected = f64::from(*x).exp();
            let error = (f64::from(power) - expected).abs() / expected;
            assert!(error < 1.5e-7, "e^{x} is {expected}, not {power}");
        }
    }

    #[test]
    fn exp_of_what_is_out_of_range() {
        let mut values = [f32::NEG_INFINITY, -200.0, 200.0];
        exp_all(&mut values);
        assert!(
            values[0] < 1e-36 && values[1] < 1e-36 && values[2] > 1e38,
            "{values:?}"
        );
        let mut values = [f32::NAN; 16];
        exp_all(&mut values);
        assert!(values.iter().all(|value| value.is_nan()), "{values:?}");
    }
}
