//! How much this process has computed, in numbers that do not depend on the machine.

use std::sync::atomic::{AtomicU64, Ordering};

static PASSES: AtomicU64 = AtomicU64::new(0);
static BLOCK_TOKENS: AtomicU64 = AtomicU64::new(0);

/// What the policies of this process have computed since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Forward passes, each over all that was packed into it.
    pub passes: u64,
    /// Tokens times blocks that they went through, what gradient checkpointing computes anew
    /// included.
    pub block_tokens: u64,
}

impl Work {
    /// What has been computed so far. The difference of two is what was computed between them.
    pub fn so_far() -> Self {
        Self {
            passes: PASSES.load(Ordering::Relaxed),
            block_tokens: BLOCK_TOKENS.load(Ordering::Relaxed),
        }
    }
}

pub(crate) fn count_pass() {
    PASSES.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn count_block(tokens: usize) {
    BLOCK_TOKENS.fetch_add(tokens as u64, Ordering::Relaxed);
}
