//! Keys and values of prompts that were read before, for requests whose prompts begin alike.

use crate::cache::LayerCache;
use crate::config::ModelConfig;
use crate::decoder::Policy;
use crate::pool::Pool;
use crate::session::Session;

/// Fewer tokens are read again rather than copied.
const LEAST: usize = 16;

/// What an [`Engine`](crate::Engine) keeps of prompts, and how often it was of use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrefixUse {
    /// Requests whose prompts began as an earlier one did.
    pub hits: u64,
    /// The other requests.
    pub misses: u64,
    /// Prompt tokens that were not computed again.
    pub reused: u64,
    /// Tokens that are kept.
    pub tokens: usize,
    /// Bytes of memory that are set aside for them.
    pub bytes: usize,
}

/// Whole prompts in places of their own. The one that was not used for the longest time makes room.
pub(crate) struct PrefixCache {
    layers: Vec<LayerCache>,
    pool: Pool,
    /// Tokens that are kept at most.
    budget: usize,
    entries: Vec<Entry>,
    clock: u64,
    token_bytes: usize,
    used: PrefixUse,
}

struct Entry {
    tokens: Box<[u32]>,
    /// The place of the first token.
    first: usize,
    /// When it was used last.
    used: u64,
}

/// The beginning of a prompt that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// The place of its first token.
    first: usize,
    /// Tokens; 0 where nothing is known.
    pub(crate) length: usize,
}

impl PrefixCache {
    pub(crate) fn new(policy: &Policy, budget: usize) -> Self {
        Self {
            layers: vec![],
            pool: Pool::new(0),
            budget,
            entries: vec![],
            clock: 0,
            token_bytes: token_bytes(policy.config()),
            used: PrefixUse::default(),
        }
    }

    pub(crate) fn used(&self) -> PrefixUse {
        PrefixUse {
            tokens: self.entries.iter().map(|entry| entry.tokens.len()).sum(),
            bytes: self.pool.places() * self.token_bytes,
            ..self.used
        }
    }

    /// The longest known beginning of a prompt. The last token is never part of it, as what comes
    /// next needs its hidden state.
    pub(crate) fn find(&self, prompt: &[u32]) -> Known {
        let known = |entry: &Entry| Known {
            first: entry.first,
            length: shared(&entry.tokens, prompt),
        };
        let best = self.entries.iter().map(known);
        let best = best.max_by_key(|known| known.length);
        best.filter(|known| known.length >= LEAST)
            .unwrap_or_default()
    }

    /// Whether it is worth while to wait until `other` is kept before `prompt` is read.
    pub(crate) fn is_worth_waiting(&self, prompt: &[u32], known: Known, other: &[u32]) -> bool {
        self.takes(other) && shared(other, prompt) >= known.length + LEAST
    }

    fn takes(&self, prompt: &[u32]) -> bool {
        (LEAST..=self.budget).contains(&prompt.len())
    }

    /// Copies known beginnings to the places of their prompts.
    pub(crate) fn copy_out(&mut self, session: &mut Session<'_>, prompts: &[(Known, usize)]) {
        for (known, _) in prompts {
            self.clock += 1;
            let entry = self.entries.iter_mut();
            if let Some(entry) = entry
                .filter(|_| known.length > 0)
                .find(|entry| entry.first == known.first)
            {
                entry.used = self.clock;
                self.used.hits += 1;
                self.used.reused += known.length as u64;
            } else {
                self.used.misses += 1;
            }
        }
        let places = |of: fn(&(Known, usize)) -> usize| {
            let ranges = prompts.iter().map(move |each| (of(each), each.0.length));
            ranges.flat_map(|(first, length)| first..first + length)
        };
        let from: Vec<usize> = places(|(known, _)| known.first).collect();
        let to: Vec<usize> = places(|(_, first)| *first).collect();
        session.copy_from(&self.layers, &from, &to);
    }

    /// Keeps a prompt that was read, from a place of the session on.
    pub(crate) fn keep(&mut self, session: &Session<'_>, prompt: &[u32], first: usize) {
        if !self.takes(prompt) {
            return;
        }
        self.clock += 1;
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|entry| entry.tokens.starts_with(prompt))
        {
            entry.used = self.clock;
            return;
        }
        // What it goes on from is part of it.
        let part = self.entries.iter();
        if let Some(part) = part
            .enumerate()
            .find_map(|(n, entry)| prompt.starts_with(&entry.tokens).then_some(n))
        {
            self.forget(part);
        }
        let place = self.room(session.policy, prompt.len());
        let [from, to] = [first, place].map(|first| first..first + prompt.len());
        session.copy_to(
            &mut self.layers,
            &from.collect::<Vec<_>>(),
            &to.collect::<Vec<_>>(),
        );
        self.entries.push(Entry {
            tokens: prompt.into(),
            first: place,
            used: self.clock,
        });
    }

    /// So many adjacent places, no more than the budget.
    fn room(&mut self, policy: &Policy, length: usize) -> usize {
        loop {
            if let Some(place) = self.pool.take(length) {
                return place;
            }
            let places = self.pool.places();
            if places < self.budget {
                let more = (2 * places).max(places + length).min(self.budget);
                self.grow(policy, more);
                continue;
            }
            let oldest = self.entries.iter().enumerate();
            let oldest = oldest.min_by_key(|(_, entry)| entry.used).map(|(n, _)| n);
            self.forget(oldest.expect("an empty cache has room for what it takes"));
        }
    }

    fn grow(&mut self, policy: &Policy, places: usize) {
        let before = self.pool.places();
        if self.layers.is_empty() {
            let (shape, device) = (policy.config(), policy.device());
            self.layers = (0..shape.num_hidden_layers)
                .map(|layer| LayerCache::new(places, shape, layer, &device))
                .collect();
        } else {
            self.layers
                .iter_mut()
                .for_each(|layer| layer.grow(places - before));
        }
        self.pool.grow(places);
    }

    fn forget(&mut self, place: usize) {
        let entry = self.entries.swap_remove(place);
        self.pool.give_back(entry.first, entry.tokens.len());
    }
}

/// Tokens at the beginning that a prompt shares with another, its last one left out.
fn shared(other: &[u32], prompt: &[u32]) -> usize {
    let open = &prompt[..prompt.len().saturating_sub(1)];
    let pairs = other.iter().zip(open);
    pairs.take_while(|(a, b)| a == b).count()
}

/// Keys and values of a token, as f32.
fn token_bytes(shape: &ModelConfig) -> usize {
    let width = shape.num_key_value_heads * shape.head_dim;
    2 * shape.num_hidden_layers * width * size_of::<f32>()
}
