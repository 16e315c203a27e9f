//! The scalar code of every kernel computes what its vector code computes. A test binary of its own, as it switches the
//! whole process.

mod common;

use common::assert_agree;

cases!(fused, convrec_kernels);

#[test]
fn scalar_code_agrees_with_vector_code() {
    let outcomes = || {
        [
            ("linear", fused::linear(70, 50, 40).outcome()),
            ("skinny linear", fused::linear(6, 50, 45).outcome()),
            ("rms_norm", fused::rms_norm(30, 70).outcome()),
            ("swiglu", fused::swiglu(1003).outcome()),
            ("rotate", fused::rotate(2, 3, 11, 20, 1).outcome()),
            ("causal_attention", fused::causal_attention(2, 4, 2, 90, 20).outcome()),
            ("token_log_probs", fused::token_log_probs(150, 700, 24).outcome()),
        ]
    };
    let vector = outcomes();
    convrec_kernels::force_portable(true);
    for ((name, scalar), (_, vector)) in outcomes().iter().zip(&vector) {
        assert_agree(name, scalar, vector, 1e-5);
    }
}
