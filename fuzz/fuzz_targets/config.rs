//! Any `config.json` gives a shape that can be written and read back, or an error that names the
//! field.
//!
//! The reader is compiled from its sources: its crate brings burn, which has no part in it.
#![no_main]
#![allow(dead_code, unreachable_pub)]

#[path = "../../crates/convrec-policy/src"]
mod policy {
    pub mod config;
    pub mod fields;
    pub mod hugging_face;
}

use libfuzzer_sys::fuzz_target;
use policy::config::ModelConfig;
// The sources name these from the root of their crate.
#[allow(unused_imports)]
use policy::{config, fields, hugging_face};

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
