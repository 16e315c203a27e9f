//! Why there is no server.

use convrec_train::ModelError;

/// A server that does not start, or that ended otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The model does not fit the catalog, or its folder is wrong.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A limit leaves no room for any request.
    #[error("limit `{limit}` (`--{limit}`): {problem}")]
    Limit {
        /// The field of [`EngineLimits`](crate::EngineLimits).
        limit: &'static str,
        /// What was found and expected.
        problem: String,
    },
    /// The network or the system refuses something.
    #[error("cannot {doing}: {error}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// The thread that holds the model ended by itself. There is a bug; what it printed says more.
    #[error("the model stopped working, so the server ended")]
    Died,
}

impl ServeError {
    pub(crate) fn io(doing: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |error| Self::Io { doing, error }
    }
}
