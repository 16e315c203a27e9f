//! Codes of vectors by residual k-means, and what tells equal ones apart.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::clusters::Vectors;

/// The most vectors that the centres of a level are learned from.
const SAMPLE: usize = 1 << 16;

/// A sequence of `levels` codes below `codes` for each vector.
///
/// The code of a vector at a level is the nearest centre of k-means over what the levels before
/// leave of the vectors. Large catalogs learn the centres from 65,536 items that are drawn; all
/// items are then dealt to them.
pub(super) fn residual_codes(
    mut left: Vectors,
    levels: usize,
    codes: usize,
    seed: u64,
) -> Vec<Vec<u32>> {
    let mut found = vec![vec![]; left.len()];
    for level in 0..levels {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(level as u64);
        let centres = match left.len() > SAMPLE {
            false => left.centres(codes, &mut rng),
            true => {
                let mut drawn = sample(&mut rng, left.len(), SAMPLE).into_vec();
                drawn.sort_unstable();
                let mut some = Vectors::new(left.width);
                let numbers = drawn.iter().flat_map(|place| left.get(*place));
                some.numbers.extend(numbers);
                some.centres(codes, &mut rng)
            }
        };
        let nearest = left.nearest(&centres);
        let vectors = left.numbers.par_chunks_mut(left.width);
        vectors.zip(&nearest).for_each(|(vector, c)| {
            let centre = centres.get(*c as usize);
            vector.iter_mut().zip(centre).for_each(|(x, c)| *x -= c);
        });
        for (found, code) in found.iter_mut().zip(nearest) {
            found.push(code);
        }
    }
    found
}

/// Appends further codes below `base` where several items have the same ones, so that no sequence
/// begins another one.
pub(super) fn tell_apart(items: &mut [Vec<u32>], base: usize) {
    let mut alike: HashMap<Vec<u32>, Vec<usize>> = HashMap::new();
    for (item, codes) in items.iter().enumerate() {
        alike.entry(codes.clone()).or_default().push(item);
    }
    for group in alike.values().filter(|group| group.len() > 1) {
        let mut places = vec![1];
        while places[places.len() - 1] * base < group.len() {
            places.push(places[places.len() - 1] * base);
        }
        for (n, item) in group.iter().enumerate() {
            let digits = places.iter().rev().map(|place| (n / place % base) as u32);
            items[*item].extend(digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    /// Vectors of which many are equal: each number is one of `values`.
    fn vectors(n: usize, width: usize, values: u32, seed: u64) -> Vectors {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let numbers = (0..n * width)
            .map(|_| rng.random_range(0..values) as f32)
            .collect();
        Vectors { numbers, width }
    }

    #[test]
    fn equal_seeds_give_equal_codes() {
        let vectors = vectors(500, 6, 9, 1);
        let codes = |seed| residual_codes(vectors.clone(), 3, 8, seed);
        assert_eq!(codes(4), codes(4));
        assert_ne!(codes(4), codes(5));
        assert!(
            codes(4)
                .iter()
                .all(|item| item.len() == 3 && item.iter().all(|c| *c < 8))
        );
    }

    /// The sum of squares of what is left shrinks from level to level.
    #[test]
    fn each_level_says_more() {
        let vectors = vectors(600, 8, 50, 2);
        let codes = residual_codes(vectors.clone(), 3, 12, 0);
        let spread = |levels: usize| {
            let mut groups: HashMap<&[u32], Vec<usize>> = HashMap::new();
            for (item, codes) in codes.iter().enumerate() {
                groups.entry(&codes[..levels]).or_default().push(item);
            }
            let of_group = |group: &Vec<usize>| {
                let of_number = |k: usize| {
                    let x: Vec<f64> = group.iter().map(|n| vectors.get(*n)[k].into()).collect();
                    let mean = x.iter().sum::<f64>() / x.len() as f64;
                    x.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
                };
                (0..8).map(of_number).sum::<f64>()
            };
            groups.values().map(of_group).sum::<f64>()
        };
        let spreads = [spread(0), spread(1), spread(2), spread(3)];
        assert!(
            spreads.windows(2).all(|pair| pair[1] < 0.8 * pair[0]),
            "{spreads:?}"
        );
    }

    /// Whatever the vectors are, also all the same, no sequence is that of another item or its
    /// beginning, and no code is too large.
    #[test]
    fn every_item_has_its_own_sequence() {
        for seed in 0..60 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (n, base) = (rng.random_range(1..200), rng.random_range(2..9));
            let vectors = vectors(n, rng.random_range(1..4), rng.random_range(1..5), seed);
            let mut items = residual_codes(vectors, rng.random_range(1..4), base, seed);
            tell_apart(&mut items, base);
            assert!(items.iter().flatten().all(|code| (*code as usize) < base));
            items.sort();
            let begins = |pair: &[Vec<u32>]| pair[1].starts_with(&pair[0]);
            assert!(!items.windows(2).any(begins), "seed {seed}");
        }
    }
}
