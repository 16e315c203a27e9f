//! Sampling completions: one prefill per prompt, shared by its completions; a cache that seldom grows; prompts
//! whose completions have all ended leave the batch.

use burn::tensor::{Int, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::cache::LayerCache;
use crate::constraint::Constraint;
use crate::decoder::{Mask, Pass, Policy};
use crate::sampling::{Drawn, Sampling};

/// What to generate.
#[derive(Debug, Clone)]
pub struct Generation {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// G, completions of each prompt.
    pub group_size: usize,
    /// A completion that has not ended by then is cut.
    pub max_new_tokens: usize,
    /// Ends a completion and is part of it.
    pub end_token: u32,
    /// At most so many completions are sampled side by side; bounds memory, changes no result.
    pub max_rows: usize,
    /// The same seed gives the same completions, however prompts are batched.
    pub seed: u64,
}

/// One sampled completion of T tokens; all three lists are of length T, at least 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// With the end token, where it ended.
    pub tokens: Vec<u32>,
    /// Of each token under `softmax(logits / temperature)` (greedy: of the logits), before filters, in nats: the very
    /// numbers that [`Policy::log_probs`] computes, to rounding.
    pub log_probs: Vec<f32>,
    /// Of that same distribution, in nats.
    pub entropies: Vec<f32>,
    /// Whether the end token was drawn; otherwise the completion was cut.
    pub ended: bool,
}

impl Policy {
    /// Samples `group_size` completions of each prompt: `[P][G]`, in the order of the prompts.
    ///
    /// Prompts of similar lengths are batched together. Use a policy without autodiff (`policy.valid()`): with it, every
    /// step is kept for a backward pass that never comes. Logits that are NaN (weights that have diverged) give
    /// log-probabilities that are NaN.
    ///
    /// # Panics
    /// When a prompt is empty or holds a token that is not in the vocabulary, `group_size` or `max_new_tokens` is 0, or
    /// [`Sampling::check`] fails.
    pub fn generate(&self, prompts: &[&[u32]], config: &Generation) -> Vec<Vec<Completion>> {
        self.run_batches(prompts, config, &|_| None)
    }

    /// As [`Policy::generate`], each completion under a constraint: `begin` makes those of prompt p.
    ///
    /// Tokens are drawn from the distribution renormalised over the allowed tokens; log-probabilities and entropies are
    /// of that distribution, and 0 where there is no choice. [`Policy::log_probs_within`] computes the same numbers.
    /// A completion also ends where nothing is allowed any more.
    ///
    /// # Panics
    /// As [`Policy::generate`], and when a constraint allows nothing to begin with.
    pub fn generate_within<'c>(
        &self,
        prompts: &[&[u32]],
        config: &Generation,
        begin: &dyn Fn(usize) -> Box<dyn Constraint + 'c>,
    ) -> Vec<Vec<Completion>> {
        self.run_batches(prompts, config, &|p| Some(begin(p)))
    }

    fn run_batches<'c>(
        &self,
        prompts: &[&[u32]],
        config: &Generation,
        begin: &dyn Fn(usize) -> Option<Box<dyn Constraint + 'c>>,
    ) -> Vec<Vec<Completion>> {
        assert!(config.group_size > 0 && config.max_new_tokens > 0, "group_size and max_new_tokens must be positive");
        config.sampling.check().unwrap_or_else(|e| panic!("sampling, {e}"));
        prompts.iter().for_each(|prompt| self.assert_known(prompt));
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|&p| prompts[p].len());
        let mut results: Vec<Vec<Completion>> = vec![vec![]; prompts.len()];
        for batch in order.chunks((config.max_rows / config.group_size).max(1)) {
            for (p, completions) in batch.iter().zip(Batch::new(self, prompts, batch, config, begin).run()) {
                results[*p] = completions;
            }
        }
        results
    }
}

/// Tokens a completion that caches have room for before they grow.
const FIRST_CAPACITY: usize = 128;

