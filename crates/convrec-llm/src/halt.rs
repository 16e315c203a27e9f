use std::fmt;

use crate::usage::Spend;

/// Why nothing more is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Halt {
    Stopped,
    /// The limit that the next request might go beyond.
    Budget(String),
    /// So many requests failed alike.
    Alike(usize, String),
    /// An answer could not be kept.
    Unkept(String),
    /// It did not take new weights.
    Stale(String),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "stopped before it was answered"),
            Self::Budget(limit) => write!(f, "the budget is used up: {limit}"),
            Self::Alike(n, problem) => write!(
                f,
                "not asked, as {n} requests in a row failed alike: {problem}"
            ),
            Self::Unkept(error) => write!(f, "not asked, as answers cannot be kept: {error}"),
            Self::Stale(problem) => {
                write!(f, "not asked, as it did not take new weights: {problem}")
            }
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// It was not asked, or not again.
    Halted(Halt),
    /// It failed by itself.
    Failed(String),
}

impl From<Halt> for Failure {
    fn from(halt: Halt) -> Self {
        Self::Halted(halt)
    }
}

/// What was not asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Left {
    pub requests: usize,
    pub most: Spend,
}

impl Left {
    pub fn add(&mut self, most: Spend) {
        self.requests += 1;
        self.most.tokens += most.tokens;
        self.most.cost += most.cost;
    }

    /// Why nothing was asked, and what asking would need.
    pub fn explain(&self, halt: &Halt) -> String {
        let Self {
            requests,
            most: Spend { tokens, cost },
        } = self;
        let cost = if *cost > 0.0 {
            format!(" and a cost of {cost:.4}")
        } else {
            String::new()
        };
        let tokens = tokens.total();
        format!(
            "{halt}; a further run needs at most {tokens} tokens{cost} for the {requests} requests that are left"
        )
    }
}
