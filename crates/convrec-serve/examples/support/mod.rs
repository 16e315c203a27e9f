//! What the programs that measure a server have in common.

#![allow(dead_code, reason = "each program uses a part")]

pub mod client;
pub mod flags;
pub mod model;
pub mod process;
