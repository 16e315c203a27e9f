//! Parquet files: rows, or an error that names the row.
#![no_main]

use bytes::Bytes;
use convrec_formats::parquet;
use libfuzzer_sys::fuzz_target;

// The readers catch what the decoders panic at; libFuzzer's own hook would end the process there.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |data: &[u8]| {
    for row in parquet::rows(Bytes::copy_from_slice(data), "f").take(10_000) {
        match row {
            Ok((place, _)) => assert!(place.to_string().starts_with("f, row ")),
            Err(error) => assert!(error.to_string().starts_with("f, row ")),
        }
    }
});
