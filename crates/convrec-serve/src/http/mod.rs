//! Connections, and what every request goes through.

pub(crate) mod body;
pub(crate) mod connections;
pub(crate) mod descriptors;
pub(crate) mod guard;
mod phase;
pub(crate) mod router;
mod stall;
