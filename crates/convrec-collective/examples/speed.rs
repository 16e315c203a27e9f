//! Measures how long a group takes to add up gradients. Start it as a training is started:
//!
//! ```sh
//! for rank in 0 1; do RANK=$rank WORLD_SIZE=2 cargo run --release --example speed -- 135 & done; wait
//! ```
//!
//! The argument is the number of parameters in millions.

use std::time::Instant;

use convrec_collective::from_environment;

/// Sums that are measured, after one that is not.
const ROUNDS: u32 = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let millions: f64 = std::env::args()
        .nth(1)
        .map_or(Ok(10.0), |text| text.parse())?;
    let group = from_environment()?;
    let mut values = vec![1.0; (millions * 1e6) as usize];
    group.sum(&mut values)?;
    let (sent, clock) = (group.traffic().bytes_sent, Instant::now());
    for _ in 0..ROUNDS {
        group.sum(&mut values)?;
    }
    let seconds = clock.elapsed().as_secs_f64() / f64::from(ROUNDS);
    let megabytes = (group.traffic().bytes_sent - sent) as f64 / f64::from(ROUNDS) / 1e6;
    if group.is_first() {
        println!(
            "{} processes, {millions} million numbers: {seconds:.3} s a sum; each process sends \
             {megabytes:.1} MB, {:.2} GB/s",
            group.size(),
            megabytes / 1e3 / seconds
        );
    }
    Ok(())
}
