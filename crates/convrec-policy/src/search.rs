//! Searches for several completions of one prompt: beam search, and sampling without replacement.

use rand::{Rng, RngExt, SeedableRng, distr::Open01};
use rand_chacha::ChaCha8Rng;

use crate::constraint::Constraint;
use crate::generation::Completion;
use crate::request::{Request, SubmitError, Written};
use crate::row::Settings;
use crate::sampling::Sampling;

/// How an [`Engine`](crate::Engine) looks for several completions of a prompt under a constraint.
///
/// Every step takes each of the `num_beams` best beginnings on by one choice. The search ends when
/// no beginning is better than the completions that were found.
pub struct Search<'a> {
    /// Beginnings that are kept from step to step.
    pub num_beams: usize,
    /// Completions that are given back, at most `num_beams`; fewer where there are fewer.
    pub num_return_sequences: usize,
    kind: Kind,
    constraint: Box<dyn Fork + 'a>,
}

/// What is best.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The most likely.
    BeamSearch,
    /// The one with the largest perturbed log-probability.
    WithoutReplacement { seed: u64, stream: u64 },
}

impl<'a> Search<'a> {
    /// The most likely completions, best first. With one beam it is greedy decoding; with as many
    /// as there are completions it is exact.
    #[must_use]
    pub fn beams(constraint: impl Constraint + Clone + 'a, num_beams: usize) -> Self {
        Self {
            num_beams,
            num_return_sequences: num_beams,
            kind: Kind::BeamSearch,
            constraint: Box::new(constraint),
        }
    }

    /// So many different completions, drawn one after the other without replacement: each from the
    /// policy's distribution over those that were not drawn before (stochastic beam search, Kool et
    /// al., [arXiv 1903.06059]). They are exact draws however many beams there are, as long as
    /// there is one for each. Completions with the same seed and other streams are drawn
    /// independently.
    ///
    /// [arXiv 1903.06059]: https://arxiv.org/abs/1903.06059
    #[must_use]
    pub fn without_replacement(
        constraint: impl Constraint + Clone + 'a,
        num_return_sequences: usize,
        seed: u64,
        stream: u64,
    ) -> Self {
        Self {
            kind: Kind::WithoutReplacement { seed, stream },
            ..Self::beams(constraint, num_return_sequences)
        }
    }

    /// The same search that gives back so many of its completions.
    #[must_use]
    pub fn returning(self, num_return_sequences: usize) -> Self {
        Self {
            num_return_sequences,
            ..self
        }
    }

    /// Whether a request can be answered by it.
    pub(crate) fn check(&self, request: &Request<'_>) -> Result<(), SubmitError> {
        let (beams, asked) = (self.num_beams, self.num_return_sequences);
        let bad = |problem: String| Err(SubmitError::Search(problem));
        if !(1..=beams).contains(&asked) {
            let expected = format!("expected 1 to {beams}, the number of beams");
            return bad(format!(
                "a search that gives back {asked} completions; {expected}"
            ));
        }
        if !request.writers.is_empty() {
            return bad("a request with a search and writers; expected one of them".into());
        }
        let plain = Sampling {
            temperature: request.sampling.temperature,
            ..Sampling::default()
        };
        if request.sampling != plain {
            return bad("a search with filters; expected a temperature alone".into());
        }
        match self.constraint.allowed().is_empty() {
            true => Err(SubmitError::NothingAllowed),
            false => Ok(()),
        }
    }
}

/// A constraint that several completions go on from.
trait Fork: Constraint {
    fn fork<'b>(&self) -> Box<dyn Fork + 'b>
    where
        Self: 'b;
}

impl<C: Constraint + Clone> Fork for C {
    fn fork<'b>(&self) -> Box<dyn Fork + 'b>
    where
        Self: 'b,
    {
        Box::new(self.clone())
    }
}

/// A beginning with its way on.
pub(crate) struct Beam<'a> {
    completion: Completion,
    log_prob: f64,
    /// What beginnings are compared by: never more than that of what it goes on from.
    score: f64,
    /// Of the random numbers of its children.
    seed: u64,
    constraint: Box<dyn Fork + 'a>,
    /// Which of the rows of the cache is its own.
    pub(crate) slot: usize,
    /// How many of its tokens have their keys and values in the cache.
    pub(crate) cached: usize,
}

