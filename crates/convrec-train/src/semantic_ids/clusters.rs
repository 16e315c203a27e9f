//! Clusters of vectors: k-means++, then the method of Lloyd.

use rand::{Rng, RngExt};
use rayon::prelude::*;

/// Steps of Lloyd's method. Later ones hardly change the sum of squares.
const STEPS: usize = 15;
/// Vectors that a thread takes at a time.
const BLOCK: usize = 1024;

/// Vectors of one width, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Vectors {
    pub(super) numbers: Vec<f32>,
    pub(super) width: usize,
}

impl Vectors {
    pub(super) fn new(width: usize) -> Self {
        let numbers = vec![];
        Self { numbers, width }
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len() / self.width
    }

    pub(super) fn get(&self, place: usize) -> &[f32] {
        &self.numbers[place * self.width..][..self.width]
    }

    /// For each vector the place of the nearest centre; of equally near ones the first.
    pub(super) fn nearest(&self, centres: &Self) -> Vec<u32> {
        let offsets: Vec<f32> = (0..centres.len())
            .map(|c| 0.5 * dot(centres.get(c), centres.get(c)))
            .collect();
        // |x - c|^2 / 2 without |x|^2 / 2, which is the same for all centres.
        let nearest = |x: &[f32]| {
            let (mut best, mut least) = (0, f32::INFINITY);
            for (c, offset) in offsets.iter().enumerate() {
                let distance = offset - dot(x, centres.get(c));
                if distance < least {
                    (best, least) = (c as u32, distance);
                }
            }
            best
        };
        let vectors = self.numbers.par_chunks(self.width).with_min_len(BLOCK);
        vectors.map(nearest).collect()
    }

    /// At most `k` different centres, each the mean of the vectors that are nearest to it. They are
    /// fewer where there are fewer different vectors. Equal random numbers give equal centres.
    pub(super) fn centres(&self, k: usize, rng: &mut impl Rng) -> Self {
        let mut centres = self.seeds(k, rng);
        for _ in 0..STEPS {
            let nearest = self.nearest(&centres);
            centres = self.means(&nearest, centres);
        }
        centres
    }

