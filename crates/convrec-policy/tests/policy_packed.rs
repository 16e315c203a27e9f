//! Policies in bf16 and int8 compute what those in f32 do, to their precision.

mod common;

use common::{configs, families, generation, sharp, tokens};
use convrec_kernels::PackedType;
use convrec_policy::{Generation, ModelConfig, Policy, Sampling, Sequence, WeightType};

fn shapes() -> Vec<ModelConfig> {
    configs().into_iter().chain(families()).collect()
}

/// The weights of a policy as a file of bf16 holds them.
fn rounded(policy: &Policy) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    let options = convrec_policy::SaveOptions {
        dtype: WeightType::BF16,
        ..Default::default()
    };
    policy.save_folder(folder.path(), &options).unwrap();
    Policy::load_folder(folder.path(), &policy.device()).unwrap()
}

/// Weights that are bf16 numbers already: nothing is lost, of any family.
#[test]
fn packing_bf16_numbers_loses_nothing() {
    for (seed, shape) in shapes().iter().enumerate() {
        let policy = rounded(&sharp(shape, seed as u64));
        let packed = policy.packed(PackedType::Bf16);
        let prompts: Vec<Vec<u32>> = (0..6)
            .map(|n| tokens(1 + 3 * n, shape.vocab_size, n as u64))
            .collect();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        for sampling in [Sampling::greedy(), Sampling::default()] {
            let config = Generation {
                sampling,
                ..generation(2, 12)
            };
            let found = packed.generate(&prompts, &config);
            let expected = policy.generate(&prompts, &config);
            for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
                assert_eq!(found.tokens, expected.tokens, "{shape:?}");
                for (a, b) in found.log_probs.iter().zip(&expected.log_probs) {
                    assert!((a - b).abs() < 1e-4, "{shape:?}: {a}, {b}");
                }
            }
        }
    }
}

/// What is packed no longer has the weights that a file holds.
#[test]
fn a_packed_policy_is_not_saved() {
    let packed = sharp(&configs()[0], 1).packed(PackedType::Int8);
    let folder = tempfile::tempdir().unwrap();
    let saved = packed.save_folder(folder.path(), &Default::default());
    assert!(saved.unwrap_err().to_string().contains("is packed"));
    assert!(packed.to_safetensors().is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Log-probabilities move by little, and less with more bits; memory is a half and about a quarter.
#[test]
fn fewer_bits_move_log_probabilities_by_little() {
    for (seed, shape) in shapes().iter().enumerate() {
        let policy = sharp(shape, seed as u64);
        let (prompt, completion) = (
            tokens(9, shape.vocab_size, 1),
            tokens(30, shape.vocab_size, 2),
        );
        let log_probs = |policy: &Policy| {
            let sequence = Sequence {
                prompt: &prompt,
                completion: &completion,
            };
            common::to_vec(policy.log_probs(&[sequence], 1.0).log_probs)
        };
        let expected = log_probs(&policy);
        let error = |kind| {
            let found = log_probs(&policy.packed(kind));
            let pairs = found.iter().zip(&expected);
            pairs.map(|(a, b)| (a - b).abs()).sum::<f32>() / found.len() as f32
        };
        let (half, quarter) = (error(PackedType::Bf16), error(PackedType::Int8));
        assert!(half > 0.0 && half < 0.05, "{shape:?}: {half}");
        assert!(quarter > 0.0 && quarter < 0.1, "{shape:?}: {quarter}");
        let bytes = |kind| policy.packed(kind).matrix_bytes() as f64;
        let all = policy.matrix_bytes() as f64;
        assert_eq!(bytes(PackedType::Bf16), all / 2.0);
        assert!(bytes(PackedType::Int8) < all * 0.31);
    }
}
