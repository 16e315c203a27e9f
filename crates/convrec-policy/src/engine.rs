//! Continuous batching: requests join and leave a running batch between its steps.

mod draw;
mod group;
mod room;

use std::collections::HashMap;
use std::time::Instant;

use crate::decoder::Policy;
use crate::pool::Pool;
use crate::prefix::{Known, PrefixCache, PrefixUse};
use crate::queue::{Queue, Waiting};
use crate::request::{Request, SubmitError, Written};
use crate::session::{Going, Prompt, Session};
use group::{Group, Work};

/// Writes the completions of many requests side by side, step by step.
///
/// Requests are [submitted](Self::submit) at any time. Each [`step`](Self::step) either lets
/// waiting requests in or takes all completions on by a choice, and those that are done leave at
/// once. What is drawn depends on a request alone: which others there are, and when they come and
/// go, changes no token (save where two tokens tie to rounding).
///
/// ```
/// use std::borrow::Cow;
///
/// use burn::tensor::Device;
/// use convrec_policy::{Engine, EngineLimits, ModelConfig, Outcome, Policy, Request, Sampling, Writer};
///
/// let policy = Policy::new(&ModelConfig::small(64, 32, 2, 4), 3407, &Device::flex())?;
/// let mut engine = Engine::new(&policy, EngineLimits::default());
/// let request = |prompt: &'static [u32], seed| Request {
///     prompt: Cow::Borrowed(prompt),
///     sampling: Sampling::default(),
///     max_new_tokens: 10,
///     end_token: 1,
///     writers: vec![Writer::new(seed, 0)],
///     search: None,
///     top: 0,
///     client: 0,
///     deadline: None,
/// };
/// let first = engine.submit(request(&[5, 17, 42], 7))?;
/// engine.step();
/// let second = engine.submit(request(&[9], 8))?; // joins while the first one is written
/// engine.step();
/// engine.cancel(second);
/// while !engine.is_idle() {
///     engine.step();
/// }
/// let (ticket, outcome) = engine.take_finished().remove(0);
/// assert_eq!(ticket, first);
/// let Outcome::Done(written) = outcome else { panic!("there was no deadline") };
/// assert!(!written[0].completion.tokens.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine<'a> {
    session: Session<'a>,
    limits: EngineLimits,
    pool: Pool,
    prefixes: PrefixCache,
    queue: Queue<'a>,
    running: Vec<Group<'a>>,
    /// Completions of the running requests, those that are done included.
    rows: usize,
    /// Tokens that the running requests may come to.
    tokens: usize,
    finished: Vec<(Ticket, Outcome)>,
    submitted: u64,
}

/// What an [`Engine`] takes on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineLimits {
    /// Completions side by side, at least 1.
    pub rows: usize,
    /// Tokens of prompts and of what their completions may come to, at least 1. It bounds memory,
    /// which grows with what is written and is kept for later requests.
    pub tokens: usize,
    /// Requests that wait; those that were submitted together are one.
    pub waiting: usize,
    /// Prompt tokens in one forward pass; one prompt may be longer.
    pub prefill: usize,
    /// Requests enter when one part in so many of `rows` is free: 1 waits until all is done, and a
    /// large number lets each enter at once. Letting in more of them at once is faster for all.
    pub free_share: usize,
    /// Tokens of earlier prompts whose keys and values are kept, so that a request that begins
    /// alike does not compute them again; 0 keeps none. It changes results by rounding at most.
    pub prefix: usize,
}

impl Default for EngineLimits {
    /// 64 completions, 65,536 tokens, 512 waiting requests, 2048 tokens a pass; requests enter as
    /// soon as there is room, and 8192 tokens of prompts are kept.
    fn default() -> Self {
        Self {
            rows: 64,
            tokens: 65_536,
            waiting: 512,
            prefill: 2048,
            free_share: usize::MAX,
            prefix: 8192,
        }
    }
}

/// A request that an [`Engine`] took; later ones are larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All completions, in the order of the writers.
    Done(Vec<Written>),
    /// The deadline passed before.
    Expired,
}

/// What an [`Engine`] has at hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that wait.
    pub waiting: usize,
    /// Requests under way.
    pub running: usize,
    /// Completions under way.
    pub rows: usize,
    /// Tokens that the requests under way may come to.
    pub tokens: usize,
}

