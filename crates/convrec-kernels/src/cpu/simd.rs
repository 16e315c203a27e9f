//! Vector code written once: AVX-512 or AVX2 where the machine has it (looked up at run time), scalar code elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Scalar, Simd, WithSimd};

static PORTABLE: AtomicBool = AtomicBool::new(false);

/// Makes all kernels of this process run their scalar code (tests compare the two).
pub fn force_portable(on: bool) {
    PORTABLE.store(on, Ordering::Relaxed);
}

/// Runs `op` with the widest vectors of this machine.
pub(crate) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    if PORTABLE.load(Ordering::Relaxed) {
        return Simd::vectorize(Scalar, op);
    }
    #[cfg(target_arch = "x86_64")]
    {
        use pulp::x86::{V3, V4};
        if let Some(simd) = V4::try_new() {
            return Simd::vectorize(simd, op);
        }
        if let Some(simd) = V3::try_new() {
            return Simd::vectorize(simd, op);
        }
    }
    pulp::Arch::new().dispatch(op)
}

/// Declares a function whose body is compiled once per instruction set; `simd: S` is not a parameter for callers.
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($simd:ident: $S:ident, $($arg:ident: $type:ty),+ $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),+) $(-> $out)? {
            struct Arguments<T>(T);
            impl pulp::WithSimd for Arguments<($($type,)+)> {
                type Output = simd_fn!(@output $($out)?);

                #[inline(always)]
                fn with_simd<$S: pulp::Simd>(self, $simd: $S) -> Self::Output {
                    let ($($arg,)+) = self.0;
                    $body
                }
            }
            $crate::cpu::simd::dispatch(Arguments(($($arg,)+)))
        }
    };
    (@output) => { () };
    (@output $out:ty) => { $out };
}
pub(crate) use simd_fn;

/// e^x to 1e-7 relative, by Cephes' polynomial on `x - n ln 2`; results below 2^-126 come out as about that.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: [f32; 2] = [0.693_359_375, -2.121_944_4e-4];
    const POLYNOMIAL: [f32; 6] =
        [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_1e-1];
    let splat = |value| simd.splat_f32s(value);
    // With `x` as the second operand a NaN stays a NaN on x86.
    let x = simd.min_f32s(splat(88.0), simd.max_f32s(splat(-87.0), x));
    let rounded = simd.mul_add_e_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(rounded, splat(ROUND));
    let r = simd.mul_add_e_f32s(n, splat(-LN_2[0]), x);
    let r = simd.mul_add_e_f32s(n, splat(-LN_2[1]), r);
    let mut p = splat(POLYNOMIAL[0]);
    for c in &POLYNOMIAL[1..] {
        p = simd.mul_add_e_f32s(p, r, splat(*c));
    }
    let p = simd.add_f32s(simd.mul_add_e_f32s(simd.mul_f32s(p, r), r, r), splat(1.0));
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    simd.mul_f32s(p, simd.transmute_f32s_u32s(simd.add_u32s(exponent, simd.splat_u32s(127 << 23))))
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    simd.div_f32s(one, simd.add_f32s(one, exp(simd, simd.neg_f32s(x))))
}

/// The vectors of a slice, the last one filled up with zeros.
#[inline(always)]
pub(crate) fn vectors<S: Simd>(simd: S, values: &[f32]) -> impl Iterator<Item = S::f32s> {
    let (whole, rest) = S::as_simd_f32s(values);
    let rest = (!rest.is_empty()).then(|| simd.partial_load_f32s(rest));
    whole.iter().copied().chain(rest)
}

simd_fn! {
    /// The sum of products of two slices of one length.
    pub(crate) fn dot(simd: S, a: &[f32], b: &[f32]) -> f32 {
        let mut sum = simd.splat_f32s(0.0);
        for (a, b) in vectors(simd, a).zip(vectors(simd, b)) {
            sum = simd.mul_add_e_f32s(a, b, sum);
        }
        simd.reduce_sum_f32s(sum)
    }
}

/// Writes vectors one after the other until `out` is full.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, out: &mut [f32], mut values: impl Iterator<Item = S::f32s>) {
    let (whole, rest) = S::as_mut_simd_f32s(out);
    for (out, value) in whole.iter_mut().zip(&mut values) {
        *out = value;
    }
    if let (false, Some(value)) = (rest.is_empty(), values.next()) {
        simd.partial_store_f32s(rest, value);
    }
}

/// Adds vectors one after the other to `out` until its end.
#[inline(always)]
pub(crate) fn add<S: Simd>(simd: S, out: &mut [f32], mut values: impl Iterator<Item = S::f32s>) {
    let (whole, rest) = S::as_mut_simd_f32s(out);
    for (out, value) in whole.iter_mut().zip(&mut values) {
        *out = simd.add_f32s(*out, value);
    }
    if let (false, Some(value)) = (rest.is_empty(), values.next()) {
        let sum = simd.add_f32s(simd.partial_load_f32s(rest), value);
        simd.partial_store_f32s(rest, sum);
    }
}
