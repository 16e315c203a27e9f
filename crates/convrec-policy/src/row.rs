//! One completion while it is written.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::constraint::Constraint;
use crate::generation::{Completion, Generation};
use crate::sampling::Drawn;

pub(crate) struct Row<'c> {
    pub(crate) completion: Completion,
    /// How many of its tokens have their keys and values in the cache.
    cached: usize,
    rng: ChaCha8Rng,
    constraint: Option<Box<dyn Constraint + 'c>>,
}

impl<'c> Row<'c> {
    /// Random numbers are those of `stream`, whatever the other rows do.
    pub(crate) fn new(
        seed: u64,
        stream: u64,
        constraint: Option<Box<dyn Constraint + 'c>>,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        let completion = Completion {
            tokens: vec![],
            log_probs: vec![],
            entropies: vec![],
            ended: false,
            passes: 0,
        };
        Self {
            completion,
            cached: 0,
            rng,
            constraint,
        }
    }

    /// What may come next, under a constraint.
    pub(crate) fn allowed(&self) -> Option<&[u32]> {
        self.constraint
            .as_ref()
            .map(|constraint| constraint.allowed())
    }

    /// What is added to the logits of what may come next.
    pub(crate) fn prior(&self) -> Option<&[f32]> {
        self.constraint.as_ref()?.prior()
    }

    pub(crate) fn is_done(&self, config: &Generation) -> bool {
        self.completion.ended || self.completion.tokens.len() == config.max_new_tokens
    }

    /// Tokens that were written since the last forward pass.
    pub(crate) fn pending(&self) -> usize {
        self.completion.tokens.len() - self.cached
    }

    /// Draws the next token and writes those after it that leave no choice. `logits` are of the
    /// allowed tokens, or of all.
    pub(crate) fn go_on(&mut self, logits: &[f32], prompt: &[u32], config: &Generation) {
        self.cached = self.completion.tokens.len();
        self.completion.passes += 1;
        let drawn = self.draw(logits, prompt, config);
        self.push(drawn, config);
        while !self.is_done(config)
            && let Some([only]) = self.allowed()
        {
            self.push(
                Drawn {
                    token: *only,
                    log_prob: 0.0,
                    entropy: 0.0,
                },
                config,
            );
        }
    }

    fn draw(&mut self, logits: &[f32], prompt: &[u32], config: &Generation) -> Drawn {
        let sampling = &config.sampling;
        let mut history = if sampling.repetition_penalty == 1.0 {
            vec![]
        } else {
            [prompt, &self.completion.tokens].concat()
        };
        let Some(constraint) = &self.constraint else {
            return sampling.draw(logits, &history, &mut self.rng);
        };
        match constraint.allowed() {
            [only] => Drawn {
                token: *only,
                log_prob: 0.0,
                entropy: 0.0,
            },
            allowed => {
                let place =
                    |token: &u32| allowed.binary_search(token).ok().map(|place| place as u32);
                history = history.iter().filter_map(place).collect();
                let drawn = sampling.draw(logits, &history, &mut self.rng);
                Drawn {
                    token: allowed[drawn.token as usize],
                    ..drawn
                }
            }
        }
    }

    fn push(&mut self, drawn: Drawn, config: &Generation) {
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
