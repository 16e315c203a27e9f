//! CSV: rows or an error that names the line, whatever the bytes.
#![no_main]

use convrec_formats::csv;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match csv::items(data, "f") {
        Ok(rows) => {
            for row in rows.take_while(Result::is_ok).flatten() {
                assert!(row.0.to_string().starts_with("f, line "));
            }
        }
        Err(error) => assert!(error.to_string().starts_with("f, line ")),
    }
});
