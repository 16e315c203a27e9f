use convrec_core::printable;

/// A teacher, judge, embedder, describer or chat model gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service}: {problem}")]
pub struct ServiceError {
    /// Which service failed, with what identifies it: a file, an address, a model.
    pub service: String,
    /// What happened, what was expected and what to do.
    pub problem: String,
}

impl ServiceError {
    /// An error of `service`. Both texts may hold what a model or a server said: characters that
    /// would do something to a terminal are replaced ([`printable`]).
    pub fn new(service: impl Into<String>, problem: impl Into<String>) -> Self {
        let [service, problem] = [service.into(), problem.into()];
        Self {
            service: printable(&service).into_owned(),
            problem: printable(&problem).into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_no_escape_sequences() {
        let error = ServiceError::new("m\u{1b}[31m", "said \u{9b}2J\u{7}").to_string();
        assert_eq!(error, "m\u{fffd}[31m: said \u{fffd}2J\u{fffd}");
    }
}
