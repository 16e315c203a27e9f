//! Writes playlists: ten songs that suit a mood, each unlike the one before it, by Rank-GRPO.
//!
//! The best playlist is known. The reward of a rank is how well its song suits the mood, less a
//! penalty for the artist of the song before. So a rank's reward depends on the ranks before it.
//! One reward for the whole list would tell the policy only the sum.
//!
//! ```text
//! cargo run --release --example playlists
//! ```

mod ranking;

use std::error::Error;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ranking::{Policy, Ranking, print};

const SONGS: usize = 60;
const ARTISTS: usize = 6;
const MOODS: usize = 8;
const N: usize = 10;
/// What the artist of the song before costs.
const REPEATED: f64 = 0.5;

/// How well each song suits each mood, from 0 to 1. The songs of an artist suit alike.
struct Music {
    suits: Vec<[f64; SONGS]>,
}

impl Music {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut of_mood = || {
            let of_artist: [f64; ARTISTS] = std::array::from_fn(|_| rng.random());
            std::array::from_fn(|song| 0.6 * of_artist[song % ARTISTS] + 0.4 * rng.random::<f64>())
        };
        Self {
            suits: (0..MOODS).map(|_| of_mood()).collect(),
        }
    }

    fn reward(&self, mood: usize, before: Option<&usize>, song: usize) -> f64 {
        let repeated = before.is_some_and(|before| before % ARTISTS == song % ARTISTS);
        self.suits[mood][song] - if repeated { REPEATED } else { 0.0 }
    }

    /// The reward of the best playlist that a beam of 300 lists finds.
    fn best(&self, mood: usize) -> f64 {
        let mut beam: Vec<(f64, Vec<usize>)> = vec![(0.0, vec![])];
        for _ in 0..N {
            let mut longer: Vec<(f64, Vec<usize>)> = vec![];
            for (sum, list) in &beam {
                for song in (0..SONGS).filter(|song| !list.contains(song)) {
                    let reward = self.reward(mood, list.last(), song);
                    longer.push((sum + reward, [&list[..], &[song]].concat()));
                }
            }
            longer.sort_by(|a, b| b.0.total_cmp(&a.0));
            longer.truncate(300);
            beam = longer;
        }
        beam[0].0
    }
}

impl Ranking for Music {
    fn n_items(&self, _: usize) -> usize {
        SONGS
    }

    /// A weight for each song in each mood, and one for the artist of the song before.
    fn features(&self, mood: usize, prefix: &[usize], song: usize) -> Vec<(usize, f64)> {
        let repeated = prefix
            .last()
            .is_some_and(|last| last % ARTISTS == song % ARTISTS);
        vec![
            (mood * SONGS + song, 1.0),
            (MOODS * SONGS, f64::from(u8::from(repeated))),
        ]
    }

    fn rewards(&self, mood: usize, list: &[usize]) -> Vec<f64> {
        let before = |rank: usize| rank.checked_sub(1).map(|before| &list[before]);
        let ranks = list.iter().enumerate();
        ranks
            .map(|(rank, song)| self.reward(mood, before(rank), *song))
            .collect()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let music = Music::new(&mut rng);
    let moods: Vec<usize> = (0..MOODS).collect();
    let total = |policy: &Policy, mood: usize| -> f64 {
        music
            .rewards(mood, &policy.list(&music, mood, N, None))
            .iter()
            .sum()
    };
    // The baseline knows how well each song suits, and ranks by that alone.
    let suits: Vec<f64> = music.suits.iter().flatten().copied().chain([0.0]).collect();
    let by_suit = Policy::new(suits);
    let mut policy = Policy::new(vec![0.0; MOODS * SONGS + 1]);
    let before: Vec<f64> = moods.iter().map(|mood| total(&policy, *mood)).collect();
    for step in 1..=300 {
        let reward = policy.step(&music, &moods, (16, N), 0.05, &mut rng)?;
        if step % 75 == 0 {
            println!("step {step}: reward of a sampled playlist {reward:.3}");
        }
    }

    let of = |policy| -> Vec<f64> { moods.iter().map(|m| total(policy, *m)).collect() };
    let best: Vec<f64> = moods.iter().map(|mood| music.best(*mood)).collect();
    print("untrained  reward", &before, &moods)?;
    print("by suit    reward", &of(&by_suit), &moods)?;
    print("Rank-GRPO  reward", &of(&policy), &moods)?;
    print("best known reward", &best, &moods)?;
    Ok(())
}
