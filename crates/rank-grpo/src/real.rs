//! The two element types that the loss reads and writes.

/// A floating-point number that the loss can read and write: `f32` or `f64`.
///
/// Every sum is computed in f64, for both element types. The trait is sealed.
pub trait Real: Copy + Send + Sync + private::Sealed {
    /// The number as f64, without loss.
    fn to_f64(self) -> f64;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;

    /// Whether the loss can compute with it: it is neither NaN nor beyond 1e6 in size.
    fn is_usable(self) -> bool;
}

/// The largest number that the loss takes for a log-probability, an advantage or an entropy.
///
/// Logits of forbidden tokens are often set to -1e9 or to the lowest number there is, not to -inf.
/// A number beyond this bound is as unusable as NaN. Inside it, no product in the loss leaves the
/// range of f32.
const LARGEST: f32 = 1e6;

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

// The comparisons are false for NaN. They are made in the type itself, whose vectors are as wide as
// they can be.
impl Real for f32 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn is_usable(self) -> bool {
        self.abs() <= LARGEST
    }
}

impl Real for f64 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn is_usable(self) -> bool {
        self.abs() <= f64::from(LARGEST)
    }
}
