//! Measures of ranked lists beyond accuracy, each in its own file with its source.
//!
//! A collection of lists is anything like `&[Vec<T>]`; items are `Eq + Hash`. A figure without a
//! meaning (the mean of nothing) is `None`.

mod catalog_share;
mod coverage;
mod diversity;
mod duplicates;
mod gini;
mod length;
mod per_rank;
mod popularity;

pub use catalog_share::catalog_share;
pub use coverage::catalog_coverage;
pub use diversity::intra_list_diversity;
pub use duplicates::{duplicate_share, duplicates};
pub use gini::gini;
pub use length::mean_length;
pub use per_rank::hits_per_rank;
pub use popularity::average_popularity;

/// `part / whole`, where there is a whole.
fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
