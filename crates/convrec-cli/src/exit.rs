use std::error::Error;
use std::process::ExitCode;

use convrec_train::{RunError, TrainError};

use crate::output::warn;

/// The outcome of a program.
pub type Outcome = Result<(), Box<dyn Error>>;

/// There is no error, but more to do. The text says what is missing and how to go on. The exit
/// status is 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Paused(pub String);

/// The exit code of a program: 0 for success, 2 where there is more to do ([`Paused`], or a run
/// that was stopped), 1 for an error. An error is printed in its own words.
pub fn exit(outcome: Outcome) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    if error.is::<Paused>() {
        warn(&error);
        return ExitCode::from(2);
    }
    let run: Option<&RunError> = error.downcast_ref();
    if let Some(RunError::Train(stopped @ TrainError::Stopped { .. })) = run {
        warn(&format_args!("{stopped}, by --resume"));
        return ExitCode::from(2);
    }
    warn(&format_args!("error: {error}"));
    ExitCode::FAILURE
}