struct Batch<'a, 'c> {
    policy: &'a Policy,
    config: &'a Generation,
    prompts: Vec<&'a [u32]>,
    rows: Vec<Row<'c>>,
    /// The prompts still in the batch, by their place in `prompts`.
    active: Vec<usize>,
    caches: Vec<LayerCache>,
}

struct Row<'c> {
    completion: Completion,
    rng: ChaCha8Rng,
    constraint: Option<Box<dyn Constraint + 'c>>,
}

impl Row<'_> {
    /// Draws the next token; `logits` are `[V]`.
    fn draw(&mut self, logits: &[f32], prompt: &[u32], config: &Generation) {
        let sampling = &config.sampling;
        let history = || [prompt, &self.completion.tokens].concat();
        let mut history = if sampling.repetition_penalty == 1.0 { vec![] } else { history() };
        let drawn = match &self.constraint {
            None => sampling.draw(logits, &history, &mut self.rng),
            Some(constraint) => match constraint.allowed() {
                [only] => Drawn { token: *only, log_prob: 0.0, entropy: 0.0 },
                allowed => {
                    let place = |token: &u32| allowed.binary_search(token).ok().map(|place| place as u32);
                    history = history.iter().filter_map(place).collect();
                    let logits: Vec<f32> = allowed.iter().map(|token| logits[*token as usize]).collect();
                    let drawn = sampling.draw(&logits, &history, &mut self.rng);
                    Drawn { token: allowed[drawn.token as usize], ..drawn }
                }
            },
        };
        self.completion.tokens.push(drawn.token);
        self.completion.log_probs.push(drawn.log_prob);
        self.completion.entropies.push(drawn.entropy);
        self.completion.ended = drawn.token == config.end_token;
        if let Some(constraint) = &mut self.constraint {
            constraint.push(drawn.token);
            self.completion.ended |= constraint.allowed().is_empty();
        }
    }
}

impl<'a, 'c> Batch<'a, 'c> {
    fn new(
        policy: &'a Policy,
        all: &[&'a [u32]],
        batch: &[usize],
        config: &'a Generation,
        begin: &dyn Fn(usize) -> Option<Box<dyn Constraint + 'c>>,
    ) -> Self {
        let g = config.group_size;
        let row = |n: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
            rng.set_stream((batch[n / g] * g + n % g) as u64);
            let completion = Completion { tokens: vec![], log_probs: vec![], entropies: vec![], ended: false };
            Row { completion, rng, constraint: begin(batch[n / g]) }
        };
        let layers = policy.config().num_hidden_layers;
        Self {
            policy,
            config,
            prompts: batch.iter().map(|&p| all[p]).collect(),
            rows: (0..batch.len() * g).map(row).collect(),
            active: (0..batch.len()).collect(),
            caches: (0..layers).map(|_| LayerCache::new(g, config.max_new_tokens.min(FIRST_CAPACITY))).collect(),
        }
    }

    fn run(mut self) -> Vec<Vec<Completion>> {
        let g = self.config.group_size;
        let logits = self.prefill();
        let vocabulary = self.policy.config().vocab_size;
        self.draw(|row| &logits[row / g * vocabulary..][..vocabulary]);
        for step in 1..self.config.max_new_tokens {
            self.leave();
            if self.active.is_empty() {
                break;
            }
            let logits = self.step(step);
            let place: Vec<usize> = self.places();
            self.draw(|row| &logits[place[row] * vocabulary..][..vocabulary]);
        }
        let mut rows = self.rows.into_iter().map(|row| row.completion);
        (0..self.prompts.len()).map(|_| rows.by_ref().take(g).collect()).collect()
    }

