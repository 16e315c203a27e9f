//! The programs are the examples of this package. `cargo run --example NAME -- --help` describes
//! each.
