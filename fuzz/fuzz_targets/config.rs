//! Any `config.json` gives a shape that can be written and read back, or an error that names the
//! field.
//!
//! The reader is compiled from its sources: its crate brings burn, which has no part in it.
#![no_main]
#![allow(dead_code, unreachable_pub)]

#[path = "../../crates/convrec-policy/src/config.rs"]
mod config;
#[path = "../../crates/convrec-policy/src/fields.rs"]
mod fields;
#[path = "../../crates/convrec-policy/src/hugging_face.rs"]
mod hugging_face;

use config::ModelConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match ModelConfig::from_hugging_face(text) {
        Ok(config) => {
            config.check().expect("what is read is sound");
            let written = config.to_hugging_face();
            let again = ModelConfig::from_hugging_face(&written).expect("what is written is read");
            assert_eq!(again, config);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
