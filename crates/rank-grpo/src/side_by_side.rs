//! Work on several threads.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;

/// The fewest tokens that are worth a thread: they take about a millisecond, and a thread's start
/// some hundredths of one.
const TOKENS_A_THREAD: usize = 1 << 17;

/// The number of threads for a batch of this shape: at most `asked`, or as many as the machine has.
pub(crate) fn threads(asked: Option<NonZeroUsize>, [rows, tokens]: [usize; 2]) -> usize {
    static AVAILABLE: OnceLock<usize> = OnceLock::new();
    let worthwhile = (rows * tokens / TOKENS_A_THREAD).min(rows);
    if worthwhile < 2 {
        return 1;
    }
    let of_machine = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let most = asked.map_or_else(|| *AVAILABLE.get_or_init(of_machine), NonZeroUsize::get);
    worthwhile.min(most)
}

/// Runs `run` on each part, the first on this thread and each other one on its own.
pub(crate) fn side_by_side<P: Send>(parts: impl IntoIterator<Item = P>, run: impl Fn(P) + Sync) {
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { return };
    let Some(second) = parts.next() else {
        return run(first);
    };
    let run = &run;
    thread::scope(|scope| {
        for part in std::iter::once(second).chain(parts) {
            scope.spawn(move || run(part));
        }
        run(first);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn small_batches_take_one_thread() {
        let asked = NonZeroUsize::new(4);
        assert_eq!(threads(asked, [64, 512]), 1);
        assert_eq!(threads(asked, [256, 1024]), 2);
        assert_eq!(threads(asked, [1024, 1024]), 4);
        assert_eq!(threads(asked, [1, 1 << 20]), 1);
        assert_eq!(threads(NonZeroUsize::new(1), [1024, 1024]), 1);
        assert_eq!(threads(asked, [0, 1024]), 1);
    }

    #[test]
    fn every_part_is_run_once() {
        for parts in 0..4 {
            let sum = AtomicUsize::new(0);
            side_by_side(1..=parts, |part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), parts * (parts + 1) / 2);
        }
    }
}
