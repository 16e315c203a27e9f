//! The buffers that one evaluation of the loss needs, kept for the next one.

use std::num::NonZeroUsize;

use crate::groups::Groups;
use crate::lanes::Lanes;
use crate::plain::Tried;
use crate::terms::Ratio;

/// The buffers of [`Loss::evaluate_into`](crate::Loss::evaluate_into).
///
/// Make one with [`Workspace::default`] and keep it. It grows at the first call: by one byte for
/// each token of the batch (two numbers more with entropies), some numbers for each row, and some
/// for each token and rank of one row on each thread. A later call of the same shape allocates
/// nothing but threads. One workspace serves any loss and both element types.
///
/// A batch of at least 2^18 tokens is computed on several threads where the loss is plain: PPO's
/// clip, with or without a KL penalty, without a correction for a sampler. Their number changes no
/// bit.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    /// The most threads; none for as many as the machine has.
    pub(crate) threads: Option<NonZeroUsize>,
    /// Whether each token of the batch counts.
    pub(crate) keep: Vec<bool>,
    /// The buffers of one row, for each thread.
    pub(crate) rows: Vec<RowSpace>,
    /// What threads found for each row of the batch.
    pub(crate) tried: Vec<Tried>,
    /// All entropies, in order of size, where a quantile of them is wanted.
    pub(crate) sorted: Vec<f64>,
    /// The derivative of the loss by each entropy.
    pub(crate) entropy_gradient: Vec<f64>,
}

/// The buffers of one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowSpace {
    /// The columns of the tokens of a row that count.
    pub columns: Vec<usize>,
    /// The segments of the importance ratios.
    pub ratio: Groups,
    /// The importance ratio of each of these segments.
    pub ratios: Vec<Ratio>,
    /// VESPO's weights of each of them, for advantages of 0 or more and for negative ones.
    pub phi: Vec<[f64; 2]>,
    /// The importance ratios of the segments of a row without options, and its tokens.
    pub group_ratios: Vec<f64>,
    pub lanes: Lanes,
    /// The segments of the correction.
    pub correction: Groups,
    /// The weight of each of these segments, and whether it was out of bounds.
    pub corrections: Vec<(f64, bool)>,
    /// The ranks of a row.
    pub ranks: Groups,
    /// The weight of a token of each rank in the policy loss and in the KL, where they differ by
    /// rank.
    pub rank_weights: [Vec<f64>; 2],
    /// The derivative of each token's loss by its own log-probability.
    pub direct: Vec<f64>,
    /// The derivative of each token's loss by the log ratio of its segment.
    pub by_log_ratio: Vec<f64>,
}

impl Workspace {
    /// A workspace for at most so many threads. 0 counts as 1.
    #[must_use]
    pub fn with_threads(threads: usize) -> Self {
        Workspace {
            threads: NonZeroUsize::new(threads.max(1)),
            ..Workspace::default()
        }
    }

    /// The derivative of the last loss by each entropy, `[B, T]`.
    ///
    /// It is empty where the loss had no entropy bonus.
    #[must_use]
    pub fn entropy_gradient(&self) -> &[f64] {
        &self.entropy_gradient
    }
}

impl RowSpace {
    /// Takes the columns of a row's tokens that count.
    pub fn choose(&mut self, keep: &[bool]) {
        let columns = &mut self.columns;
        columns.clear();
        let kept = count(keep);
        if count(&keep[..kept]) == kept {
            columns.extend(0..kept);
        } else {
            columns.extend((0..keep.len()).filter(|column| keep[*column]));
        }
    }
}

/// The number of tokens that count.
#[inline(always)]
pub(crate) fn count(keep: &[bool]) -> usize {
    // Sums of bytes are sums of vectors.
    let sums = keep.chunks(128).map(|chunk| {
        let bytes = chunk.iter().map(|keep| u8::from(*keep));
        usize::from(bytes.sum::<u8>())
    });
    sums.sum()
}
