//! The widest vector instructions that the processor has.

/// Work whose loops shall become vector instructions.
///
/// Implementations mark `run`, and what it calls in its loops, as `#[inline(always)]`. Only code
/// that is inlined is compiled for wider vectors.
pub(crate) trait Work {
    type Output;

    fn run(self) -> Self::Output;
}

/// Runs `work` in the widest vectors. No operation is fused or reordered, so all widths give the
/// same bits.
pub(crate) fn widest<W: Work>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        let has_avx512 = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512vl");
        if has_avx512 {
            // SAFETY: the processor has these instructions.
            return unsafe { in_avx512(work) };
        }
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has these instructions.
            return unsafe { in_avx2(work) };
        }
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn in_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
fn in_avx512<W: Work>(work: W) -> W::Output {
    work.run()
}
