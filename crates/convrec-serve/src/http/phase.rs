//! What a connection is at, which says whether it may be closed to make room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection is left alone for so long in each phase, as what its client sent may not have been
/// read yet.
const GRACE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing came yet.
    Silent,
    /// A part of the headers came.
    Head,
    /// A part of the body came.
    Body,
    /// The request is there, and its answer is not made yet.
    Answer,
    /// An answer was made, and nothing came since.
    Kept,
}

/// The phase of a connection.
#[derive(Debug)]
pub(super) struct Progress {
    phase: Mutex<(Phase, Instant)>,
    /// Whether a part of an answer has not been taken by the system.
    sending: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            phase: Mutex::new((Phase::Silent, Instant::now())),
            sending: AtomicBool::new(false),
        }
    }

    fn phase(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, from: &[Phase], to: Phase) {
        let mut phase = self.phase();
        if from.contains(&phase.0) {
            *phase = (to, Instant::now());
        }
    }

    /// Bytes came.
    pub(super) fn received(&self) {
        self.change(&[Phase::Silent, Phase::Kept], Phase::Head);
    }

    /// The headers are there; the body may not be.
    pub(super) fn has_head(&self) {
        *self.phase() = (Phase::Body, Instant::now());
    }

    /// The body is there, or is not read any more.
    pub(super) fn has_body(&self) {
        self.change(&[Phase::Body], Phase::Answer);
    }

    /// All of the answer is made.
    pub(super) fn is_answered(&self) {
        *self.phase() = (Phase::Kept, Instant::now());
    }

    /// Bytes are to be sent.
    pub(super) fn sends(&self) {
        self.sending.store(true, Ordering::SeqCst);
    }

    /// The system took all that was to be sent.
    pub(super) fn has_sent(&self) {
        if self.sending.swap(false, Ordering::SeqCst) {
            self.change(&[Phase::Kept], Phase::Kept);
        }
    }

    /// How readily the connection is closed to make room: the least goes first. Connections between
    /// two requests go before slow requests, and of each kind the one that waits longest. Nothing
    /// is said of a connection whose answer is under way.
    pub(super) fn dispensable(&self) -> Option<(u8, Instant)> {
        let (phase, since) = *self.phase();
        let rank = match phase {
            Phase::Answer => return None,
            Phase::Kept => 0,
            Phase::Silent | Phase::Head | Phase::Body => 1,
        };
        let is_free = !self.sending.load(Ordering::SeqCst) && since.elapsed() >= GRACE;
        is_free.then_some((rank, since))
    }
}
