//! Arrow streams and files: rows, or an error that names the row. Memory is the file's affair:
//! `-malloc_limit_mb` guards it.
#![no_main]

use convrec_formats::{BadRowPolicy, Format, Source};
use convrec_text::Years;
use libfuzzer_sys::fuzz_target;

// The readers catch what the decoders panic at; libFuzzer's own hook would end the process there.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |data: &[u8]| {
    let source = Source::from_bytes("f", Format::Arrow, data.to_vec());
    for row in source.raw_rows().take(10_000) {
        match row {
            Ok(row) => assert!(row.place.to_string().starts_with("f, row ")),
            Err(error) => assert!(error.to_string().starts_with("f, row ")),
        }
    }
    let _ = source.demonstrations(BadRowPolicy::Skip, Years::Optional);
});
