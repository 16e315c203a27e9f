//! A decoder-only language model on burn: weights in and out, KV cache, sampling, exact log-probs.
//!
//! # The policy
//!
//! A [`Policy`] is a function from the tokens so far to a distribution over the next one.
//! Reinforcement learning asks it for two things, which give the same numbers here:
//!
//! - [`Policy::generate`] *samples*: G completions of each prompt, token by token, with the
//!   log-probability of each token that was drawn;
//! - [`Policy::log_probs`] *recomputes*: given prompts and completions, the log-probability of
//!   every completion token, in one forward pass, with gradients.
//!
//! For the same weights both agree to rounding (1e-5 nats; with [`Policy::with_bf16_products`]
//! about 0.01). A trainer may therefore use the sampler's numbers as the denominator of its
//! importance ratios. It may stop when the two drift apart.
//!
//! ```
//! use burn::tensor::Device;
//! use convrec_policy::{Generation, ModelConfig, Policy, Sampling, Sequence};
//!
//! // 64 tokens, width 32, 2 blocks, 4 heads; random weights.
//! let policy = Policy::new(&ModelConfig::small(64, 32, 2, 4), 3407, &Device::flex())?;
//!
//! let prompts: [&[u32]; 2] = [&[5, 17, 42], &[9]];
//! let completions = policy.generate(
//!     &prompts,
//!     &Generation {
//!         sampling: Sampling::default(), // from softmax(logits), nothing filtered
//!         group_size: 4,
//!         max_new_tokens: 10,
//!         end_token: 1,
//!         max_rows: 64,
//!         seed: 3407,
//!     },
//! );
//! assert_eq!((completions.len(), completions[0].len()), (2, 4)); // [P][G]
//!
//! // The trainer's view of one of them.
//! let sampled = &completions[1][3];
//! let sequence = Sequence { prompt: prompts[1], completion: &sampled.tokens };
//! let recomputed = policy.log_probs(&[sequence], 1.0).log_probs; // [B, T] = [1, T]
//! let recomputed = recomputed.into_data().try_into_vec::<f32>()?;
//! for (x, y) in sampled.log_probs.iter().zip(recomputed) {
//!     assert!((x - y).abs() < 1e-5);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To train, make the policy on an autodiff device (`Device::flex().autodiff()`), make a loss of
//! [`TokenLogProbs::log_probs`], get its gradients by [`Tape::backward`], and sample from
//! `policy.valid()`. Where memory is short, [`Policy::with_gradient_checkpointing`] halves it or
//! better.
//!
//! # Shapes
//!
//! P prompts, G completions of each, B = P G rows, T tokens, V tokens in the vocabulary, D the
//! width. A group's rows are adjacent. Token ids are `u32` on the host, log-probabilities and
//! entropies are in nats.
//!
//! # Supported models
//!
//! These families ([`Family`]) are supported: Llama 1 to 3, TinyLlama, SmolLM2, SmolLM3, Mistral,
//! Qwen2, Qwen2.5, Qwen3, OLMo-2, Gemma 1, the text models of Gemma 3, and Phi-3. Sliding windows,
//! biases, blocks without rotary positions and matrices that hold several projections are computed
//! as in transformers. The tests compare each family with its numbers. A config that asks for
//! something else is refused, and the error names its field.
//!
//! A policy is read from a Hugging Face model folder, and written to one, without renaming or
//! transposing anything:
//!
//! | file | in | out |
//! |---|---|---|
//! | the whole folder | [`Policy::load_folder`] | [`Policy::save_folder`] |
//! | `config.json` | [`ModelConfig::from_hugging_face`] | [`ModelConfig::to_hugging_face`] |
//! | `model.safetensors`, or `model-00001-of-0000n.safetensors` and their index | with the folder | with the folder |
//! | `model.safetensors` as bytes | [`Policy::load_safetensors`] | [`Policy::to_safetensors`] |
//! | `generation_config.json` | [`GenerationDefaults::load_folder`] | |
//! | an adapter's folder | [`Policy::load_lora`] | [`Policy::save_lora`] |
//!
//! With the feature `hub`, `Policy::load_hub` fetches the folder by a model's name. No hub is
//! within reach of this project's tests, so that part is compiled and otherwise untested.
//!
//! Matrices are `[out, in]`. `model.embed_tokens.weight` is `[V, D]` and, in tied models, also the
//! output matrix. Rotary positions turn dimension i together with i + head_dim / 2. Files hold f64,
//! f32, f16 or bf16, and are written in one of the last three ([`WeightType`]):
//! [`SaveOptions::as_loaded`] takes the type that the model came in. Weights are held in f32 for
//! all types of files, as a bf16 weight does not move at the learning rates of reinforcement
//! learning. Weights that are NaN or infinite are refused, and the error names their tensor.
//!
//! ```
//! # use burn::tensor::Device;
//! # use convrec_policy::{ModelConfig, Policy, SaveOptions};
//! # let policy = Policy::new(&ModelConfig::small(64, 32, 2, 4), 1, &Device::flex())?;
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! policy.save_folder(folder, &SaveOptions { max_shard_bytes: 10_000, ..SaveOptions::default() })?;
//! assert!(folder.join("model.safetensors.index.json").exists()); // more than 10 kB
//!
//! let same = Policy::load_folder(folder, &Device::flex())?;
//! assert_eq!(same.to_safetensors()?, policy.to_safetensors()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Adapters
//!
//! [`Policy::with_lora`] freezes the weights and puts low-rank matrices beside those of a
//! [`LoraConfig`]'s projections; an optimiser then steps these alone. [`Policy::without_lora`] is
//! the policy before, sharing its weights: the reference of a KL penalty costs no memory (with
//! products in bf16, that of their copies). [`Policy::merged`] is a plain policy to be saved as a
//! model. [`Policy::save_lora`] and [`Policy::load_lora`] write and read the adapter alone, in the
//! layout of the PEFT library. These are read as PEFT reads them: regular expressions and names as
//! targets, patterns of ranks and alphas, single blocks, and saved embeddings and heads
//! (`modules_to_save`). An adapter whose initialisation changed the base model (PiSSA, OLoRA,
//! LoftQ, CorDA) is refused unless it has been converted.
//!
//! # Constraints
//!
//! Under a [`Constraint`] only the tokens that it allows are written.
//! [`Policy::generate_constrained`] samples, [`Policy::log_probs_constrained`] recomputes the same
//! renormalised numbers, [`Policy::beam_search`] finds the most likely completions, and
//! [`Search::without_replacement`] draws different ones.
//!
//! # Fast sampling with the same numbers
//!
//! - A prompt is run once for all of its completions, in sampling and in training. Their queries
//!   meet its keys in one product. Sequences lie end to end ([`convrec_kernels::Packing`]): nothing
//!   is computed for padding.
//! - Keys and values of the completions lie in a buffer that seldom grows.
//! - Completions that have ended leave the batch, and further prompts take their place.
//! - Under a [`Constraint`] only choices cost a forward pass: tokens without a choice are decoded
//!   together with the next one, and logits are made of the allowed tokens only.
//! - Each completion has its own stream of random numbers, named by seed, prompt and place in the
//!   group. The batching of prompts changes no completion, unless two tokens tie to rounding.
//!
//! # Limits
//!
//! Quantised weights are for sampling alone ([`Policy::packed`]). There are no files but
//! safetensors (`pytorch_model.bin` holds code), no rotary scaling but Llama 3's, no soft caps
//! (Gemma 2), and no mixtures of experts. Fresh adapters sit on projections of all blocks and have
//! no dropout. A sliding window hides keys; it does not free their memory.
//!
//! On a CPU the fused kernels need the feature `flex` of `convrec-kernels`; a run without them says
//! so once, by a warning of the `log` crate.

