//! What came of it, as tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::life::{Life, Sample};
use super::world::World;
use crate::support::client::at;

/// A life's parts. The first is left out of the verdict, as caches fill in it.
const PARTS: usize = 6;

/// Memory and descriptors are flat where the last part is below this multiple of the second.
const FLAT: f64 = 1.25;

/// The medians of a window of samples.
fn medians(samples: &[Sample]) -> (u64, usize) {
    let mut memory: Vec<u64> = samples.iter().map(|sample| sample.memory).collect();
    let mut descriptors: Vec<usize> = samples.iter().map(|sample| sample.descriptors).collect();
    memory.sort_unstable();
    descriptors.sort_unstable();
    (memory[memory.len() / 2], descriptors[descriptors.len() / 2])
}

fn listed<T: ToString>(numbers: &[T]) -> String {
    let numbers: Vec<String> = numbers.iter().map(T::to_string).collect();
    numbers.join(", ")
}

/// Prints tables, and says whether all is well.
pub fn print(world: &World, lives: &[Arc<Life>], time: Duration) -> bool {
    let counts = &world.counts;
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut times = counts.first.lock().unwrap().clone();
    times.sort_by(f64::total_cmp);
    let wrong = counts.wrong.lock().unwrap();
    let hostile = counts.hostile.lock().unwrap();
    println!("| in {:.0} s | |", time.as_secs_f64());
    println!("|---|---|");
    println!("| right answers at the first try | {} |", times.len());
    let [half, late, last] = [0.5, 0.99, 1.0].map(|share| at(&times, share));
    println!("| p50, p99, longest of them, ms | {half:.0}, {late:.0}, {last:.0} |");
    println!(
        "| right answers after another try | {} |",
        number(&counts.retried)
    );
    println!(
        "| busy (429 or 503), asked again | {} |",
        number(&counts.busy)
    );
    println!("| wrong answers | {} |", wrong.len());
    println!("| lost requests | {} |", number(&counts.lost));
    println!("| requests whose client left | {} |", number(&counts.left));
    println!(
        "| hostile connections | {} |",
        hostile.values().sum::<u64>()
    );
    println!("| reloads | {} |", number(&counts.reloads));
    println!(
        "| reloads that were refused, as they must be | {} |",
        number(&counts.refused_reloads)
    );
    println!(
        "| ends that were not as they should be | {} |",
        number(&counts.bad_ends)
    );
    println!();
    println!(
        "| server | lived s | memory MB, medians of {PARTS} parts | most | descriptors | most | ended by |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut is_flat = true;
    for (n, life) in lives.iter().enumerate() {
        let samples = life.samples.lock().unwrap();
        if samples.len() < PARTS {
            continue;
        }
        let parts = samples.chunks(samples.len().div_ceil(PARTS)).map(medians);
        let (memory, open): (Vec<u64>, Vec<usize>) = parts.unzip();
        let most = samples
            .iter()
            .map(|sample| sample.memory)
            .max()
            .unwrap_or(0);
        let most_open = samples
            .iter()
            .map(|sample| sample.descriptors)
            .max()
            .unwrap_or(0);
        let (last, last_open) = (memory[memory.len() - 1], open[open.len() - 1]);
        is_flat &= last as f64 <= FLAT * memory[1] as f64
            && last_open as f64 <= FLAT * open[1] as f64 + 8.0;
        let lived = samples.last().map_or(0.0, |sample| sample.seconds);
        println!(
            "| {} | {lived:.0} | {} | {most} | {} | {most_open} | {} |",
            n + 1,
            listed(&memory),
            listed(&open),
            life.end.lock().unwrap()
        );
    }
    for problem in wrong.iter().take(5) {
        println!("\n{problem}");
    }
    let is_well = wrong.is_empty() && number(&counts.lost) == 0 && number(&counts.bad_ends) == 0;
    if !is_flat {
        println!("\nmemory or descriptors grew");
    }
    is_well && is_flat
}
