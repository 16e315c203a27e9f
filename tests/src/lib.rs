//! Tests across crates are in `tests/`; here the code of the README files is compiled and run.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/coming-from-trl.md")]
struct ComingFromTrl;

#[cfg(doctest)]
#[doc = include_str!("../../docs/training.md")]
struct Training;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec/README.md")]
struct Convrec;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-catalog/README.md")]
struct ConvrecCatalog;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-core/README.md")]
struct ConvrecCore;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-demonstrations/README.md")]
struct ConvrecDemonstrations;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-metrics/README.md")]
struct ConvrecMetrics;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-policy/README.md")]
struct ConvrecPolicy;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-text/README.md")]
struct ConvrecText;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-train/README.md")]
struct ConvrecTrain;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-watch/README.md")]
struct ConvrecWatch;

#[cfg(doctest)]
#[doc = include_str!("../../crates/convrec-world/README.md")]
struct ConvrecWorld;