impl<'a> Engine<'a> {
    /// An engine with nothing to do. Use a policy without autodiff (`policy.valid()`): with it,
    /// every step is kept for a backward pass that never comes.
    ///
    /// # Panics
    /// When `rows`, `tokens` or `free_share` is 0.
    #[must_use]
    pub fn new(policy: &'a Policy, limits: EngineLimits) -> Self {
        assert!(
            limits.rows > 0 && limits.tokens > 0 && limits.free_share > 0,
            "rows, tokens and free_share must be positive"
        );
        Self {
            session: Session::new(policy, 1),
            limits,
            pool: Pool::new(1),
            prefixes: PrefixCache::new(policy, limits.prefix),
            queue: Queue::default(),
            running: vec![],
            rows: 0,
            tokens: 0,
            finished: vec![],
            submitted: 0,
        }
    }

    /// Takes on a request.
    ///
    /// # Errors
    /// [`SubmitError::Full`] when too many requests wait; the others when it can never be answered.
    pub fn submit(&mut self, request: Request<'a>) -> Result<Ticket, SubmitError> {
        Ok(self.submit_all(vec![request])?[0])
    }

    /// Takes on several requests, or none of them. They count as one of those that wait.
    ///
    /// # Errors
    /// As [`submit`](Self::submit) for the first of them that is not taken.
    pub fn submit_all(&mut self, requests: Vec<Request<'a>>) -> Result<Vec<Ticket>, SubmitError> {
        requests
            .iter()
            .try_for_each(|request| self.check(request))?;
        let waiting = self.queue.requests();
        if waiting >= self.limits.waiting {
            return Err(SubmitError::Full { waiting });
        }
        let take = |(place, request)| {
            let ticket = Ticket(self.submitted);
            self.submitted += 1;
            self.queue.push(Waiting {
                ticket,
                request,
                rides: place > 0,
            });
            ticket
        };
        Ok(requests.into_iter().enumerate().map(take).collect())
    }

