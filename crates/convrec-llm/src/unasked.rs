//! The requests that a stop leaves unasked, and their estimated tokens.

use crate::halt::Halt;
use crate::usage::Spend;

/// Requests that were not sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unasked {
    pub requests: usize,
    pub most: Spend,
}

impl Unasked {
    pub fn add(&mut self, most: Spend) {
        self.requests += 1;
        self.most.tokens += most.tokens;
        self.most.cost += most.cost;
    }

    /// The reason why nothing was asked, and an estimate of the rest.
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
            "{halt}; a further run needs at most {tokens} tokens{cost} for the {requests} \
             requests that are left"
        )
    }
}
