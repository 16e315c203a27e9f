use std::fmt;

/// The reason why nothing more is asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Halt {
    Stopped,
    /// The limit that the next request might go beyond.
    Budget(String),
    /// This many requests failed alike.
    Repeated(usize, String),
    /// An answer could not be kept.
    Unkept(String),
    /// The server did not load new weights.
    Stale(String),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => write!(f, "stopped before it was answered"),
            Self::Budget(limit) => write!(f, "the budget is used up: {limit}"),
            Self::Repeated(n, problem) => write!(
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

/// The reason why a request has no answer.
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
