//! Sampling completions: [`Batch`] keeps the device busy, [`Row`](crate::row::Row) writes one
//! completion.

use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::constraint::Constraint;
use crate::decoder::Policy;
use crate::generation::{Completion, Generation};
use crate::row::Row;
use crate::session::{Going, Session};

impl Policy {
    /// Samples `group_size` completions of each prompt: `[P][G]`, in the order of the prompts.
    ///
    /// A prompt is run once for all of its completions. Completions that have ended leave the
    /// batch, and further prompts take their place. Use a policy without autodiff
    /// (`policy.valid()`): with it, every step is kept for a backward pass that never comes.
    /// Logits that are NaN (weights that have diverged) give log-probabilities that are NaN.
    ///
    /// # Panics
    /// When a prompt is empty or holds a token that is not in the vocabulary, `group_size` or
    /// `max_new_tokens` is 0, or [`Sampling::check`](crate::Sampling::check) fails.
    pub fn generate(&self, prompts: &[&[u32]], config: &Generation) -> Vec<Vec<Completion>> {
        self.run_batches(prompts, config, &|_| None, &|p, g| by_place(config, p, g))
    }

    /// Samples as [`Policy::generate`] does, each completion under a constraint. `begin(p)` makes
    /// the constraint of a completion of prompt p.
    ///
    /// Tokens are drawn from the distribution renormalised over the allowed tokens;
    /// log-probabilities and entropies are of that distribution, and 0 where there is no
    /// choice. [`Policy::log_probs_constrained`] computes the same numbers. A completion also ends
    /// where nothing is allowed any more. All constraints that `begin` makes of one prompt are
    /// equal.
    ///
    /// Tokens without a choice cost no forward pass of their own: they are decoded together
    /// with the next choice. Logits are computed of the allowed tokens only.
    ///
    /// # Panics
    /// When [`Policy::generate`] panics, and when a constraint allows nothing to begin with.
    pub fn generate_constrained<'c>(
        &self,
        prompts: &[&[u32]],
        config: &Generation,
        begin: &dyn Fn(usize) -> Box<dyn Constraint + 'c>,
    ) -> Vec<Vec<Completion>> {
        self.run_batches(prompts, config, &|p| Some(begin(p)), &|p, g| {
            by_place(config, p, g)
        })
    }

    /// Samples with a seed for each prompt in place of the config's: what is drawn for a prompt then
    /// does not depend on which others there are. Completions are constrained where `begin` is
    /// given.
    ///
    /// # Panics
    /// When [`Policy::generate_constrained`] panics, and when there are not as many seeds as prompts.
    pub fn generate_seeded<'c>(
        &self,
        prompts: &[&[u32]],
        seeds: &[u64],
        config: &Generation,
        begin: Option<&dyn Fn(usize) -> Box<dyn Constraint + 'c>>,
    ) -> Vec<Vec<Completion>> {
        assert_eq!(prompts.len(), seeds.len(), "a seed for each prompt");
        self.run_batches(prompts, config, &|p| Some(begin?(p)), &|p, g| {
            (seeds[p], g as u64)
        })
    }

    /// Samples for a part of a longer list of prompts, so that several devices can share the list.
    /// These are the prompts from place `first` on, and they get the completions that they get in
    /// the whole list. Completions are constrained where `begin` is given.
    ///
    /// # Panics
    /// When [`Policy::generate_constrained`] panics.
    pub fn generate_part<'c>(
        &self,
        prompts: &[&[u32]],
        first: usize,
        config: &Generation,
        begin: Option<&dyn Fn(usize) -> Box<dyn Constraint + 'c>>,
    ) -> Vec<Vec<Completion>> {
        self.run_batches(prompts, config, &|p| Some(begin?(p)), &|p, g| {
            by_place(config, first + p, g)
        })
    }

    fn run_batches<'c>(
        &self,
        prompts: &[&[u32]],
        config: &Generation,
        begin: Begin<'_, 'c>,
        stream: Stream<'_>,
    ) -> Vec<Vec<Completion>> {
        assert!(
            config.group_size > 0 && config.max_new_tokens > 0,
            "group_size and max_new_tokens must be positive"
        );
        config
            .sampling
            .check()
            .unwrap_or_else(|e| panic!("sampling, {e}"));
        prompts.iter().for_each(|prompt| self.assert_known(prompt));
        assert!(
            prompts.iter().all(|prompt| !prompt.is_empty()),
            "a prompt is empty"
        );
        let mut results: Vec<Vec<Completion>> = vec![vec![]; prompts.len()];
        let mut batch = Batch::new(self, prompts, config, begin, stream);
        while !batch.is_done() {
            batch.step();
            batch.leave(|p, completions| results[p] = completions);
        }
        results
    }
}

