//! One completion while it is written.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::constraint::Constraint;
use crate::generation::Completion;
use crate::request::{Writer, Written};
use crate::sampling::{Drawn, Sampling};

/// What the completions of a request have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) sampling: Sampling,
    pub(crate) max_new_tokens: usize,
    pub(crate) end_token: u32,
    /// How many of the likeliest tokens are kept.
    pub(crate) top: usize,
}

pub(crate) struct Row<'c> {
    pub(crate) completion: Completion,
    top: Vec<Vec<(u32, f32)>>,
    /// How many of its tokens have their keys and values in the cache.
    cached: usize,
    rng: ChaCha8Rng,
    constraint: Option<Box<dyn Constraint + 'c>>,
    stop: Option<Box<dyn FnMut(u32) -> bool + Send + 'c>>,
}

impl<'c> Row<'c> {
    /// Random numbers are those of the writer's stream, whatever the other rows do.
    pub(crate) fn new(writer: Writer<'c>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(writer.seed);
        rng.set_stream(writer.stream);
        let completion = Completion {
            tokens: vec![],
            log_probs: vec![],
            entropies: vec![],
            ended: false,
            passes: 0,
        };
        Self {
            completion,
            top: vec![],
            cached: 0,
            rng,
            constraint: writer.constraint,
            stop: writer.stop,
        }
    }

    pub(crate) fn written(self) -> Written {
        Written {
            completion: self.completion,
            top: self.top,
        }
    }

    /// What may come next, under a constraint.
    pub(crate) fn allowed(&self) -> Option<&[u32]> {
        self.constraint
            .as_ref()
            .map(|constraint| constraint.allowed())
    }

    /// The numbers that are added to the logits of what may come next.
    pub(crate) fn prior(&self) -> Option<&[f32]> {
        self.constraint.as_ref()?.prior()
    }

    pub(crate) fn is_done(&self, settings: &Settings) -> bool {
        self.completion.ended || self.completion.tokens.len() == settings.max_new_tokens
    }

    /// Tokens whose keys and values are in the cache.
    pub(crate) fn cached(&self) -> usize {
        self.cached
    }

    /// Draws the next token and writes those after it that leave no choice. `logits` are of the
    /// allowed tokens, or of all.
    pub(crate) fn go_on(&mut self, logits: &[f32], prompt: &[u32], settings: &Settings) {
        self.cached = self.completion.tokens.len();
        self.completion.passes += 1;
        let (drawn, top) = self.draw(logits, prompt, settings);
        self.push(drawn, top, settings);
        while !self.is_done(settings)
            && let Some([only]) = self.allowed()
        {
            self.push(Drawn::certain(*only), vec![], settings);
        }
    }

    fn draw(
        &mut self,
        logits: &[f32],
        prompt: &[u32],
        settings: &Settings,
    ) -> (Drawn, Vec<(u32, f32)>) {
        let sampling = &settings.sampling;
        let mut history = if sampling.repetition_penalty == 1.0 {
            vec![]
        } else {
            [prompt, &self.completion.tokens].concat()
        };
        let Some(constraint) = &self.constraint else {
            let drawn = sampling.draw(logits, &history, &mut self.rng);
            return (drawn, sampling.likeliest(logits, &drawn, settings.top));
        };
        match constraint.allowed() {
            [only] => (Drawn::certain(*only), vec![]),
            allowed => {
                let place =
                    |token: &u32| allowed.binary_search(token).ok().map(|place| place as u32);
                history = history.iter().filter_map(place).collect();
                let drawn = sampling.draw(logits, &history, &mut self.rng);
                let mut top = sampling.likeliest(logits, &drawn, settings.top);
                top.iter_mut()
                    .for_each(|(token, _)| *token = allowed[*token as usize]);
                let token = allowed[drawn.token as usize];
                (Drawn { token, ..drawn }, top)
            }
        }
    }

    fn push(&mut self, drawn: Drawn, top: Vec<(u32, f32)>, settings: &Settings) {
        self.completion.tokens.push(drawn.token);
        self.completion.log_probs.push(drawn.log_prob);
        self.completion.entropies.push(drawn.entropy);
        self.top.push(top);
        self.completion.ended = drawn.token == settings.end_token;
        if let Some(constraint) = &mut self.constraint {
            constraint.push(drawn.token);
            self.completion.ended |= constraint.allowed().is_empty();
        }
        if let Some(stop) = &mut self.stop {
            self.completion.ended |= stop(drawn.token);
        }
    }
}
