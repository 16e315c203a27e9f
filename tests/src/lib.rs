//! Fixtures shared by the tests across crates.
