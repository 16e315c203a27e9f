//! The parts of the soak.

pub mod child;
mod clients;
mod hostile;
mod life;
mod operator;
pub mod report;
pub mod world;

use std::time::{Duration, Instant};

use crate::support::flags::Flags;
use life::Life;
use world::World;

/// Runs everything for a time, and gives the servers that there were.
pub fn run(world: &World, flags: &Flags, time: Duration) -> Vec<std::sync::Arc<Life>> {
    let until = Instant::now() + time;
    let patient: usize = flags.value("patient", 4);
    let rate: f64 = flags.value("rate", 6.0);
    let pace = Duration::from_secs_f64(patient as f64 / rate);
    let reload_every = Duration::from_secs_f64(flags.value("reload-every", 20.0));
    let kill_every = Duration::from_secs_f64(flags.value("kill-every", 600.0));
    std::thread::scope(|scope| {
        for n in 0..patient {
            scope.spawn(move || clients::patient(world, n, pace, until));
        }
        scope.spawn(|| clients::impatient(world, until));
        scope.spawn(|| hostile::attack(world, until));
        scope.spawn(|| operator::reload(world, reload_every, until));
        scope.spawn(|| operator::watch(world, until));
        operator::kill(world, kill_every, until);
    });
    world.end()
}

/// Sleeps, but not beyond the end; says whether there is time left.
fn rest(time: Duration, until: Instant) -> bool {
    std::thread::sleep(time.min(until.saturating_duration_since(Instant::now())));
    Instant::now() < until
}