impl Beam<'_> {
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.completion.tokens
    }

    pub(crate) fn allowed(&self) -> &[u32] {
        self.constraint.allowed()
    }

    pub(crate) fn prior(&self) -> Option<&[f32]> {
        self.constraint.prior()
    }

    fn push(&mut self, token: u32, log_prob: f64, entropy: f64, settings: &Settings) {
        let completion = &mut self.completion;
        completion.tokens.push(token);
        completion.log_probs.push(log_prob as f32);
        completion.entropies.push(entropy as f32);
        self.constraint.push(token);
        completion.ended = token == settings.end_token || self.constraint.allowed().is_empty();
    }

    fn is_done(&self, settings: &Settings) -> bool {
        self.completion.ended || self.completion.tokens.len() >= settings.max_new_tokens
    }
}

/// A search under way.
pub(crate) struct Searching<'a> {
    num_beams: usize,
    num_return_sequences: usize,
    draws: bool,
    pub(crate) open: Vec<Beam<'a>>,
    /// Best first.
    done: Vec<(f64, Completion)>,
    /// What the cache must copy before the next pass: from a row to another, so many tokens.
    moves: Vec<Move>,
}

/// Tokens of a row of the cache that another one begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) tokens: usize,
}

/// A beginning's next token.
struct Step {
    parent: usize,
    /// Among the allowed tokens.
    place: usize,
    log_prob: f64,
    score: f64,
    seed: u64,
}

impl<'a> Searching<'a> {
    pub(crate) fn new(search: Search<'a>) -> Self {
        let seed = match search.kind {
            Kind::BeamSearch => 0,
            Kind::WithoutReplacement { seed, stream } => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                rng.set_stream(stream);
                rng.next_u64()
            }
        };
        let begin = Beam {
            completion: Completion {
                tokens: vec![],
                log_probs: vec![],
                entropies: vec![],
                ended: false,
                passes: 0,
            },
            log_prob: 0.0,
            score: 0.0,
            seed,
            constraint: search.constraint,
            slot: 0,
            cached: 0,
        };
        Self {
            num_beams: search.num_beams,
            num_return_sequences: search.num_return_sequences,
            draws: matches!(search.kind, Kind::WithoutReplacement { .. }),
            open: vec![begin],
            done: vec![],
            moves: vec![],
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn written(self) -> Vec<Written> {
        let written = |(_, completion): (f64, Completion)| Written {
            top: vec![vec![]; completion.tokens.len()],
            completion,
        };
        self.done.into_iter().map(written).collect()
    }

    pub(crate) fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    /// Takes all beginnings on by a choice, given the logits of what each allows.
    pub(crate) fn step(&mut self, logits: &[&[f32]], settings: &Settings) {
        let (mut steps, mut entropies) = (vec![], vec![]);
        for (parent, (beam, logits)) in self.open.iter().zip(logits).enumerate() {
            let (log_probs, entropy) = log_softmax(logits, settings.sampling.temperature);
            entropies.push(entropy);
            let scores = match self.draws {
                true => beam.perturbed(&log_probs),
                false => log_probs.iter().map(|p| (beam.log_prob + p, 0)).collect(),
            };
            let each = log_probs.iter().zip(scores).enumerate();
            steps.extend(each.map(|(place, (log_prob, (score, seed)))| Step {
                parent,
                place,
                log_prob: *log_prob,
                score,
                seed,
            }));
        }
        let order = |a: &Step, b: &Step| {
            let places = (a.parent, a.place).cmp(&(b.parent, b.place));
            b.score.total_cmp(&a.score).then(places)
        };
        if steps.len() > self.num_beams {
            steps.select_nth_unstable_by(self.num_beams, order);
            steps.truncate(self.num_beams);
        }
        steps.sort_unstable_by(order);
        let mut next = vec![];
        for step in steps {
            let parent = &self.open[step.parent];
            let child = parent.child(&step, entropies[step.parent], settings);
            match child.is_done(settings) {
                true => self.done.push((child.score, child.completion)),
                false => next.push(child),
            }
        }
        self.done.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.done.truncate(self.num_return_sequences);
        // A beginning only ever becomes worse, so those below the worst of enough completions can
        // never be among the best. NaN has no order: beginnings of weights that have diverged stay,
        // and the search ends with the constraint.
        let last = self.done.get(self.num_return_sequences - 1);
        let bar = last.map_or(f64::NEG_INFINITY, |(score, _)| *score);
        let is_below = |beam: &Beam<'_>| last.is_some() && beam.score <= bar;
        next.retain(|beam| !is_below(beam));
        self.open = next;
        self.give_slots();
    }

    /// The first child of a beginning has its slot; the others take free ones, which is what the
    /// cache must copy.
    fn give_slots(&mut self) {
        let mut taken = vec![false; self.num_beams];
        let mut others = vec![];
        for (n, beam) in self.open.iter().enumerate() {
            match std::mem::replace(&mut taken[beam.slot], true) {
                false => {}
                true => others.push(n),
            }
        }
        let mut free = (0..self.num_beams).filter(|slot| !taken[*slot]);
        for n in others {
            let beam = &mut self.open[n];
            let to = free.next().expect("no more beams than slots");
            self.moves.push(Move {
                from: beam.slot,
                to,
                tokens: beam.cached,
            });
            beam.slot = to;
        }
    }
}

impl<'a> Beam<'a> {
    /// This beginning with one more choice, and the tokens behind it that leave none.
    fn child(&self, step: &Step, entropy: f64, settings: &Settings) -> Self {
        let mut child = Self {
            completion: Completion {
                passes: self.completion.passes + 1,
                ..self.completion.clone()
            },
            log_prob: self.log_prob + step.log_prob,
            score: step.score,
            seed: step.seed,
            constraint: self.constraint.fork(),
            slot: self.slot,
            cached: self.completion.tokens.len(),
        };
        let token = self.constraint.allowed()[step.place];
        child.push(token, step.log_prob, entropy, settings);
        while !child.is_done(settings)
            && let [only] = *child.constraint.allowed()
        {
            child.push(only, 0.0, 0.0, settings);
        }
        child
    }

