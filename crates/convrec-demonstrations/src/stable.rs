//! Numbers that are the same on every machine and in every run, for any order of the work.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// FNV-1a with 64 bits, as the standard library's hashers promise no fixed result.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The random stream of `id`, which does not depend on the draws for others.
pub(crate) fn rng(seed: u64, id: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(hash(id.as_bytes()) ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
