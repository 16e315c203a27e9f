//! Pickles: rows or an error that names the byte or the row, and text that is bounded by the file's
//! length.
#![no_main]

use convrec_formats::{BadRowPolicy, Format, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let source = Source::from_bytes("f", Format::Pickle, data.to_vec());
    let mut text = 0;
    for row in source.raw_rows() {
        match row {
            Ok(row) => text += row.value.to_string().len(),
            Err(error) => assert!(error.to_string().starts_with("f, ")),
        }
    }
    // JSON writes a control character as six.
    assert!(text <= 6 * (16 * data.len() + (1 << 20)));
    let _ = source.catalog(BadRowPolicy::Skip);
});
