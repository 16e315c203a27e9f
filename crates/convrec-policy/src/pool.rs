//! Which places of a cache are free.

use std::collections::BTreeMap;

/// Ranges of places, given out and taken back.
#[derive(Debug)]
pub(crate) struct Pool {
    /// The lengths of the free ranges by their first places; no two of them touch.
    free: BTreeMap<usize, usize>,
    places: usize,
}

impl Pool {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            free: (places > 0).then_some((0, places)).into_iter().collect(),
            places,
        }
    }

    /// Places in all.
    pub(crate) fn places(&self) -> usize {
        self.places
    }

    /// From now on there are so many places, no fewer than before.
    pub(crate) fn grow(&mut self, places: usize) {
        if places > self.places {
            let first = std::mem::replace(&mut self.places, places);
            self.give_back(first, places - first);
        }
    }

    /// The first place of a range of so many, where there is one.
    pub(crate) fn take(&mut self, length: usize) -> Option<usize> {
        let (first, room) = self.free.iter().find(|(_, room)| **room >= length)?;
        let (first, room) = (*first, *room);
        self.free.remove(&first);
        if room > length {
            self.free.insert(first + length, room - length);
        }
        Some(first)
    }

    /// Takes back a range that [`take`](Self::take) gave out.
    pub(crate) fn give_back(&mut self, first: usize, length: usize) {
        let (mut start, mut end) = (first, first + length);
        if let Some(behind) = self.free.remove(&end) {
            end += behind;
        }
        let before = self.free.range(..start).next_back();
        if let Some((before, room)) = before.map(|(first, room)| (*first, *room))
            && before + room == start
        {
            start = before;
        }
        self.free.insert(start, end - start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_never_overlap_and_come_together_again() {
        let mut pool = Pool::new(100);
        let mut taken: Vec<(usize, usize)> = vec![];
        let mut number = 7_usize;
        for _ in 0..2000 {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let random = number >> 33;
            if random.is_multiple_of(3) && !taken.is_empty() {
                let (first, length) = taken.swap_remove(random % taken.len());
                pool.give_back(first, length);
            } else if let Some(first) = pool.take(1 + random % 17) {
                taken.push((first, 1 + random % 17));
            }
            let mut sorted = taken.clone();
            sorted.sort_unstable();
            assert!(sorted.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
            assert!(
                sorted
                    .last()
                    .is_none_or(|(first, length)| first + length <= 100)
            );
            let free: usize = pool.free.values().sum();
            assert_eq!(
                100 - free,
                taken.iter().map(|(_, length)| length).sum::<usize>()
            );
        }
        for (first, length) in taken {
            pool.give_back(first, length);
        }
        assert_eq!(pool.take(101), None);
        pool.grow(101);
        assert_eq!((pool.take(101), pool.places()), (Some(0), 101));
    }
}
