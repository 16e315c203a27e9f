/// Processes cannot work together, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// A variable of the environment is wrong.
    #[error("{name}={found}: expected {expected}")]
    Variable {
        /// The variable.
        name: String,
        /// Its value.
        found: String,
        /// What is expected.
        expected: String,
    },
    /// The processes did not find each other.
    #[error("process {rank} of {size} did not meet the others: {problem}")]
    Meeting {
        /// This process.
        rank: usize,
        /// The number of processes.
        size: usize,
        /// What happened, and what to do.
        problem: String,
    },
    /// A process ended: it was killed, its host failed, or its network did.
    #[error("process {rank} of {size} is gone ({problem}); start all processes again")]
    Gone {
        /// The process.
        rank: usize,
        /// The number of processes.
        size: usize,
        /// The words of the system.
        problem: String,
    },
    /// A process sends nothing.
    #[error(
        "process {rank} of {size} has sent nothing for {seconds} s; end it, and start all processes \
         again, with a longer CONVREC_GROUP_TIMEOUT if it was only slow"
    )]
    Silent {
        /// The process.
        rank: usize,
        /// The number of processes.
        size: usize,
        /// The time that was waited.
        seconds: u64,
    },
    /// A process stopped, and said why.
    #[error("process {rank} of {size} stopped: {reason}")]
    Stopped {
        /// The process.
        rank: usize,
        /// The number of processes.
        size: usize,
        /// Its words.
        reason: String,
    },
    /// The processes are not at the same operation, or have other data.
    #[error(
        "process {rank} of {size} is not in step with this one: {problem}; start all processes with \
         the same program, files and flags"
    )]
    OutOfStep {
        /// The process.
        rank: usize,
        /// The number of processes.
        size: usize,
        /// What differs.
        problem: String,
    },
}
