//! Pickles: rows or an error that names the byte or the row, and titles that are bounded by the file's length.
#![no_main]

use convrec_formats::pickle;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match pickle::items(data, "f") {
        Ok(rows) => assert!(
            rows.iter().map(|(_, row)| row.title.len()).sum::<usize>()
                <= 16 * data.len() + (1 << 20)
        ),
        Err(error) => assert!(error.to_string().starts_with("f, ")),
    }
});