    fn check(&self, request: &Request<'a>) -> Result<(), SubmitError> {
        let EngineLimits { rows, tokens, .. } = self.limits;
        let (asked, prompt) = (request.rows(), &request.prompt);
        if prompt.is_empty() {
            return Err(SubmitError::Empty("prompt"));
        }
        if request.max_new_tokens == 0 {
            return Err(SubmitError::Empty("max_new_tokens"));
        }
        if asked == 0 || asked > rows {
            return Err(SubmitError::Rows { asked, most: rows });
        }
        let needed = asked
            .saturating_mul(request.max_new_tokens)
            .saturating_add(prompt.len());
        if needed > tokens {
            return Err(SubmitError::Tokens {
                needed,
                most: tokens,
            });
        }
        let known = self.session.policy.config().vocab_size;
        if let Some(token) = prompt.iter().find(|token| **token as usize >= known) {
            return Err(SubmitError::Token {
                token: *token,
                known,
            });
        }
        request.sampling.check()?;
        if let Some(search) = &request.search {
            return search.check(request);
        }
        let nothing = |writer: &crate::Writer<'a>| {
            let constraint = writer.constraint.as_ref();
            constraint.is_some_and(|constraint| constraint.allowed().is_empty())
        };
        match request.writers.iter().any(nothing) {
            true => Err(SubmitError::NothingAllowed),
            false => Ok(()),
        }
    }

    /// Gives up a request, and says whether it was waiting or under way.
    pub fn cancel(&mut self, ticket: Ticket) -> bool {
        let waiting = self.queue.remove(|other, _| other == ticket);
        if !waiting.is_empty() {
            return true;
        }
        let place = self.running.iter().position(|group| group.ticket == ticket);
        place.map(|place| self.leave(place)).is_some()
    }

    /// Lets requests in where there is room, or else takes all completions on by a choice.
    pub fn step(&mut self) {
        self.expire(Instant::now());
        let free = self.limits.rows - self.rows;
        let enough = free.saturating_mul(self.limits.free_share) >= self.limits.rows
            || free >= self.queue.rows();
        let admitted = enough && self.admit();
        if !admitted && !self.running.is_empty() {
            self.go_on();
        }
        let mut place = 0;
        while place < self.running.len() {
            if !self.running[place].is_done() {
                place += 1;
                continue;
            }
            let group = self.leave(place);
            let ticket = group.ticket;
            self.finished.push((ticket, Outcome::Done(group.written())));
        }
    }

    /// Whether nothing waits and nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty()
    }

    /// What there is to do.
    #[must_use]
    pub fn load(&self) -> Load {
        Load {
            waiting: self.queue.requests(),
            running: self.running.len(),
            rows: self.rows,
            tokens: self.tokens,
        }
    }

    /// What is kept of earlier prompts.
    #[must_use]
    pub fn prefixes(&self) -> PrefixUse {
        self.prefixes.used()
    }

    /// Completions that wait for room.
    pub(crate) fn waiting_rows(&self) -> usize {
        self.queue.rows()
    }

    /// What a completion of a request under way consists of so far: its tokens and their
    /// log-probabilities. There is nothing where the request waits or is no longer here, and of a
    /// search, which may yet give up what it has begun.
    #[must_use]
    pub fn written(&self, ticket: Ticket, writer: usize) -> (&[u32], &[f32]) {
        let group = self.running.iter().find(|group| group.ticket == ticket);
        let rows = group.map(|group| match &group.work {
            Work::Rows(rows) => rows.as_slice(),
            Work::Search(_) => &[],
        });
        rows.and_then(|rows| rows.get(writer))
            .map_or((&[], &[]), |row| {
                (&row.completion.tokens, &row.completion.log_probs)
            })
    }

    /// What became of requests since the last call, in the order in which they ended.
    pub fn take_finished(&mut self) -> Vec<(Ticket, Outcome)> {
        std::mem::take(&mut self.finished)
    }

    fn expire(&mut self, now: Instant) {
        let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let mut expired = self.queue.remove(|_, deadline| over(deadline));
        let mut place = 0;
        while place < self.running.len() {
            if over(self.running[place].deadline) {
                expired.push(self.leave(place).ticket);
            } else {
                place += 1;
            }
        }
        let expired = expired.into_iter();
        self.finished
            .extend(expired.map(|ticket| (ticket, Outcome::Expired)));
    }

    /// Takes a request out of the batch.
    fn leave(&mut self, place: usize) -> Group<'a> {
        let group = self.running.remove(place);
        self.rows -= group.slots;
        self.tokens -= group.promised();
        self.pool.give_back(group.first, group.places());
        group
    }

    /// Runs prompts and draws the first tokens of their completions; says whether there were any.
    fn admit(&mut self) -> bool {
        let mut under_way: HashMap<u64, usize> = HashMap::new();
        for group in &self.running {
            *under_way.entry(group.client).or_default() += group.slots;
        }
        let (already, mut tokens) = (self.running.len(), 0);
        while let Some(client) = self.queue.next_client(&under_way) {
            let Some(request) = self.queue.first_of(client) else {
                break;
            };
            let (rows, prompt) = (request.rows(), &request.prompt);
            let promised = prompt.len() + rows * request.max_new_tokens;
            let known = self.prefixes.find(prompt);
            tokens += prompt.len() - known.length;
            let entering = &self.running[already..];
            // Of prompts that come together and begin alike, one is read first.
            let waits = entering
                .iter()
                .any(|group| self.prefixes.is_worth_waiting(prompt, known, &group.prompt));
            if self.rows + rows > self.limits.rows
                || self.tokens + promised > self.limits.tokens
                || !(entering.is_empty() || tokens <= self.limits.prefill)
                || waits
            {
                break;
            }
            let Some(waiting) = self.queue.pop(client) else {
                break;
            };
            *under_way.entry(client).or_default() += rows;
            self.rows += rows;
            self.tokens += promised;
            self.running.push(Group::new(waiting, known));
        }
        self.make_room(already);
        let entering = &mut self.running[already..];
        if entering.is_empty() {
            return false;
        }
        let known: Vec<(Known, usize)> = entering.iter().map(|g| (g.known, g.first)).collect();
        self.prefixes.copy_out(&mut self.session, &known);
        let reading: Vec<Prompt<'_>> = entering
            .iter()
            .map(|group| Prompt {
                first: group.first,
                tokens: &group.prompt,
                known: group.known.length,
            })
            .collect();
        let hidden = self.session.prefill(&reading);
        for group in &*entering {
            self.prefixes
                .keep(&self.session, &group.prompt, group.first);
        }
        draw::draw(
            self.session.policy,
            hidden,
            entering.iter_mut().map(Group::all),
        );
        self.settle();
        true
    }

    /// Feeds what was written since the last pass, and draws what comes next.
    fn go_on(&mut self) {
        self.move_to_more_room();
        let mut going = vec![];
        for group in &self.running {
            going.extend(group.heads().into_iter().map(|head| Going {
                prompt: group.first,
                prompt_length: group.prompt.len(),
                own: group.own(head.slot),
                tokens: head.tokens,
                pending: head.tokens.len() - head.cached,
            }));
        }
        let hidden = self.session.decode(&going);
        let sites = self.running.iter_mut().flat_map(Group::active);
        draw::draw(self.session.policy, hidden, sites);
        self.settle();
    }
}
