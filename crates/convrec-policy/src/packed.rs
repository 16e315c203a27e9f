//! A policy with its matrices in fewer bits, for serving.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use convrec_kernels::{PackedMatrix, PackedType};

use crate::block::Block;
use crate::decoder::Policy;
use crate::layers::Linear;

impl Policy {
    /// A policy for sampling whose matrices are in bf16 or int8, adapters included. Embeddings, all
    /// projections and the output matrix are packed; norms and biases stay in f32. It computes the
    /// same to the precision of that type, takes half or a quarter of the memory, and has no
    /// gradients. It cannot be trained, and saving it is an error.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use convrec_kernels::PackedType;
    /// use convrec_policy::{Generation, ModelConfig, Policy, Sampling};
    ///
    /// let policy = Policy::new(&ModelConfig::small(64, 32, 2, 4), 3407, &Device::flex())?;
    /// let packed = policy.packed(PackedType::Bf16);
    /// let config = Generation { sampling: Sampling::greedy(), group_size: 1, max_new_tokens: 5, end_token: 1, max_rows: 8, seed: 1 };
    /// assert_eq!(packed.generate(&[&[5, 17]], &config)[0][0].tokens.len(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn packed(&self, kind: PackedType) -> Self {
        let mut policy = self.merged().valid();
        let device = policy.device();
        let embeddings = &mut policy.model.embed_tokens;
        embeddings.packed = Some(pack(&mut embeddings.weight, kind, &device));
        let head = policy.lm_head.iter_mut();
        let blocks = policy.model.projections_mut();
        for linear in head.chain(blocks.map(|(_, _, linear)| linear)) {
            let Linear { weight, packed, .. } = linear;
            *packed = Some(pack(weight, kind, &device));
        }
        policy
    }

    /// What the matrices take in memory.
    #[must_use]
    pub fn matrix_bytes(&self) -> usize {
        let plain = |weight: &Param<Tensor<2>>| weight.shape().num_elements() * size_of::<f32>();
        let bytes = |weight, packed: &Option<Arc<PackedMatrix>>| {
            packed
                .as_ref()
                .map_or_else(|| plain(weight), |packed| packed.bytes())
        };
        let embeddings = &self.model.embed_tokens;
        let blocks = self.model.layers.iter();
        let linears = blocks.flat_map(Block::projections).chain(&self.lm_head);
        let linears = linears.map(|linear| bytes(&linear.weight, &linear.packed));
        bytes(&embeddings.weight, &embeddings.packed) + linears.sum::<usize>()
    }

    /// Whether its matrices are in fewer bits.
    pub(crate) fn is_packed(&self) -> bool {
        self.model.embed_tokens.packed.is_some()
    }

    /// The output matrix, where it is packed.
    pub(crate) fn packed_output(&self) -> Option<&PackedMatrix> {
        let packed = match &self.lm_head {
            Some(head) => &head.packed,
            None => &self.model.embed_tokens.packed,
        };
        packed.as_deref()
    }

    /// Logits of part of the vocabulary: of `allowed[m]` for row m of the hidden states `[M, D]`.
    pub(crate) fn logits_constrained(&self, hidden: Tensor<2>, allowed: &[&[u32]]) -> Tensor<1> {
        match self.packed_output() {
            Some(matrix) => matrix.logits_constrained(hidden, allowed),
            None => convrec_kernels::logits_constrained(hidden, self.output_matrix(), allowed),
        }
    }
}

/// Packs a weight and lets go of what it was.
fn pack(weight: &mut Param<Tensor<2>>, kind: PackedType, device: &Device) -> Arc<PackedMatrix> {
    let matrix = weight.val();
    let [_, inner] = matrix.dims();
    let values = matrix.into_data().try_into_vec_as::<f32>();
    let values = values.expect("weights are floats");
    *weight = Param::initialized(weight.id, Tensor::zeros([1, 1], device));
    Arc::new(PackedMatrix::new(&values, inner, kind))
}
