use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::halt::Halt;
use crate::settings::Budget;

/// What a million tokens cost, in any currency.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// Tokens sent. 0.
    pub input: f64,
    /// Tokens received. 0.
    pub output: f64,
}

impl Price {
    /// What these tokens cost.
    pub fn of(&self, tokens: Tokens) -> f64 {
        (self.input * tokens.input as f64 + self.output * tokens.output as f64) / 1e6
    }
}

/// Tokens sent and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tokens {
    /// Sent: the prompt.
    pub input: u64,
    /// Received: the answer.
    pub output: u64,
}

impl Tokens {
    /// A cautious guess where no server has counted: one token for each three bytes.
    pub(crate) fn in_text(bytes: usize) -> u64 {
        bytes.div_ceil(3) as u64
    }

    /// All of them.
    pub fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
    }
}

/// What has been asked and spent so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Usage {
    /// HTTP requests sent, retries included.
    pub sent: u64,
    /// Of these, how many were sent again after a failure.
    pub retries: u64,
    /// Answers that came.
    pub answered: u64,
    /// Answers that were in the ledger and cost nothing.
    pub from_ledger: u64,
    /// Tokens as the server counted them; as estimated, where it did not or its answer was lost on
    /// the way.
    pub tokens: Tokens,
    /// The cost of these tokens.
    pub cost: f64,
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum.sent += one.sent;
            sum.retries += one.retries;
            sum.answered += one.answered;
            sum.from_ledger += one.from_ledger;
            sum.tokens += one.tokens;
            sum.cost += one.cost;
            sum
        })
    }
}

/// `12 answered, 3 from the ledger, 1 retried, 3400 + 560 tokens, cost 0.0021`.
impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered,
            from_ledger,
            retries,
            tokens: Tokens { input, output },
            cost,
            ..
        } = self;
        write!(
            f,
            "{answered} answered, {from_ledger} from the ledger, {retries} retried, "
        )?;
        write!(f, "{input} + {output} tokens, cost {cost:.4}")
    }
}

/// Tokens with their cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Spend {
    pub tokens: Tokens,
    pub cost: f64,
}

impl Spend {
    pub fn new(tokens: Tokens, price: &Price) -> Self {
        Self {
            tokens,
            cost: price.of(tokens),
        }
    }
}

/// Counts what is spent, and lets nothing be sent that might go beyond the budget.
#[derive(Debug)]
pub(crate) struct Meter {
    budget: Budget,
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    usage: Usage,
    /// What requests under way may come to.
    reserved: Spend,
    under_way: usize,
}

impl Meter {
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            state: Mutex::default(),
            settled: Condvar::new(),
        }
    }

    pub fn usage(&self) -> Usage {
        self.state().usage
    }

    /// Sets aside what a request may come to at most. Where that is too much while others are under
    /// way, waits for these: they mostly come to less than was set aside.
    pub fn reserve(
        &self,
        most: Spend,
        retry: bool,
        halted: impl Fn() -> Option<Halt>,
    ) -> Result<(), Halt> {
        let mut state = self.state();
        loop {
            if let Some(halt) = halted() {
                return Err(halt);
            }
            match self.budget.exceeded(&state, most) {
                None => break,
                Some(limit)
                    if state.under_way == 0 || state.usage.sent >= self.budget.requests() =>
                {
                    return Err(Halt::Budget(limit));
                }
                Some(_) => {
                    state = self
                        .settled
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
        state.usage.sent += 1;
        state.usage.retries += u64::from(retry);
        state.under_way += 1;
        state.reserved.tokens += most.tokens;
        state.reserved.cost += most.cost;
        Ok(())
    }

    /// A request that had set `most` aside came to `actual`.
    pub fn settle(&self, most: Spend, actual: Spend, answered: bool) {
        let mut state = self.state();
        state.usage.answered += u64::from(answered);
        state.usage.tokens += actual.tokens;
        state.usage.cost += actual.cost;
        state.under_way -= 1;
        let reserved = state.reserved;
        // Sums of costs that come and go gather rounding; nothing under way is exactly nothing.
        state.reserved = if state.under_way == 0 {
            Spend::default()
        } else {
            let tokens = Tokens {
                input: reserved.tokens.input.saturating_sub(most.tokens.input),
                output: reserved.tokens.output.saturating_sub(most.tokens.output),
            };
            Spend {
                tokens,
                cost: reserved.cost - most.cost,
            }
        };
        self.settled.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    fn requests(&self) -> u64 {
        self.max_requests.unwrap_or(u64::MAX)
    }

    /// The limit that one more request might go beyond.
    fn exceeded(&self, state: &State, more: Spend) -> Option<String> {
        let tokens = state
            .usage
            .tokens
            .total()
            .saturating_add(state.reserved.tokens.total());
        let tokens = tokens.saturating_add(more.tokens.total());
        let cost = state.usage.cost + state.reserved.cost + more.cost;
        if state.usage.sent >= self.requests() {
            Some(format!("max_requests = {}", self.requests()))
        } else if let Some(max) = self.max_tokens.filter(|&max| tokens > max) {
            Some(format!("max_tokens = {max}"))
        } else {
            self.max_cost
                .filter(|&max| cost > max)
                .map(|max| format!("max_cost = {max}"))
        }
    }
}
