//! Whether the model goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the last step of a model began.
#[derive(Debug)]
pub(crate) struct Pulse {
    since: Instant,
    /// Milliseconds after `since`, plus 1; 0 while there is nothing to do.
    last: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    pub(crate) fn beat(&self) {
        self.last.store(self.now() + 1, Ordering::SeqCst);
    }

    pub(crate) fn rest(&self) {
        self.last.store(0, Ordering::SeqCst);
    }

    /// Whether a step has taken longer than this.
    pub(crate) fn is_stuck(&self, longest: Duration) -> bool {
        match self.last.load(Ordering::SeqCst) {
            0 => false,
            last => u128::from(self.now().saturating_sub(last - 1)) > longest.as_millis(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
