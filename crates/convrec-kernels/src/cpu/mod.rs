//! The kernels themselves: slices in, slices out, nothing of burn. Work is cut into pieces whose
//! sizes depend only on the shapes and on the number of threads. Partial sums are added in a fixed
//! order, so the same input gives the same bits.

mod adamw;
mod attention;
mod columns;
mod decode;
mod elementwise;
mod gelu;
mod head;
mod heads;
mod linear;
mod matrix;
mod norm;
mod packed;
mod rotate;
mod simd;
mod sparse_head;
mod swiglu;

pub(crate) use adamw::adamw;
pub(crate) use attention::Attention;
pub(crate) use decode::Cached;
pub(crate) use elementwise::sum_of_squares;
pub(crate) use gelu::bias_gelu;
pub(crate) use head::{Head, Slopes};
pub(crate) use heads::Heads;
pub(crate) use linear::{linear, linear_input_gradient, linear_weight_gradient};
pub(crate) use norm::{rms_norm, rms_norm_backward};
pub(crate) use packed::{packed_linear, packed_logits};
pub(crate) use rotate::{Direction, rotate};
pub use simd::{Vectors, limit_vectors};
pub(crate) use sparse_head::SparseHead;
pub(crate) use swiglu::{swiglu, swiglu_backward};

/// Elements per task of elementwise work.
const CHUNK: usize = 1 << 14;

/// As many rows as make about one [`CHUNK`].
fn rows_per_chunk(width: usize) -> usize {
    (CHUNK / width.max(1)).max(1)
}
