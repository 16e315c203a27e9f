//! Arrow streams: rows, or an error that names the row. Memory is the file's affair: `-malloc_limit_mb` guards it.
#![no_main]

use convrec_formats::arrow;
use libfuzzer_sys::fuzz_target;

// The readers catch what the decoders panic at; libFuzzer's own hook would end the process there.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |data: &[u8]| {
    for row in arrow::rows(data, "f").take(10_000) {
        match row {
            Ok((place, _)) => assert!(place.to_string().starts_with("f, row ")),
            Err(error) => assert!(error.to_string().starts_with("f, row ")),
        }
    }
});
