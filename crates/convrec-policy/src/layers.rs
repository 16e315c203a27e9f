//! The layers that a block is made of, in the names of Hugging Face checkpoints.

use burn::module::{Module, Param};
use burn::tensor::{DType, Int, Tensor, module::embedding};

#[derive(Module, Debug)]
pub(crate) struct Linear {
    /// `[out, in]`
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Option<Param<Tensor<1>>>,
    pub(crate) lora: Option<Lora>,
    /// Whether the product is computed in bf16. The weight may be held in another type.
    pub(crate) bf16: bool,
}

#[derive(Module, Debug)]
pub(crate) struct Embedding {
    /// `[V, D]`
    pub(crate) weight: Param<Tensor<2>>,
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
        let weight = self.weight.val();
        let y = if self.bf16 {
            convrec_kernels::linear(x.cast(DType::BF16), weight.cast(DType::BF16)).cast(DType::F32)
        } else {
            convrec_kernels::linear(x, weight)
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
        embedding(self.weight.val(), ids.unsqueeze()).squeeze_dim(0)
    }
}