    /// The means of the vectors that are dealt to each centre. A centre without any stays.
    fn means(&self, dealt: &[u32], mut centres: Self) -> Self {
        let mut sums = vec![0.0; centres.numbers.len()];
        let mut counts = vec![0_usize; centres.len()];
        for (x, c) in self.numbers.chunks(self.width).zip(dealt) {
            let c = *c as usize;
            counts[c] += 1;
            let sum = &mut sums[c * self.width..][..self.width];
            sum.iter_mut()
                .zip(x)
                .for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let means = centres
            .numbers
            .chunks_mut(self.width)
            .zip(sums.chunks(self.width));
        for ((centre, sum), count) in means.zip(&counts).filter(|(_, count)| **count > 0) {
            let mean = |(x, sum): (&mut f32, &f64)| *x = (sum / *count as f64) as f32;
            centre.iter_mut().zip(sum).for_each(mean);
        }
        centres
    }

    /// The first centres, by k-means++: each is drawn among the vectors by its squared distance to
    /// the nearest centre before it.
    fn seeds(&self, k: usize, rng: &mut impl Rng) -> Self {
        let mut seeds = Self::new(self.width);
        let mut distances = vec![f32::INFINITY; self.len()];
        let mut next = rng.random_range(0..self.len());
        loop {
            let seed = self.get(next);
            seeds.numbers.extend_from_slice(seed);
            let vectors = self.numbers.par_chunks(self.width).with_min_len(BLOCK);
            vectors.zip(&mut distances).for_each(|(x, least)| {
                *least = least.min(squared_distance(x, seed));
            });
            let total: f64 = distances.iter().map(|d| f64::from(*d)).sum();
            if seeds.len() == k || total == 0.0 {
                return seeds;
            }
            let mut left = rng.random::<f64>() * total;
            let is_drawn = |distance: &f32| {
                left -= f64::from(*distance);
                *distance > 0.0 && left < 0.0
            };
            let last = || distances.iter().rposition(|distance| *distance > 0.0);
            // Rounding may leave a rest behind the last one.
            let drawn = distances.iter().position(is_drawn).or_else(last);
            next = drawn.expect("the total is above 0");
        }
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// The sum is taken in lanes, as processors have them.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(n: usize, width: usize, seed: u64) -> Vectors {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let numbers = (0..n * width).map(|_| rng.random::<f32>() - 0.5).collect();
        Vectors { numbers, width }
    }

    /// The same in f64, by the definition: no lanes, no threads, no expanded squares.
    fn slowly(vectors: &Vectors, seeds: &Vectors) -> (Vec<Vec<f64>>, Vec<u32>) {
        let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let points: Vec<_> = (0..vectors.len()).map(|n| wide(vectors.get(n))).collect();
        let mut centres: Vec<_> = (0..seeds.len()).map(|n| wide(seeds.get(n))).collect();
        let distance =
            |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
        let nearest = |x: &Vec<f64>, centres: &[Vec<f64>]| {
            let places = 0..centres.len();
            let by_distance = |a: &usize, b: &usize| {
                distance(x, &centres[*a]).total_cmp(&distance(x, &centres[*b]))
            };
            places.min_by(by_distance).unwrap() as u32
        };
        for _ in 0..STEPS {
            let dealt: Vec<u32> = points.iter().map(|x| nearest(x, &centres)).collect();
            for (c, centre) in centres.iter_mut().enumerate() {
                let own = points
                    .iter()
                    .zip(&dealt)
                    .filter(|(_, dealt)| **dealt == c as u32);
                let own: Vec<_> = own.map(|(x, _)| x).collect();
                for (k, x) in centre.iter_mut().enumerate().filter(|_| !own.is_empty()) {
                    *x = own.iter().map(|x| x[k]).sum::<f64>() / own.len() as f64;
                }
            }
        }
        let dealt = points.iter().map(|x| nearest(x, &centres)).collect();
        (centres, dealt)
    }

    #[test]
    fn centres_are_those_of_a_slow_version() {
        for (n, width, k) in [(40, 3, 4), (300, 11, 9), (120, 16, 30)] {
            let vectors = random(n, width, n as u64);
            let rng = || ChaCha8Rng::seed_from_u64(7);
            let centres = vectors.centres(k, &mut rng());
            let (slow, dealt) = slowly(&vectors, &vectors.seeds(k, &mut rng()));
            for (found, slow) in centres.numbers.iter().zip(slow.concat()) {
                assert!((f64::from(*found) - slow).abs() < 1e-5, "{found} {slow}");
            }
            assert_eq!(vectors.nearest(&centres), dealt);
        }
    }

    #[test]
    fn there_are_no_more_centres_than_different_vectors() {
        let few = [0.5, 0.5, 1.0, 0.0, 0.5, 0.5, 1.0, 0.0, 0.0, 1.0];
        let vectors = Vectors {
            numbers: few.to_vec(),
            width: 2,
        };
        let centres = vectors.centres(4, &mut ChaCha8Rng::seed_from_u64(0));
        assert_eq!(centres.len(), 3);
        let dealt = vectors.nearest(&centres);
        assert!(dealt[0] == dealt[2] && dealt[1] == dealt[3]);
        assert!(dealt[0] != dealt[1] && dealt[0] != dealt[4] && dealt[1] != dealt[4]);
    }

    /// Groups that are far apart are found, each by one seed, whatever is drawn.
    #[test]
    fn groups_are_found() {
        let mut vectors = random(400, 5, 3);
        for (place, x) in vectors.numbers.iter_mut().enumerate() {
            *x = 0.01 * *x + ((place / 5) % 8) as f32;
        }
        for seed in 0..20 {
            let centres = vectors.centres(8, &mut ChaCha8Rng::seed_from_u64(seed));
            let dealt = vectors.nearest(&centres);
            let groups: std::collections::BTreeSet<u32> = dealt[..8].iter().copied().collect();
            assert_eq!(groups.len(), 8);
            assert!((0..400).all(|n| dealt[n] == dealt[n % 8]));
        }
    }
}
