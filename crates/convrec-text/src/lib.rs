//! Everything between strings and token ids: list formats, one parse for items and rank spans, tokenizers, prompts
