//! Tests across crates are in `tests/`; here the README's code is compiled and run.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
