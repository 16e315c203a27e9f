//! Where tests find golden numbers, real data and real models.
//!
//! | what | environment variable | default | when absent |
//! |---|---|---|---|
//! | golden numbers | `CONVREC_GOLDEN` | `../shared/golden` beside the workspace, else `tests/golden` in it | the test fails |
//! | cases from public reports | `CONVREC_CASES` | `../shared/cases` beside the workspace | the test says `SKIPPED` and returns |
//! | real data | `CONVREC_DATA` | `../shared/data` beside the workspace | the test says `SKIPPED` and returns |
//! | real models | `CONVREC_MODELS` | `models` in the workspace | the test says `SKIPPED` and returns |
//!
//! With `CONVREC_REQUIRE_ALL=1` (as in continuous integration) an absent folder fails the test
//! instead.

pub mod memory;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies in crates/ of the workspace")
        .into()
}

/// The path of a golden file.
///
/// # Panics
/// Where there is none.
pub fn golden_path(name: &str) -> PathBuf {
    let folders = match std::env::var_os("CONVREC_GOLDEN") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => vec![root().join("../shared/golden"), root().join("tests/golden")],
    };
    let found = folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no golden file {name} in {folders:?}; set CONVREC_GOLDEN"))
}

/// The content of a golden JSON file.
///
/// # Panics
/// Where there is none, or it does not hold a `T`.
pub fn golden_as<T: DeserializeOwned>(name: &str) -> T {
    let path = golden_path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The content of a golden JSON file, untyped.
///
/// # Panics
/// As [`golden_as`].
pub fn golden(name: &str) -> serde_json::Value {
    golden_as(name)
}

/// The path of a case from public reports; says loudly where there is none.
pub fn case_path(name: &str) -> Option<PathBuf> {
    find("CONVREC_CASES", "../shared/cases", name)
}

/// The path of a file of real data; says loudly where there is none.
pub fn data_path(name: &str) -> Option<PathBuf> {
    find("CONVREC_DATA", "../shared/data", name)
}

/// The path of a real model's folder; says loudly where there is none.
pub fn model_path(name: &str) -> Option<PathBuf> {
    find("CONVREC_MODELS", "models", name)
}

/// The path of the tokenizer that the golden numbers were made with; says loudly where there is
/// none. It is also looked for in `../shared/models` beside the workspace.
pub fn tokenizer_path() -> Option<PathBuf> {
    let name = "smollm2-135m-instruct/tokenizer.json";
    let beside = root().join("../shared/models").join(name);
    let is_default =
        std::env::var_os("CONVREC_MODELS").is_none() && !root().join("models").join(name).exists();
    if is_default && beside.exists() {
        Some(beside)
    } else {
        model_path(name)
    }
}

fn find(variable: &str, default: &str, name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map_or_else(|| root().join(default), PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    let test = std::thread::current()
        .name()
        .unwrap_or("a test")
        .to_string();
    let message = format!(
        "SKIPPED {test}: there is no {}; set {variable}",
        path.display()
    );
    assert!(
        std::env::var_os("CONVREC_REQUIRE_ALL").is_none(),
        "{message}"
    );
    // Past the harness's capture, so that a skipped test is never taken for a passed one.
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{message}");
    None
}
