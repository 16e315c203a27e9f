//! The narrower vector code and the scalar code of every kernel compute what the widest does. A
//! test binary of its own, as it switches the whole process.

mod common;

use common::assert_agree;
use convrec_kernels::{Vectors, limit_vectors};

cases!(fused, convrec_kernels);

#[test]
fn all_vector_widths_agree() {
    let outcomes = |vectors| {
        limit_vectors(vectors);
        [
            ("linear", fused::linear(70, 50, 40).outcome()),
            ("linear of few rows", fused::linear(6, 50, 205).outcome()),
            ("linear of a few more", fused::linear(20, 50, 205).outcome()),
            ("rms_norm", fused::rms_norm(30, 70).outcome()),
            ("swiglu", fused::swiglu(1003).outcome()),
            ("rotate", fused::rotate(22, 3, 20).outcome()),
            (
                "attention",
                fused::attention(&[(90, &[30, 70]), (90, &[])], 4, 2, 20).outcome(),
            ),
            (
                "attention both ways",
                fused::attention_both_ways(&[90, 70], 3, 20).outcome(),
            ),
            ("bias_gelu", fused::bias_gelu(7, 203)),
            (
                "token_log_probs_constrained",
                fused::token_log_probs_constrained(40, 300, 27).outcome(),
            ),
            (
                "token_log_probs",
                fused::token_log_probs(150, 700, 24).outcome(),
            ),
        ]
    };
    let widest = outcomes(Vectors::Widest);
    for vectors in [Vectors::Avx2, Vectors::Scalar] {
        for ((name, got), (_, expected)) in outcomes(vectors).iter().zip(&widest) {
            assert_agree(&format!("{name}, {vectors:?}"), got, expected, 1e-5);
        }
    }
}