    /// The logits after each prompt, `[P V]`.
    fn prefill(&mut self) -> Vec<f32> {
        let device = self.policy.device();
        let width = self.prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let p = self.prompts.len();
        let mut ids = vec![0i64; p * width];
        for (row, prompt) in self.prompts.iter().enumerate() {
            assert!(!prompt.is_empty(), "a prompt is empty");
            ids[row * width..][..prompt.len()].iter_mut().zip(*prompt).for_each(|(id, token)| *id = i64::from(*token));
        }
        let hidden = self.policy.prefill(tensor(ids, [p, width], &device), &mut self.caches); // [P, Tp, D]
        let d = hidden.dims()[2];
        let last = self.prompts.iter().enumerate().map(|(row, prompt)| (row * width + prompt.len() - 1) as i64);
        let last = Tensor::<1, Int>::from_data(TensorData::new(last.collect::<Vec<_>>(), [p]), &device);
        to_host(self.policy.logits(hidden.reshape([p * width, d]).select(0, last)))
    }

    /// The logits after the newest token of each row in the batch.
    fn step(&mut self, step: usize) -> Vec<f32> {
        let (g, device) = (self.config.group_size, self.policy.device());
        let rows: Vec<usize> = self.active.iter().flat_map(|p| p * g..(p + 1) * g).collect();
        // Rows that have ended go on with their end token until their prompt leaves; nothing reads what they draw.
        let newest = rows.iter().map(|&row| i64::from(*self.rows[row].completion.tokens.last().expect("drawn before")));
        let positions = rows.iter().map(|row| vec![self.prompts[row / g].len() + step - 1]).collect::<Vec<_>>();
        let prompt_lengths = self.active.iter().map(|&p| self.prompts[p].len()).collect();
        let rotation = self.policy.frequencies().rotation(&positions, &device);
        let pass = Pass { rotation, mask: Mask::Cached { prompt_lengths } };
        let ids = tensor(newest.collect(), [rows.len(), 1], &device);
        let hidden = self.policy.run(ids, &pass, Some(&mut self.caches)); // [B, 1, D]
        let [b, _, d] = hidden.dims();
        to_host(self.policy.logits(hidden.reshape([b, d])))
    }

    /// For each row its place among the rows in the batch.
    fn places(&self) -> Vec<usize> {
        let g = self.config.group_size;
        let mut places = vec![0; self.rows.len()];
        for (place, row) in self.active.iter().flat_map(|p| p * g..(p + 1) * g).enumerate() {
            places[row] = place;
        }
        places
    }

    fn draw<'l>(&mut self, logits: impl Fn(usize) -> &'l [f32] + Sync) {
        let (g, config, prompts) = (self.config.group_size, self.config, &self.prompts);
        self.rows.par_iter_mut().enumerate().filter(|(_, row)| !row.completion.ended).for_each(|(index, row)| {
            row.draw(logits(index), prompts[index / g], config);
        });
    }

    /// Prompts whose completions have all ended leave.
    fn leave(&mut self) {
        let g = self.config.group_size;
        let goes_on = |p: &usize| self.rows[p * g..(p + 1) * g].iter().any(|row| !row.completion.ended);
        let keep: Vec<usize> = (0..self.active.len()).filter(|&n| goes_on(&self.active[n])).collect();
        if keep.len() == self.active.len() {
            return;
        }
        self.active = keep.iter().map(|&n| self.active[n]).collect();
        if keep.is_empty() {
            return;
        }
        let device = self.policy.device();
        let index = |values: Vec<i64>| {
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device)
        };
        let rows = index(keep.iter().flat_map(|n| n * g..(n + 1) * g).map(|row| row as i64).collect());
        let keep = index(keep.iter().map(|n| *n as i64).collect());
        self.caches.iter_mut().for_each(|cache| cache.select(&keep, &rows));
    }
}

fn tensor(ids: Vec<i64>, shape: [usize; 2], device: &burn::tensor::Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(ids, shape), device)
}

fn to_host(logits: Tensor<2>) -> Vec<f32> {
    logits.into_data().try_into_vec_as::<f32>().expect("logits are floats")
}
