//! Draws one token from one row of logits, on the host.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// The way in which a token is drawn from logits. The filters act in the order of the fields, as in
/// transformers.
///
/// The default filters nothing: tokens are drawn from `softmax(logits)`, the distribution a trainer
/// computes ([`Sampling::is_exact`]). Importance ratios are only right with such sampling.
///
/// ```
/// use convrec_policy::Sampling;
///
/// let sampling = Sampling { top_k: Some(2), ..Sampling::default() };
/// let probabilities = sampling.probabilities(&[0.0, 3f32.ln(), -1.0], &[]);
/// assert!((probabilities[1] - 0.75).abs() < 1e-6 && probabilities[2] == 0.0);
/// assert!(Sampling::default().is_exact() && !sampling.is_exact());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Logits of tokens already in the sequence are divided (positive) or multiplied (negative) by
    /// this; 1 does nothing.
    pub repetition_penalty: f32,
    /// Logits are divided by this; 0 takes the most likely token (greedy). Other values are at
    /// least 1e-20, so that no logit overflows.
    pub temperature: f32,
    /// Keeps the k most likely tokens.
    pub top_k: Option<usize>,
    /// Keeps the fewest most likely tokens whose probabilities sum to at least p.
    pub top_p: Option<f32>,
    /// Keeps tokens at least this fraction as likely as the most likely one.
    pub min_p: Option<f32>,
}

/// The smallest temperature above 0. Logits that are divided by less may be too large for f32.
const MIN_TEMPERATURE: f32 = 1e-20;

impl Default for Sampling {
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
        }
    }
}

/// A token with its log-probability and the entropy of the distribution, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) token: u32,
    pub(crate) log_prob: f32,
    pub(crate) entropy: f32,
}

impl Drawn {
    /// The token that comes where there is no choice.
    pub(crate) fn certain(token: u32) -> Self {
        Self {
            token,
            log_prob: 0.0,
            entropy: 0.0,
        }
    }
}

impl Sampling {
    /// Sampling that always takes the most likely token.
    #[must_use]
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            ..Self::default()
        }
    }

    /// Checks that every field is in its range.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field: &str, problem: String| Err(ConfigError::new(field, problem));
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            return bad(
                "repetition_penalty",
                format!("{}; expected a positive number", self.repetition_penalty),
            );
        }
        let temperature = self.temperature;
        if !(temperature == 0.0 || (temperature.is_finite() && temperature >= MIN_TEMPERATURE)) {
            let expected = format!("0 (greedy) or at least {MIN_TEMPERATURE:e}");
            return bad("temperature", format!("{temperature}; expected {expected}"));
        }
        if self.top_k == Some(0) {
            return bad("top_k", "0; expected at least 1".into());
        }
        for (field, value) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            if let Some(p) = value.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
                return bad(field, format!("{p}; expected a number in (0, 1]"));
            }
        }
        Ok(())
    }

    /// Whether tokens are drawn from the very distribution that a trainer computes, `softmax(logits
    /// / temperature)`.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.temperature > 0.0
            && self.repetition_penalty == 1.0
            && self.top_k.is_none()
            && self.top_p.is_none_or(|p| p == 1.0)
            && self.min_p.is_none()
    }

    /// The filtered distribution over the vocabulary, `[V]`, summing to 1; `logits` is `[V]`,
    /// `history` holds the tokens so far (prompt included), in any order.
    ///
    /// A temperature of 0 puts all mass on the most likely token, the first of them where several
    /// are.
    #[must_use]
    pub fn probabilities(&self, logits: &[f32], history: &[u32]) -> Vec<f64> {
        let mut scores = logits.to_vec();
        if self.repetition_penalty != 1.0 {
            let mut seen = history.to_vec();
            seen.sort_unstable();
            seen.dedup();
            for token in seen {
                if let Some(score) = scores.get_mut(token as usize) {
                    let p = self.repetition_penalty;
                    *score = if *score < 0.0 { *score * p } else { *score / p };
                }
            }
        }
        if self.temperature == 0.0 {
            let best = argmax(&scores);
            return (0..scores.len())
                .map(|token| f64::from(token == best))
                .collect();
        }
        scores
            .iter_mut()
            .for_each(|score| *score /= self.temperature);
        if let Some(k) = self.top_k.filter(|k| *k < scores.len()) {
            let mut sorted = scores.clone();
            let (_, least, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            let least = *least;
            scores
                .iter_mut()
                .filter(|score| **score < least)
                .for_each(|score| *score = f32::NEG_INFINITY);
        }
        let mut probabilities = softmax(&scores);
        if let Some(p) = self.top_p.filter(|p| *p < 1.0) {
            keep_nucleus(&mut probabilities, f64::from(p));
        }
        if let Some(p) = self.min_p {
            let least = f64::from(p) * probabilities.iter().copied().fold(0.0, f64::max);
            probabilities
                .iter_mut()
                .filter(|x| **x < least)
                .for_each(|x| *x = 0.0);
        }
        let sum: f64 = probabilities.iter().sum();
        probabilities.iter_mut().for_each(|x| *x /= sum);
        probabilities
    }

    /// Draws a token. The log-probability and entropy are those of `softmax(logits / temperature)`
    /// before any filter, as a trainer computes them; of `softmax(logits)` for greedy.
    pub(crate) fn draw(&self, logits: &[f32], history: &[u32], rng: &mut impl Rng) -> Drawn {
        let temperature = if self.temperature == 0.0 {
            1.0
        } else {
            self.temperature
        };
        let weights = Weights::new(logits, 1.0 / temperature);
        let token = if self.is_exact() {
            weights.pick(rng.random())
        } else if self.temperature == 0.0 && self.repetition_penalty == 1.0 {
            argmax(logits)
        } else {
            let probabilities = self.probabilities(logits, history);
            pick(&probabilities, rng.random::<f64>())
        };
        Drawn {
            token: token as u32,
            log_prob: weights.log_prob(logits[token]),
            entropy: weights.entropy(logits),
        }
    }

    /// The `n` likeliest tokens with their log-probabilities, best first, under the distribution
    /// that the log-probability of `drawn` is of.
    pub(crate) fn likeliest(&self, logits: &[f32], drawn: &Drawn, n: usize) -> Vec<(u32, f32)> {
        if n == 0 {
            return vec![];
        }
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |token: &u32| logits[*token as usize];
        let by_logit = |a: &u32, b: &u32| logit(b).total_cmp(&logit(a)).then(a.cmp(b));
        if n < order.len() {
            order.select_nth_unstable_by(n - 1, by_logit);
            order.truncate(n);
        }
        order.sort_unstable_by(by_logit);
        let scale = match self.temperature {
            0.0 => 1.0,
            temperature => 1.0 / temperature,
        };
        let log_prob = |token: &u32| drawn.log_prob + scale * (logit(token) - logit(&drawn.token));
        order
            .iter()
            .map(|token| (*token, log_prob(token)))
            .collect()
    }
}

