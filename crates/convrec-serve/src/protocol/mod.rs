//! What is asked and answered at each path.

pub(crate) mod admin;
pub(crate) mod chat;
mod choices;
pub(crate) mod completions;
pub(crate) mod items;
mod messages;
pub(crate) mod models;
mod params;
pub(crate) mod recommend;
mod response_format;
mod several;
mod sse;
mod stop;
mod why_not;

use rand::random;

/// A name that no other answer has.
fn new_id(kind: &str) -> String {
    format!("{kind}-{:016x}{:016x}", random::<u64>(), random::<u64>())
}

/// Seconds since 1970.
fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}
