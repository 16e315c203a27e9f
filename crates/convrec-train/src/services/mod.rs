//! Policies as the services of Remap-Reflect-Adjust: teacher, judge and chat model.

mod chat;
mod judge;
mod teacher;

use convrec_core::Example;
use convrec_policy::Policy;
use sha2::{Digest, Sha256};

pub use chat::{ChatLoadError, PolicyChat};
pub use judge::PolicyJudge;
pub use teacher::PolicyTeacher;

use crate::task::{Sample, Task, TaskError};

/// Requests that are answered together, after which they are reported as done.
const CHUNK: usize = 256;

/// The sample of a conversation without ground truth, which is not known or does not matter.
fn sample(task: &Task, example: &Example) -> Result<Sample, TaskError> {
    task.sample(&Example {
        ground_truth: vec![],
        ..example.clone()
    })
}

/// Checks that a prompt and its answer fit the model's positions. The error names the fault.
fn check_room(policy: &Policy, prompt: usize, new: usize) -> Result<(), String> {
    let positions = policy.config().max_position_embeddings;
    if prompt + new <= positions {
        return Ok(());
    }
    Err(format!(
        "the prompt has {prompt} tokens and what follows up to {new}, but the model has \
         {positions} positions; shorten the conversation or the answer"
    ))
}

/// A seed for each prompt that depends on nothing else, so that an answer does not depend on other
/// requests.
fn seeds(prompts: &[&[u32]], seed: u64) -> Vec<u64> {
    let of_prompt = |prompt: &&[u32]| {
        let mut hash = Sha256::new_with_prefix(seed.to_le_bytes());
        prompt
            .iter()
            .for_each(|token| hash.update(token.to_le_bytes()));
        let bytes: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes(*bytes.first_chunk().expect("32 bytes have 8"))
    };
    prompts.iter().map(of_prompt).collect()
}