    /// For each child its perturbed log-probability, and the seed of its own children. The
    /// perturbed log-probabilities are Gumbel variables of which the largest is this beginning's
    /// own. They depend on the seed and on the way here alone.
    fn perturbed(&self, log_probs: &[f64]) -> Vec<(f64, u64)> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let draw = |log_prob: &f64| {
            let uniform: f64 = rng.sample(Open01);
            let gumbel = self.log_prob + log_prob - (-uniform.ln()).ln();
            (gumbel, rng.next_u64())
        };
        let mut all: Vec<(f64, u64)> = log_probs.iter().map(draw).collect();
        let max = all.iter().map(|(gumbel, _)| *gumbel);
        let max = max.fold(f64::NEG_INFINITY, f64::max);
        for (gumbel, _) in &mut all {
            *gumbel = truncated(*gumbel, max, self.score);
        }
        all
    }
}

/// Of independent Gumbel variables, of which `max` is the largest, what `gumbel` is given that the
/// largest is `bound` (Kool et al., appendix B.3, in the form that loses no digits).
fn truncated(gumbel: f64, max: f64, bound: f64) -> f64 {
    let v = bound - gumbel + (-(gumbel - max).exp()).ln_1p();
    bound - v.max(0.0) - (-v.abs()).exp().ln_1p()
}

/// Log-probabilities under `softmax(logits / temperature)` and the entropy, in nats; at a
/// temperature of 0 under `softmax(logits)`.
fn log_softmax(logits: &[f32], temperature: f32) -> (Vec<f64>, f64) {
    let scale = if temperature == 0.0 {
        1.0
    } else {
        1.0 / f64::from(temperature)
    };
    let scaled: Vec<f64> = logits.iter().map(|x| f64::from(*x) * scale).collect();
    let max = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = scaled.iter().map(|x| (x - max).exp()).sum::<f64>().ln() + max;
    let log_probs: Vec<f64> = scaled.iter().map(|x| x - log_sum).collect();
    let terms = log_probs.iter().filter(|p| p.is_finite());
    let entropy = -terms.map(|p| p.exp() * p).sum::<f64>();
    (log_probs, entropy)
}
