use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Progress, Stage};

/// Counts finished conversations, and reports them.
pub(super) struct Counter<'p> {
    stage: Stage,
    done: AtomicUsize,
    total: usize,
    progress: &'p (dyn Fn(Progress) + Sync),
}

impl<'p> Counter<'p> {
    pub(super) fn new(stage: Stage, total: usize, progress: &'p (dyn Fn(Progress) + Sync)) -> Self {
        Self {
            stage,
            done: AtomicUsize::new(0),
            total,
            progress,
        }
    }

    pub(super) fn count(&self, more: usize) {
        let done = self.done.fetch_add(more, Ordering::Relaxed) + more;
        (self.progress)(Progress {
            stage: self.stage,
            done,
            total: self.total,
        });
    }
}