mod atomic_file;
mod beam;
mod block;
mod block_backward;
mod cache;
mod config;
mod constraint;
mod decoder;
mod engine;
mod error;
mod fields;
mod folder;
mod generate;
mod generation;
mod generation_config;
#[cfg(feature = "hub")]
mod hub;
mod hugging_face;
mod init;
mod item_vectors;
mod layers;
mod log_probs;
mod lora;
mod lora_config;
mod packed;
mod peft;
mod pool;
mod precision;
mod prefix;
mod queue;
mod recompute;
mod regular_file;
mod request;
mod rope;
mod row;
mod safetensors_file;
mod sampling;
mod saved_modules;
mod search;
mod session;
mod source;
mod weights;
mod work;

pub use beam::Beam;
pub use config::{ConfigError, Family, Llama3Scaling, ModelConfig, SlidingWindow};
pub use constraint::{Allowed, Constraint};
pub use decoder::Policy;
pub use engine::{Engine, EngineLimits, Load, Outcome, Ticket};
pub use error::WeightsError;
pub use folder::SaveOptions;
pub use generation::{Completion, Generation};
pub use generation_config::GenerationDefaults;
#[cfg(feature = "hub")]
pub use hub::{HubError, fetch_model};
pub use log_probs::{Sequence, TokenLogProbs};
pub use lora_config::{LoraConfig, Projection};
pub use prefix::PrefixUse;
pub use recompute::Tape;
pub use request::{Request, SubmitError, Writer, Written};
pub use safetensors_file::WeightType;
pub use sampling::Sampling;
pub use search::Search;
pub use work::Work;
