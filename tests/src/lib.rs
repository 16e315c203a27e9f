//! Tests across crates are in `tests/`; here the code of the README files is compiled and run.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/coming-from-trl.md")]
struct ComingFromTrl;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec/README.md")]
struct Convrec;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-formats/README.md")]
struct ConvrecFormats;
