//! The layers that a block is made of, in the names of Hugging Face checkpoints.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{DType, Int, Tensor, module::embedding};
use convrec_kernels::PackedMatrix;

#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[out, in]`
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
    pub(crate) lora: Option<Lora>,
    /// Whether the product is computed in bf16. The weight may be held in another type.
    pub(crate) bf16: bool,
    /// In place of the weight, where the policy is only for serving.
    #[module(skip)]
    pub(crate) packed: Option<Arc<PackedMatrix>>,
}

#[derive(Module, Debug)]
pub(crate) struct Embedding {
    /// `[V, D]`
    pub(crate) weight: Param<Tensor<2>>,
    /// In place of the weight, where the policy is only for serving.
    #[module(skip)]
    pub(crate) packed: Option<Arc<PackedMatrix>>,
}

#[derive(Module, Debug)]
pub(crate) struct RmsNorm {
    /// `[D]`
    pub(crate) weight: Param<Tensor<1>>,
    pub(crate) epsilon: f64,
    /// Multiplies by 1 + weight instead of the weight, as Gemma does.
    pub(crate) offset: bool,
}

/// The two matrices beside a weight.
#[derive(Module, Debug)]
pub(crate) struct Lora {
    /// A, `[r, in]`
    pub(crate) a: Param<Tensor<2>>,
    /// B, `[out, r]`
    pub(crate) b: Param<Tensor<2>>,
    pub(crate) scale: f64,
    /// The alpha of the scale, for files.
    pub(crate) alpha: f64,
}

impl Lora {
    /// The term that is added to the projection of x: `[.., in]` to `[.., out]`.
    pub(crate) fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let inner = convrec_kernels::linear(x, self.a.val());
        convrec_kernels::linear(inner, self.b.val()).mul_scalar(self.scale)
    }

    /// The term that is added to the weight, `[out, in]`.
    pub(crate) fn product(&self) -> Tensor<2> {
        self.b.val().matmul(self.a.val()).mul_scalar(self.scale)
    }
}

impl Linear {
    pub(crate) fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let added = self.lora.as_ref().map(|lora| lora.forward(x.clone()));
        let y = if let Some(packed) = &self.packed {
            packed.linear(x)
        } else if self.bf16 {
            let weight = self.weight.val().cast(DType::BF16);
            convrec_kernels::linear(x.cast(DType::BF16), weight).cast(DType::F32)
        } else {
            convrec_kernels::linear(x, self.weight.val())
        };
        let y = match added {
            Some(added) => y + added,
            None => y,
        };
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}

impl RmsNorm {
    pub(crate) fn forward<const N: usize>(&self, x: Tensor<N>) -> Tensor<N> {
        let weight = self.weight.val();
        let weight = if self.offset { weight + 1.0 } else { weight };
        convrec_kernels::rms_norm(x, weight, self.epsilon)
    }
}

impl Embedding {
    /// ids `[M]` to `[M, D]`.
    pub(crate) fn forward(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        if let Some(packed) = &self.packed {
            let device = ids.device();
            let ids: Vec<usize> = ids
                .into_data()
                .iter::<i64>()
                .map(|id| id as usize)
                .collect();
            return packed.select(ids, &device);
        }
        embedding(self.weight.val(), ids.unsqueeze()).squeeze_dim(0)
    }
}
