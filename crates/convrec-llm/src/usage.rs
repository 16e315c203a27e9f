use std::fmt;
use std::iter::Sum;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// The price of a million tokens, in any currency.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// The price of tokens sent. Default: 0.
    pub input: f64,
    /// The price of tokens received. Default: 0.
    pub output: f64,
}

impl Price {
    /// The cost of these tokens.
    pub fn of(&self, tokens: Tokens) -> f64 {
        (self.input * tokens.input as f64 + self.output * tokens.output as f64) / 1e6
    }
}

/// Numbers of tokens sent and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tokens {
    /// Tokens sent: the prompt.
    pub input: u64,
    /// Tokens received: the answer.
    pub output: u64,
}

impl Tokens {
    /// A cautious guess where no server has counted: one token for each three bytes.
    pub(crate) fn in_text(bytes: usize) -> u64 {
        bytes.div_ceil(3) as u64
    }

    /// The sum of both.
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

/// The requests and the spending so far.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// The number of HTTP requests sent, retries included.
    pub sent: u64,
    /// The number of requests sent again after a failure.
    pub retries: u64,
    /// The number of answers that came.
    pub answered: u64,
    /// The number of answers that were in the ledger and cost nothing.
    pub from_ledger: u64,
    /// The number of answers, new or from the ledger, that were cut at the limit of tokens
    /// (`finish_reason` is `length`).
    pub cut: u64,
    /// The number of answers, new or from the ledger, that a content filter stopped
    /// (`finish_reason` is `content_filter`).
    pub filtered: u64,
    /// The tokens as the server counted them. They are estimated where it did not count or its
    /// answer was lost on the way.
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
            sum.cut += one.cut;
            sum.filtered += one.filtered;
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
            cut,
            filtered,
            ..
        } = self;
        write!(
            f,
            "{answered} answered, {from_ledger} from the ledger, {retries} retried, "
        )?;
        if *cut > 0 {
            write!(f, "{cut} cut (finish_reason `length`), ")?;
        }
        if *filtered > 0 {
            write!(f, "{filtered} filtered (finish_reason `content_filter`), ")?;
        }
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
