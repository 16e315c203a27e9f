//! Pieces of work shared by the workers of one place or of several.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A piece of work, with the places where it failed so far and the reasons.
struct Job<E> {
    index: usize,
    failures: Vec<(usize, E)>,
}

/// Does `n` pieces of work with the given number of workers at each place. The results are in the
/// order of the pieces.
///
/// A piece that fails at one place is tried at the others. A piece that failed at all of them has
/// the error of each, in the order of the tries.
pub(crate) fn dispatch<T: Send, E: Send>(
    workers: &[usize],
    n: usize,
    work: impl Fn(usize, usize) -> Result<T, E> + Sync,
) -> Vec<Result<T, Vec<(usize, E)>>> {
    let queue: VecDeque<Job<E>> = (0..n)
        .map(|index| Job {
            index,
            failures: vec![],
        })
        .collect();
    let queue = Mutex::new(queue);
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let next = |place: usize| {
        let mut queue = lock();
        let at = queue
            .iter()
            .position(|job| job.failures.iter().all(|(tried, _)| *tried != place))?;
        queue.remove(at)
    };
    let worker = |place: usize| {
        let mut done = Vec::new();
        while let Some(mut job) = next(place) {
            match work(place, job.index) {
                Ok(result) => done.push((job.index, Ok(result))),
                Err(failure) => {
                    job.failures.push((place, failure));
                    if job.failures.len() < workers.len() {
                        lock().push_back(job);
                    } else {
                        done.push((job.index, Err(job.failures)));
                    }
                }
            }
        }
        done
    };
    let (worker, mut results) = (&worker, Vec::with_capacity(n));
    // A piece that comes back after its possible workers have ended waits for the next round.
    while results.len() < n {
        results.extend(std::thread::scope(|scope| {
            let places = workers
                .iter()
                .enumerate()
                .flat_map(|(place, &size)| std::iter::repeat_n(place, size.min(n)));
            let workers: Vec<_> = places
                .map(|place| scope.spawn(move || worker(place)))
                .collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().flat_map(join).collect::<Vec<_>>()
        }));
    }
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_piece_is_done_once_where_it_can_be() {
        let done = AtomicUsize::new(0);
        // Place 0 can do nothing, place 1 the even pieces, place 2 those that are no multiple of 3.
        let work = |place: usize, index: usize| match place {
            1 if index.is_multiple_of(2) => Ok(done.fetch_add(1, Ordering::Relaxed)),
            2 if !index.is_multiple_of(3) => Ok(done.fetch_add(1, Ordering::Relaxed)),
            _ => Err(index),
        };
        let results = dispatch(&[3, 1, 2], 600, work);
        assert_eq!((results.len(), done.into_inner()), (600, 500));
        for (index, result) in results.iter().enumerate() {
            match result {
                Ok(_) => assert!(index % 6 != 3),
                Err(failures) => {
                    let mut places: Vec<usize> = failures.iter().map(|(place, _)| *place).collect();
                    places.sort();
                    assert!(
                        index % 6 == 3
                            && places == [0, 1, 2]
                            && failures.iter().all(|(_, found)| *found == index)
                    );
                }
            }
        }
        assert!(dispatch(&[2], 0, |_, _| Ok::<(), ()>(())).is_empty());
    }
}
