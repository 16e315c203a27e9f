//! A server under hours of patient, impatient and hostile clients, with reloads, kills and
//! restarts.
//!
//! ```sh
//! cargo run --release -p convrec-serve --example soak -- --catalog films.jsonl [--model FOLDER] \
//!   [--seconds 3600] [--patient 4] [--rate 6] [--reload-every 20] [--kill-every 600] \
//!   [--prefix-tokens 8192]
//! ```
//!
//! The server is a process of its own. What patient clients ask has a known answer under each of
//! two models, which reloads exchange; an answer says which version it is of. A request that finds
//! no server is asked again. Every second kill is SIGKILL, the others are SIGTERM. The program
//! prints tables, and fails where an answer was wrong or lost, or where memory or descriptors grew.

mod soak_parts;
mod support;

use std::time::Duration;

use soak_parts::{report, world::World};
use support::flags::Flags;

fn main() {
    let flags = Flags::read();
    if flags.has("child") {
        return soak_parts::child::serve(&flags);
    }
    let time = Duration::from_secs_f64(flags.value("seconds", 3600.0));
    let world = World::new(&flags);
    let lives = soak_parts::run(&world, &flags, time);
    let is_well = report::print(&world, &lives, time);
    std::process::exit(i32::from(!is_well));
}