/// `exp(x - max)` of scaled logits with their sum.
struct Weights {
    weights: Vec<f32>,
    scale: f32,
    max: f32,
    sum: f64,
}

impl Weights {
    fn new(logits: &[f32], scale: f32) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) * scale;
        let weights: Vec<f32> = logits.iter().map(|x| (x * scale - max).exp()).collect();
        let sum = weights.iter().map(|w| f64::from(*w)).sum();
        Self {
            weights,
            scale,
            max,
            sum,
        }
    }

    fn log_prob(&self, logit: f32) -> f32 {
        (f64::from(logit * self.scale - self.max) - self.sum.ln()) as f32
    }

    /// H = ln Z - sum p x, with x the logit below the largest.
    fn entropy(&self, logits: &[f32]) -> f32 {
        let pairs = self.weights.iter().zip(logits).filter(|(w, _)| **w > 0.0);
        let terms = pairs.map(|(w, x)| f64::from(*w) * f64::from(x * self.scale - self.max));
        (self.sum.ln() - terms.sum::<f64>() / self.sum) as f32
    }

    fn pick(&self, uniform: f64) -> usize {
        let mut left = uniform * self.sum;
        let mut last = 0;
        for (token, weight) in self.weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            last = token;
            left -= f64::from(*weight);
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

fn pick(probabilities: &[f64], uniform: f64) -> usize {
    let mut left = uniform;
    let mut last = 0;
    for (token, p) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        last = token;
        left -= p;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// The first of the largest.
fn argmax(scores: &[f32]) -> usize {
    let mut best = 0;
    for (token, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = token;
        }
    }
    best
}

fn softmax(scores: &[f32]) -> Vec<f64> {
    let max = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weights: Vec<f64> = scores.iter().map(|x| (f64::from(*x) - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// Drops tokens, least likely first, while the dropped mass stays at most 1 - p; the most likely
/// token always stays.
fn keep_nucleus(probabilities: &mut [f64], p: f64) {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut dropped = 0.0;
    for token in &order[..order.len() - 1] {
        dropped += probabilities[*token];
        if dropped > 1.0 - p {
            break;
        }
        probabilities[*token] = 0.0;
    }
}
