//! Converts between flex tensors and slices.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Shape, TensorData};

use crate::cpu::{Head, Heads};

/// The tensor with its elements in row-major order; a copy only where they are not.
pub(super) fn dense(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// The elements of a dense tensor.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("only dense f32 tensors get here")
}

/// The elements of a dense tensor to be changed, in place where nobody else holds the tensor, else
/// in a copy.
pub(super) fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    let (start, length) = (
        tensor.layout().start_offset(),
        tensor.layout().num_elements(),
    );
    &mut tensor.storage_mut()[start..start + length]
}

pub(super) fn shape(tensor: &FlexTensor) -> Shape {
    tensor.layout().shape().clone()
}

pub(super) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.into()))
}

/// A dense `[.., heads, d]`.
pub(super) fn heads(tensor: &FlexTensor) -> Heads<'_> {
    let shape = tensor.layout().shape();
    let [heads, width] = [shape[shape.num_dims() - 2], shape[shape.num_dims() - 1]];
    Heads {
        data: values(tensor),
        heads,
        width,
    }
}

/// The elements of a tensor of indices.
pub(super) fn indices(tensor: FlexTensor) -> Vec<usize> {
    let tensor = dense(tensor);
    let index = |index: i64| usize::try_from(index).expect("indices are not negative");
    match tensor.dtype() {
        DType::I32 => tensor
            .as_slice::<i32>()
            .into_iter()
            .flatten()
            .map(|i| index(i64::from(*i)))
            .collect(),
        DType::I64 => tensor
            .as_slice::<i64>()
            .into_iter()
            .flatten()
            .map(|i| index(*i))
            .collect(),
        other => panic!("indices are 32 or 64 bit integers, not {other:?}"),
    }
}

/// The arguments of `token_log_probs`, all dense.
pub(super) fn head<'a>(
    hidden: &'a FlexTensor,
    weight: &'a FlexTensor,
    targets: &'a [usize],
    temperature: f32,
) -> Head<'a> {
    let [vocabulary, width] = [shape(weight)[0], shape(weight)[1]];
    if let Some(target) = targets.iter().find(|target| **target >= vocabulary) {
        panic!("target {target} is outside of the vocabulary of {vocabulary}");
    }
    Head {
        hidden: values(hidden),
        weight: values(weight),
        targets,
        width,
        temperature,
    }
}
