//! A decoder-only language model on burn: weights in and out, KV cache, sampling, exact log-probs
