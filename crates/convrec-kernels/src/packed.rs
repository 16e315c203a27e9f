//! Weights in fewer bits, for serving.

use std::fmt;

use burn::tensor::{Device, Tensor, TensorData};

use crate::composed;

/// How a [`PackedMatrix`] holds its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackedType {
    /// The upper half of an f32: 8 bits of precision, the same range.
    Bf16,
    /// Whole numbers from -127 to 127, with a factor for each row.
    Int8,
}

/// A matrix `[out, in]` in bf16 or int8. Products with it read half or a quarter of the memory that
/// an f32 matrix takes; sums are of f32.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use convrec_kernels::{PackedMatrix, PackedType};
///
/// let device = Device::flex();
/// let weight = PackedMatrix::new(&[1.0, -2.0, 0.5, 4.0], 2, PackedType::Int8);
/// let y = weight.linear(Tensor::<2>::from_data([[1.0, 1.0]], &device));
/// let y = y.into_data().try_into_vec::<f32>()?;
/// assert!((y[0] + 1.0).abs() < 0.02 && (y[1] - 4.5).abs() < 0.04);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct PackedMatrix {
    pub(crate) rows: usize,
    pub(crate) inner: usize,
    pub(crate) data: Data,
}

#[derive(Clone, PartialEq)]
pub(crate) enum Data {
    Bf16(Vec<u16>),
    Int8 { values: Vec<i8>, scales: Vec<f32> },
}

impl PackedMatrix {
    /// Packs rows of `inner` numbers.
    ///
    /// # Panics
    /// When `inner` is 0 or does not divide the number of values.
    #[must_use]
    pub fn new(values: &[f32], inner: usize, kind: PackedType) -> Self {
        assert!(
            inner > 0 && values.len().is_multiple_of(inner),
            "{} numbers in rows of {inner}",
            values.len()
        );
        let data = match kind {
            PackedType::Bf16 => {
                let bits = |value: &f32| half::bf16::from_f32(*value).to_bits();
                Data::Bf16(values.iter().map(bits).collect())
            }
            PackedType::Int8 => {
                let rows = values.chunks_exact(inner);
                let largest = |row: &[f32]| row.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let scales: Vec<f32> = rows.clone().map(|row| largest(row) / 127.0).collect();
                let pairs = rows.zip(&scales);
                let values = pairs.flat_map(|(row, scale)| {
                    // A row of zeros has a scale of 0, and stays one.
                    let factor = if *scale > 0.0 { scale.recip() } else { 0.0 };
                    row.iter().map(move |x| (x * factor).round() as i8)
                });
                Data::Int8 {
                    values: values.collect(),
                    scales,
                }
            }
        };
        Self {
            rows: values.len() / inner,
            inner,
            data,
        }
    }

    /// `[out, in]`.
    #[must_use]
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.inner]
    }

    /// What it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.data {
            Data::Bf16(values) => 2 * values.len(),
            Data::Int8 { values, scales } => values.len() + 4 * scales.len(),
        }
    }

    /// The numbers of a row.
    fn row(&self, n: usize) -> Vec<f32> {
        let range = n * self.inner..(n + 1) * self.inner;
        match &self.data {
            Data::Bf16(values) => {
                let number = |bits: &u16| half::bf16::from_bits(*bits).to_f32();
                values[range].iter().map(number).collect()
            }
            Data::Int8 { values, scales } => {
                let number = |value: &i8| f32::from(*value) * scales[n];
                values[range].iter().map(number).collect()
            }
        }
    }

    /// Some rows, `[rows, in]`.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn select(&self, rows: impl IntoIterator<Item = usize>, device: &Device) -> Tensor<2> {
        let values: Vec<f32> = rows.into_iter().flat_map(|n| self.row(n)).collect();
        let shape = [values.len() / self.inner, self.inner];
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// `x W^T`, as [`linear`](crate::linear): `[.., in]` to `[.., out]`. There are no gradients.
    ///
    /// # Panics
    /// When the inner dimensions differ.
    #[must_use]
    pub fn linear<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let found = x.dims()[N - 1];
        let expected = self.inner;
        assert_eq!(
            found, expected,
            "rows of x have {found} elements, rows of the weight {expected}"
        );
        crate::with_rows(x, self.rows, |x| {
            #[cfg(feature = "flex")]
            if crate::flex::takes(&x) {
                let (rows, device) = (x.dims()[0], x.device());
                let y = crate::cpu::packed_linear(&host(x), self);
                return Tensor::from_data(TensorData::new(y, [rows, self.rows]), &device);
            }
            let weight = self.select(0..self.rows, &x.device());
            composed::linear(x, weight)
        })
    }

    /// Logits of part of the vocabulary, as [`logits_constrained`](crate::logits_constrained).
    ///
    /// # Panics
    /// When the shapes do not agree, or a token is not below V.
    #[must_use]
    pub fn logits_constrained(&self, hidden: Tensor<2>, allowed: &[&[u32]]) -> Tensor<1> {
        assert_eq!(
            hidden.dims(),
            [allowed.len(), self.inner],
            "the shape of the hidden states"
        );
        let device = hidden.device();
        #[cfg(feature = "flex")]
        if crate::flex::takes(&hidden) {
            let logits = crate::cpu::packed_logits(&host(hidden), self, allowed);
            let n = logits.len();
            return Tensor::from_data(TensorData::new(logits, [n]), &device);
        }
        let weight = self.select(0..self.rows, &device);
        composed::logits_constrained(hidden, weight, allowed)
    }
}

#[cfg(feature = "flex")]
fn host(x: Tensor<2>) -> Vec<f32> {
    let values = x.into_data().try_into_vec_as::<f32>();
    values.expect("the tensor holds floats")
}

impl fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.data {
            Data::Bf16(_) => PackedType::Bf16,
            Data::Int8 { .. } => PackedType::Int8,
        };
        write!(f, "PackedMatrix({} x {}, {kind:?})", self.rows, self.inner)
    }
}
