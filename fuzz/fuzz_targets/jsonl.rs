//! JSON lines: rows or an error that names the line, whatever the bytes.
#![no_main]

use convrec_core::jsonl;
use convrec_core::{CatalogItem, Demonstration, Example};
use convrec_formats::{AuthorsRow, CatalogRow};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let errors = [
        jsonl::read::<Example>(data, "f").err(),
        jsonl::read::<Demonstration>(data, "f").err(),
        jsonl::read::<CatalogItem>(data, "f").err(),
        jsonl::read::<AuthorsRow>(data, "f").err(),
        jsonl::read::<CatalogRow>(data, "f").err(),
    ];
    for error in errors.into_iter().flatten() {
        assert!(error.to_string().starts_with("f, line "));
    }
    // What is read is written and read back.
    if let Ok(rows) = jsonl::read::<Demonstration>(data, "f") {
        let mut text = Vec::new();
        for row in &rows {
            text.extend(serde_json::to_vec(row).unwrap());
            text.push(b'\n');
        }
        assert_eq!(jsonl::read::<Demonstration>(&text[..], "f").unwrap(), rows);
    }
});
