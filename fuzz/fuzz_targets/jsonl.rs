//! JSON: rows or an error that names the line, whatever the bytes. What is written is read back, by
//! the strict reader of our own schema and by the one of all schemas.
#![no_main]

use convrec_core::jsonl;
use convrec_core::{CatalogItem, Demonstration, Example};
use convrec_formats::{At, BadRowPolicy, Format, Source};
use convrec_text::Years;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let errors = [
        jsonl::read::<Example>(data, "f").err(),
        jsonl::read::<Demonstration>(data, "f").err(),
        jsonl::read::<CatalogItem>(data, "f").err(),
    ];
    for error in errors.into_iter().flatten() {
        assert!(!error.to_string().is_empty());
    }
    let source = Source::from_bytes("f", Format::Json, data.to_vec());
    for row in source.raw_rows() {
        match row {
            Ok(row) => assert!(matches!(row.place.at, At::Line(_) | At::Row(_))),
            Err(error) => assert!(error.to_string().starts_with("f")),
        }
    }
    let _ = source.catalog(BadRowPolicy::Skip);
    let Ok(read) = source.demonstrations(BadRowPolicy::Skip, Years::Optional) else {
        return;
    };
    let mut text = Vec::new();
    for row in &read.rows {
        text.extend(serde_json::to_vec(row).unwrap());
        text.push(b'\n');
    }
    assert_eq!(
        jsonl::read::<Demonstration>(&text[..], "f").unwrap(),
        read.rows
    );
    let source = Source::from_bytes("f", Format::Json, text);
    assert_eq!(
        source
            .demonstrations(BadRowPolicy::Refuse, Years::Optional)
            .unwrap()
            .rows,
        read.rows
    );
});