/// A new batch of prompts enters when so large a part of the slots is free: the more at once, the
/// faster.
const FREE_SHARE: usize = 4;

/// Prompt tokens in one forward pass.
const PREFILL_TOKENS: usize = 16_384;

struct Batch<'a, 'c> {
    session: Session<'a>,
    config: &'a Generation,
    prompts: &'a [&'a [u32]],
    begin: Begin<'a, 'c>,
    stream: Stream<'a>,
    /// Prompts still to come, the shortest first: taken from the end.
    waiting: Vec<usize>,
    /// Room for a prompt and its completions each.
    slots: Vec<Option<Group<'c>>>,
}

/// Makes the constraint of prompt p.
type Begin<'a, 'c> = &'a dyn Fn(usize) -> Option<Box<dyn Constraint + 'c>>;

/// The seed and the stream of random numbers of completion g of prompt p.
type Stream<'a> = &'a dyn Fn(usize, usize) -> (u64, u64);

/// One seed, and a stream for each place.
fn by_place(config: &Generation, p: usize, g: usize) -> (u64, u64) {
    (config.seed, (p * config.group_size + g) as u64)
}

/// A prompt and its completions.
struct Group<'c> {
    prompt: usize,
    rows: Vec<Row<'c>>,
}

impl<'a, 'c> Batch<'a, 'c> {
    fn new(
        policy: &'a Policy,
        prompts: &'a [&'a [u32]],
        config: &'a Generation,
        begin: Begin<'a, 'c>,
        stream: Stream<'a>,
    ) -> Self {
        let mut waiting: Vec<usize> = (0..prompts.len()).collect();
        waiting.sort_by_key(|&p| prompts[p].len());
        let slots = (config.max_rows / config.group_size).clamp(1, prompts.len().max(1));
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let session = Session::new(
            policy,
            slots,
            longest,
            slots * config.group_size,
            config.max_new_tokens,
        );
        Self {
            session,
            config,
            prompts,
            begin,
            stream,
            waiting,
            slots: (0..slots).map(|_| None).collect(),
        }
    }

    fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.slots.iter().all(Option::is_none)
    }

    /// Lets prompts in where there is room, or else takes all completions on by a choice.
    fn step(&mut self) {
        let free: Vec<usize> = (0..self.slots.len())
            .filter(|&slot| self.slots[slot].is_none())
            .collect();
        let enough =
            free.len() * FREE_SHARE >= self.slots.len() || free.len() >= self.waiting.len();
        if !self.waiting.is_empty() && !free.is_empty() && enough {
            self.admit(&free)
        } else {
            self.go_on()
        }
    }

    /// Runs prompts and draws the first tokens of their completions.
    fn admit(&mut self, free: &[usize]) {
        // Together at most so many tokens, to bound the activations; one prompt at least.
        let mut tokens = 0;
        let fits = |p: &&usize| {
            tokens += self.prompts[**p].len();
            tokens <= PREFILL_TOKENS
        };
        let n = self
            .waiting
            .iter()
            .rev()
            .take(free.len())
            .take_while(fits)
            .count()
            .max(1);
        let entering = self.waiting.split_off(self.waiting.len() - n);
        let reading: Vec<(usize, &[u32])> = free
            .iter()
            .zip(&entering)
            .map(|(s, p)| (*s, self.prompts[*p]))
            .collect();
        let hidden = self.session.prefill(&reading);
        let config = self.config;
        let row = |p: usize, g: usize| {
            let (seed, stream) = (self.stream)(p, g);
            let row = Row::new(seed, stream, (self.begin)(p));
            assert!(
                row.allowed().is_none_or(|tokens| !tokens.is_empty()),
                "the constraint of prompt {p} allows nothing"
            );
            row
        };
        let group = |p: usize| Group {
            prompt: p,
            rows: (0..config.group_size).map(|g| row(p, g)).collect(),
        };
        let mut groups: Vec<Group<'c>> = entering.into_iter().map(group).collect();
        let sites = groups
            .iter_mut()
            .map(|group| (self.prompts[group.prompt], group.rows.iter_mut().collect()));
        draw(self.session.policy, config, hidden, sites.collect());
        for (slot, group) in free.iter().zip(groups) {
            self.slots[*slot] = Some(group);
        }
    }

    /// Feeds what was written since the last pass, and draws what comes next.
    fn go_on(&mut self) {
        let g = self.config.group_size;
        let mut going = vec![];
        for (slot, group) in self.slots.iter().enumerate() {
            let Some(Group { prompt, rows }) = group else {
                continue;
            };
            let active = rows
                .iter()
                .enumerate()
                .filter(|(_, row)| !row.is_done(self.config));
            going.extend(active.map(|(place, row)| Going {
                row: slot * g + place,
                prompt: slot,
                prompt_length: self.prompts[*prompt].len(),
                tokens: &row.completion.tokens,
                pending: row.pending(),
            }));
        }
        let hidden = self.session.decode(&going);
        let prompts = self.prompts;
        let groups = self.slots.iter_mut().flatten();
        let active = groups.flat_map(|group| {
            let prompt = prompts[group.prompt];
            group
                .rows
                .iter_mut()
                .filter(|row| !row.is_done(self.config))
                .map(move |row| (prompt, vec![row]))
        });
        draw(self.session.policy, self.config, hidden, active.collect());
    }

    /// Takes out the prompts whose completions are all there.
    fn leave(&mut self, mut found: impl FnMut(usize, Vec<Completion>)) {
        let config = self.config;
        for slot in &mut self.slots {
            if let Some(group) =
                slot.take_if(|group| group.rows.iter().all(|row| row.is_done(config)))
            {
                found(
                    group.prompt,
                    group.rows.into_iter().map(|row| row.completion).collect(),
                );
            }
        }
    }
}

