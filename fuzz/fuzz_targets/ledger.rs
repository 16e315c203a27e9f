//! Ledgers: any file is opened or refused by its name, and an answer that was kept is there after
//! whatever cut behind it.
#![no_main]

use std::fs;

use convrec_llm::{Ledger, Record, RequestKey, Tokens};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("convrec-fuzz-ledger-{}", std::process::id()));
    fs::write(&path, data).unwrap();
    match Ledger::open(&path) {
        Ok(ledger) => assert!(ledger.len() <= data.len()),
        Err(error) => assert!(error.to_string().contains("convrec-fuzz-ledger")),
    }
    fs::remove_file(&path).unwrap();

    let text = String::from_utf8_lossy(data).into_owned();
    let record = |name: &str| Record {
        key: RequestKey::of(&name.into()),
        model: text.chars().take(9).collect(),
        time: data.len() as u64,
        tokens: Tokens {
            input: 1,
            output: 2,
        },
        finish: None,
        text: text.clone(),
    };
    let ledger = Ledger::open(&path).unwrap();
    ledger.keep([record("a")]).unwrap();
    let first = fs::metadata(&path).unwrap().len();
    ledger.keep([record("b")]).unwrap();
    drop(ledger);
    let whole = fs::read(&path).unwrap();
    let cut = first as usize
        + data.first().map_or(0, |byte| *byte as usize) % (whole.len() - first as usize);
    fs::write(&path, &whole[..cut]).unwrap();
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(
        ledger.get(&RequestKey::of(&"a".into())).unwrap(),
        Some(record("a"))
    );
    assert_eq!(ledger.torn() as usize, cut - first as usize);
    drop(ledger);
    fs::remove_file(&path).unwrap();
});
