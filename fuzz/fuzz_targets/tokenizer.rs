//! Any `tokenizer.json` gives a tokenizer or an error, and what it encodes exactly is that text.
#![no_main]

use convrec_text::TextTokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &str| {
    let Ok(tokenizer) = TextTokenizer::from_json(json) else {
        return;
    };
    for text in ["Heat (1995)\n", "The Godfather (1972)\n", "日本 <s> \u{0}"] {
        let _ = tokenizer.encode_with_specials(text);
        let Ok(ids) = tokenizer.encode_exactly(text) else {
            continue;
        };
        assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|&id| tokenizer.token_bytes(id))
            .copied()
            .collect();
        assert_eq!(bytes, text.as_bytes());
    }
    let again = tokenizer.to_json().expect("what was read can be written");
    assert!(TextTokenizer::from_json(&again).is_ok());
});