/// Draws for rows that go on from the same hidden state, `[sites, D]`, with their prompt.
fn draw(
    policy: &Policy,
    config: &Generation,
    hidden: Tensor<2>,
    sites: Vec<(&[u32], Vec<&mut Row<'_>>)>,
) {
    // Rows of one site begin together, so that what is allowed is the same for all of them.
    let allowed: Option<Vec<&[u32]>> = sites.iter().map(|(_, rows)| rows[0].allowed()).collect();
    let (sizes, logits): (Vec<usize>, Tensor<1>) = match allowed {
        Some(allowed) => {
            let sizes = allowed.iter().map(|tokens| tokens.len()).collect();
            (
                sizes,
                convrec_kernels::logits_constrained(hidden, policy.output_matrix(), &allowed),
            )
        }
        None => (
            vec![policy.config().vocab_size; sites.len()],
            policy.logits(hidden).flatten(0, 1),
        ),
    };
    let mut logits = logits
        .into_data()
        .try_into_vec_as::<f32>()
        .expect("logits are floats");
    let mut first = 0;
    for ((_, rows), size) in sites.iter().zip(&sizes) {
        add_prior(&mut logits[first..first + size], rows[0].prior());
        first += size;
    }
    let mut rest = logits.as_slice();
    let work = sites
        .into_iter()
        .zip(sizes)
        .flat_map(|((prompt, rows), size)| {
            let (logits, behind) = rest.split_at(size);
            rest = behind;
            rows.into_iter().map(move |row| (row, prompt, logits))
        });
    let work: Vec<_> = work.collect();
    work.into_par_iter()
        .for_each(|(row, prompt, logits)| row.go_on(logits, prompt, config));
}

/// Adds what a constraint knows of the allowed tokens to their logits.
pub(crate) fn add_prior(logits: &mut [f32], prior: Option<&[f32]>) {
    for (logit, prior) in logits.iter_mut().zip(prior.unwrap_or_default()) {
        *logit += prior;
    }
}
