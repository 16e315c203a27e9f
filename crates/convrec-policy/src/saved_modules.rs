//! Embeddings and heads that came with an adapter and stand in for those of the model.

use burn::module::{Param, ParamId};
use burn::tensor::Tensor;

use crate::decoder::Policy;
use crate::layers::Linear;

/// The embeddings of a policy under PEFT's name.
pub(crate) const EMBEDDINGS: &str = "embed_tokens";
/// The output matrix of a policy under PEFT's name.
pub(crate) const HEAD: &str = "lm_head";

/// The weights of the model that an adapter replaces. They are put back when the adapter is left
/// off.
#[derive(Debug, Clone)]
pub(crate) struct SavedModules {
    /// The replaced modules: [`EMBEDDINGS`], [`HEAD`] or both.
    pub(crate) names: Vec<&'static str>,
    /// The embeddings of the model, without autodiff.
    embeddings: Tensor<2>,
    /// The head of the model; `None` where it was the embeddings.
    head: Option<Tensor<2>>,
}

impl Policy {
    /// Makes these weights replaceable without changing the policy's numbers. A head that was the
    /// embeddings becomes a copy of them.
    pub(crate) fn replaceable(mut self, names: Vec<&'static str>) -> Self {
        if names.is_empty() {
            return self;
        }
        let plain = |tensor: Tensor<2>| match tensor.device().is_autodiff() {
            true => tensor.inner(),
            false => tensor,
        };
        let embeddings = plain(self.model.embed_tokens.weight.val());
        let head = self.lm_head.as_ref().map(|head| plain(head.weight.val()));
        if head.is_none() {
            let id = self.head_id();
            self.untie(param(self.model.embed_tokens.weight.val().detach(), id));
        }
        self.saved_modules = Some(SavedModules {
            names,
            embeddings,
            head,
        });
        self
    }

    /// The number of a head's weight: the one behind the final norm's.
    pub(crate) fn head_id(&self) -> ParamId {
        ParamId::from(self.model.norm.weight.id.val() + 1)
    }

    /// Gives a policy with tied embeddings a head of its own.
    pub(crate) fn untie(&mut self, weight: Param<Tensor<2>>) {
        self.lm_head = Some(Linear {
            weight,
            bias: None,
            lora: None,
            bf16: false,
            packed: None,
        });
        self.config_mut().tie_word_embeddings = false;
    }

    pub(crate) fn restore(&mut self, base: SavedModules) {
        let autodiff = self.device().is_autodiff();
        let tensor = |tensor: Tensor<2>| match autodiff {
            true => tensor.autodiff(),
            false => tensor,
        };
        let embeddings = &mut self.model.embed_tokens.weight;
        *embeddings = param(tensor(base.embeddings), embeddings.id);
        match (base.head, &mut self.lm_head) {
            (Some(weight), Some(head)) => head.weight = param(tensor(weight), head.weight.id),
            (_, head) => {
                *head = None;
                self.config_mut().tie_word_embeddings = true;
            }
        }
    }
}

fn param(tensor: Tensor<2>, id: ParamId) -> Param<Tensor<2>> {
    let mut param = Param::from_tensor(tensor);
    param.id = id;
    param
}
