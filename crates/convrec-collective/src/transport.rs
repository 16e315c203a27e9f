use std::fmt;

use crate::error::GroupError;

/// The way in which processes send bytes to each other.
pub trait Transport: fmt::Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn size(&self) -> usize;

    /// Sends `to_each[r]` to each process `r`, and returns what each sent here, in the order of
    /// ranks. Nothing is sent to the process itself; its place in the result is empty.
    ///
    /// Both sides must be at the same call: all processes exchange in turn.
    ///
    /// # Errors
    /// [`GroupError`] when another process ended, hangs or stopped. Every later call fails too.
    fn exchange(&self, to_each: &[&[u8]]) -> Result<Vec<Vec<u8>>, GroupError>;

    /// Tells the others that this process stops, and why. Their exchanges fail with
    /// [`GroupError::Stopped`].
    fn abort(&self, reason: &str);
}
