//! Sampling and training on part of the vocabulary.

/// The tokens that may come next in one completion.
///
/// A constrained policy draws from `softmax(logits / temperature)` renormalised over the allowed
/// tokens. A trainer must do the same
/// ([`Policy::log_probs_constrained`](crate::Policy::log_probs_constrained)), or its ratios are
/// biased.
/// A [`prior`](Self::prior) is added to the logits in both.
pub trait Constraint: Send {
    /// The tokens that may come next: ascending, each once. There is one where there is no choice,
    /// and none after the end.
    fn allowed(&self) -> &[u32];

    /// What is added to the logits of the allowed tokens, in their order, where something is: what
    /// is known of them before the policy looks.
    fn prior(&self) -> Option<&[f32]> {
        None
    }

    /// Goes on with a token, one of the allowed ones.
    fn push(&mut self, token: u32);
}

/// The tokens that were allowed at each place of a completion of T tokens, as flat arrays.
///
/// ```
/// use convrec_policy::{Allowed, Constraint};
///
/// /// Token 5 or 7, and then the end token 0.
/// #[derive(Clone)]
/// struct Two(Vec<u32>);
/// impl Constraint for Two {
///     fn allowed(&self) -> &[u32] {
///         &self.0
///     }
///     fn push(&mut self, token: u32) {
///         self.0 = if token == 0 { vec![] } else { vec![0] };
///     }
/// }
///
/// let allowed = Allowed::along(&mut Two(vec![5, 7]), &[7, 0]);
/// assert_eq!((allowed.len(), allowed.at(0), allowed.at(1)), (2, &[5, 7][..], &[0][..]));
/// assert!(allowed.is_forced(1));
///
/// // Sampling, the same numbers again, and the more likely of the two.
/// use convrec_policy::{Generation, ModelConfig, Policy, Sampling, Sequence};
/// let policy = Policy::new(&ModelConfig::small(64, 32, 2, 4), 7, &burn::tensor::Device::flex())?;
/// let (sampling, end_token) = (Sampling::default(), 0);
/// let generation = Generation { sampling, group_size: 4, max_new_tokens: 9, end_token, max_rows: 64, seed: 7 };
/// let completions = policy.generate_constrained(&[&[1]], &generation, &|_| Box::new(Two(vec![5, 7])));
/// let first = &completions[0][0];
/// assert_eq!((first.tokens.len(), first.passes), (2, 1)); // the end token left no choice
///
/// let allowed = Allowed::along(&mut Two(vec![5, 7]), &first.tokens);
/// let sequence = Sequence { prompt: &[1], completion: &first.tokens };
/// let again = policy.log_probs_constrained(&[sequence], &[&allowed], 1.0).log_probs.into_data().try_into_vec::<f32>()?;
/// assert!((again[0] - first.log_probs[0]).abs() < 1e-5 && again[1] == 0.0);
///
/// let best = &policy.beam_search(&[1], Two(vec![5, 7]), 2)[0];
/// assert!(best.log_prob >= 0.5f64.ln());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Allowed {
    /// The beginning of each place's tokens, and one more entry for the end.
    first: Vec<usize>,
    tokens: Vec<u32>,
    /// What is added to the logits of `tokens`; empty as long as nothing is.
    prior: Vec<f32>,
}

impl Allowed {
    /// Walks a constraint along a completion.
    ///
    /// # Panics
    /// When a token is not allowed where it stands.
    pub fn along(constraint: &mut dyn Constraint, completion: &[u32]) -> Self {
        let mut allowed = Self {
            first: vec![0],
            tokens: vec![],
            prior: vec![],
        };
        for (t, token) in completion.iter().enumerate() {
            let here = constraint.allowed();
            assert!(
                here.binary_search(token).is_ok(),
                "token {token} at place {t} is not allowed there"
            );
            if let Some(prior) = constraint.prior() {
                assert_eq!(prior.len(), here.len(), "a logit for every allowed token");
                allowed.prior.resize(allowed.tokens.len(), 0.0);
                allowed.prior.extend_from_slice(prior);
            }
            allowed.tokens.extend_from_slice(here);
            allowed.first.push(allowed.tokens.len());
            constraint.push(*token);
        }
        if !allowed.prior.is_empty() {
            allowed.prior.resize(allowed.tokens.len(), 0.0);
        }
        allowed
    }

    /// What is added to the logits of the tokens allowed at place t, where something is anywhere.
    ///
    /// # Panics
    /// When t is not below [`len`](Self::len).
    pub fn prior_at(&self, t: usize) -> Option<&[f32]> {
        let here = self.first[t]..self.first[t + 1];
        (!self.prior.is_empty()).then(|| &self.prior[here])
    }

    /// The tokens allowed at place t.
    ///
    /// # Panics
    /// When t is not below [`len`](Self::len).
    pub fn at(&self, t: usize) -> &[u32] {
        &self.tokens[self.first[t]..self.first[t + 1]]
    }

    /// Whether only one token is allowed at place t. Its log-probability is then 0 for all weights.
    ///
    /// # Panics
    /// When t is not below [`len`](Self::len).
    pub fn is_forced(&self, t: usize) -> bool {
        self.at(t).len() == 1
    }

    /// T.
    pub fn len(&self) -> usize {
        self.first.len() - 1
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Adds what a constraint knows of the allowed tokens to their logits.
pub(crate) fn add_prior(logits: &mut [f32], prior: Option<&[f32]>) {
    for (logit, prior) in logits.iter_mut().zip(prior.unwrap_or_default()) {
        *logit += prior;
    }
}
