//! A catalog index: normalised, year-tolerant and fuzzy lookup, one-to-one matching, embeddings and top-k
