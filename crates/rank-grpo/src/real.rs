//! The two element types that the loss reads and writes.

/// A floating-point number that the loss can read and write: `f32` or `f64`.
///
/// Every sum is computed in f64, for both element types. The trait is sealed.
pub trait Real: Copy + private::Sealed {
    /// The number as f64, without loss.
    fn to_f64(self) -> f64;

    /// The nearest number of this type.
    fn from_f64(value: f64) -> Self;
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Real for f32 {
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    fn from_f64(value: f64) -> Self {
        value as f32
    }
}

impl Real for f64 {
    fn to_f64(self) -> f64 {
        self
    }

    fn from_f64(value: f64) -> Self {
        value
    }
}
