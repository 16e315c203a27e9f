//! A policy that starts as a recommender by item vectors.

use burn::module::Param;
use burn::tensor::{Tensor, TensorData};

use crate::config::{ConfigError, Family};
use crate::decoder::Policy;

/// The gain of the path from the items of a prompt to the output. The random rest of the policy is
/// small beside it.
const GAIN: f32 = 1.2;
/// The mark of an item, by the length of its vector, and the mark of other tokens, negative.
const MARK: f32 = 0.5;
/// The mark of the token that asks for items.
const ASKS: f32 = 0.3;
/// The factor of the first block's random queries and keys.
const REST: f32 = 0.1;

impl Policy {
    /// Turns this policy into a recommender by vectors of items. Behind the token `asks`, the
    /// likeliest items are those whose vectors have high products with the vectors of the items
    /// before it. Training then does not have to learn thousands of vectors one gradient at a time.
    ///
    /// `vectors` has the tokens that are items with their vectors, two numbers shorter than the
    /// policy is wide. These become their embeddings. The other two numbers mark items and `asks`.
    /// The first block's heads copy the tokens that they attend to, and the marks make them attend
    /// to items alone. All else stays as it is.
    ///
    /// # Errors
    /// [`ConfigError`] when the shape of the policy or of a vector does not allow it.
    ///
    /// # Panics
    /// When a token is not in the vocabulary.
    pub fn with_item_vectors(
        mut self,
        vectors: &[(u32, Vec<f32>)],
        asks: u32,
    ) -> Result<Self, ConfigError> {
        let (width, heads) = (self.config().hidden_size, self.config().num_attention_heads);
        let head = self.config().head_dim;
        let square = heads * head == width
            && self.config().num_key_value_heads == heads
            && self.lm_head.is_none()
            && self.config().family == Family::Llama;
        if !square || head < 2 {
            return Err(ConfigError::new(
                "num_attention_heads",
                "expected a Llama of tied embeddings, whose heads have keys of their own and are \
                 together as wide as the policy",
            ));
        }
        if let Some((token, vector)) = vectors.iter().find(|(_, vector)| vector.len() != width - 2)
        {
            let problem = format!(
                "token {token} has a vector of {}; expected {}",
                vector.len(),
                width - 2
            );
            return Err(ConfigError::new("hidden_size", &problem));
        }
        let squares: f32 = vectors
            .iter()
            .flat_map(|(_, vector)| vector)
            .map(|x| x * x)
            .sum();
        let scale = (vectors.len() as f32 / squares.max(f32::MIN_POSITIVE)).sqrt();
        change(&mut self.model.embed_tokens.weight, |embeddings| {
            for row in embeddings.chunks_mut(width) {
                row[width - 2..].copy_from_slice(&[0.0, -MARK]);
            }
            for (token, vector) in vectors {
                let row = &mut embeddings[*token as usize * width..][..width];
                row.iter_mut()
                    .zip(vector)
                    .for_each(|(to, from)| *to = scale * from);
                row[width - 1] = MARK * row[..width - 2].iter().map(|x| x * x).sum::<f32>().sqrt();
            }
            let row = &mut embeddings[asks as usize * width..][..width];
            row.fill(0.0);
            row[width - 2] = ASKS;
        });
        let attention = &mut self.model.layers[0].self_attn;
        // Each head uses the dimension that positions turn least.
        let still = |n: usize| n * head + head / 2 - 1;
        let similarity = MARK / (1.0 + MARK * MARK).sqrt();
        let (q, k, v) = (
            attention.q_proj.as_mut(),
            attention.k_proj.as_mut(),
            attention.v_proj.as_mut(),
        );
        for (projection, of_asking) in [(q, similarity), (k, 0.0)] {
            let projection = projection.expect("a Llama has q and k");
            change(&mut projection.weight, |weight| {
                weight.iter_mut().for_each(|x| *x *= REST);
                for n in 0..heads {
                    let row = &mut weight[still(n) * width..][..width];
                    row.fill(0.0);
                    row[width - 2..].copy_from_slice(&[of_asking, 1.0]);
                }
            });
        }
        for projection in [v, Some(&mut attention.o_proj)].into_iter().flatten() {
            change(&mut projection.weight, |weight| {
                weight.fill(0.0);
                (0..width - 2).for_each(|at| weight[at * width + at] = GAIN);
            });
        }
        Ok(self)
    }
}

impl Policy {
    /// This policy with logits that are `factor` times as large: the weights of its final norm are
    /// multiplied. A policy that begins with a prior
    /// ([`Constraint::prior`](crate::Constraint::prior)) is quiet at first, so that its random
    /// weights do not disturb what is known already.
    #[must_use]
    pub fn with_output_scale(mut self, factor: f32) -> Self {
        change(&mut self.model.norm.weight, |weight| {
            weight.iter_mut().for_each(|x| *x *= factor);
        });
        self
    }
}

fn change<const N: usize>(param: &mut Param<Tensor<N>>, with: impl FnOnce(&mut [f32])) {
    let tensor = param.val();
    let mut values: Vec<f32> = tensor.to_data().try_into_vec().expect("weights are f32");
    with(&mut values);
    let tensor = Tensor::from_data(TensorData::new(values, tensor.dims()), &tensor.device());
    *param = param.clone().transform_for_load(tensor, param.id);
}
