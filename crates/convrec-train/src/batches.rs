//! The order of the data. It is a function of the seed and the epoch, so that a resumed run needs
//! no state.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The `count` of `n` places that step `step` (from 0) visits. They are shuffled anew each epoch,
/// and every place comes once an epoch.
pub(crate) fn places(n: usize, count: usize, step: usize, seed: u64) -> Vec<usize> {
    let mut places = Vec::with_capacity(count);
    let mut epoch = usize::MAX;
    let mut order = Vec::new();
    for position in step * count..(step + 1) * count {
        if position / n != epoch {
            epoch = position / n;
            order = shuffled(n, seed, epoch as u64);
        }
        places.push(order[position % n]);
    }
    places
}

pub(crate) fn shuffled(n: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut rng);
    order
}

/// Splits ascending `rows` into micro-batches of at most `size` rows. Rows of one group, which
/// share their prompt, stay together where they fit.
pub(crate) fn micro_batches(rows: &[usize], size: usize, group_size: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = vec![];
    for group in rows
        .chunk_by(|a, b| a / group_size == b / group_size)
        .flat_map(|group| group.chunks(size))
    {
        match batches.last_mut() {
            Some(batch) if batch.len() + group.len() <= size => batch.extend(group),
            _ => batches.push(group.to_vec()),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_visited_once_an_epoch_whatever_the_batch() {
        let visited: Vec<usize> = (0..15).flat_map(|step| places(10, 4, step, 7)).collect();
        for epoch in visited.chunks(10) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(visited[..10], visited[10..20]);
        assert_eq!(places(10, 4, 6, 7), visited[24..28]);
        assert_eq!(places(3, 8, 0, 1).len(), 8);
    }

    #[test]
    fn groups_stay_together_where_they_fit() {
        assert_eq!(
            micro_batches(&[0, 1, 2, 4, 5, 7, 8], 4, 3),
            [vec![0, 1, 2], vec![4, 5, 7, 8]]
        );
        assert_eq!(
            micro_batches(&[0, 1, 2, 3, 4, 5], 2, 3),
            [vec![0, 1], vec![2], vec![3, 4], vec![5]]
        );
        assert_eq!(micro_batches(&[3, 4, 9], 2, 1), [vec![3, 4], vec![9]]);
    }
}
