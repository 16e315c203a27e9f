use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// The generator for `purpose` and `id` under `seed`. Every conversation has its own, so it does
/// not depend on the number of conversations before it.
pub(crate) fn rng(seed: u64, purpose: &str, id: &str) -> ChaCha8Rng {
    let digest = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(purpose)
        .chain_update([0])
        .chain_update(id);
    ChaCha8Rng::from_seed(digest.finalize().into())
}
