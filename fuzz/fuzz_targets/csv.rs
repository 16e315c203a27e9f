//! CSV: catalogs and conversations, or an error that names the line, whatever the bytes.
#![no_main]

use convrec_formats::{BadRowPolicy, Format, Source};
use convrec_text::Years;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let source = Source::from_bytes("f", Format::Csv, data.to_vec());
    for row in source.raw_rows() {
        match row {
            Ok(row) => assert!(row.place.to_string().starts_with("f, line ")),
            Err(error) => assert!(error.to_string().starts_with("f")),
        }
    }
    for policy in [BadRowPolicy::Refuse, BadRowPolicy::Skip] {
        let _ = source.catalog(policy);
        let _ = source.demonstrations(policy, Years::Required);
        // Each conversation that is read has a user's turn at its end.
        if let Ok(read) = source.conversations(policy) {
            assert!(read.rows.iter().all(|example| !example.dialog.is_empty()));
        }
    }
});
