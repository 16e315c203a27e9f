//! Counts the spending, and keeps to the budget.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::halt::Halt;
use crate::settings::Budget;
use crate::usage::{Spend, Tokens, Usage};

/// Counts the spending, and holds back requests that might go beyond the budget.
#[derive(Debug)]
pub(crate) struct Meter {
    budget: Budget,
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    usage: Usage,
    /// The most that the requests under way may cost.
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

    /// Sets aside the most that a request may cost. Where that is too much while others are under
    /// way, it waits for these, as they mostly cost less than was set aside.
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

    /// Counts a request that had set `most` aside and cost `actual`.
    pub fn settle(&self, most: Spend, actual: Spend, answered: bool) {
        let mut state = self.state();
        state.usage.answered += u64::from(answered);
        state.usage.tokens += actual.tokens;
        state.usage.cost += actual.cost;
        state.under_way -= 1;
        let reserved = state.reserved;
        // Sums of costs that come and go gather rounding. With nothing under way the sum is set to
        // exactly 0.
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
