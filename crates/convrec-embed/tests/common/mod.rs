//! Helpers of the tests.

#![allow(dead_code, reason = "each test uses a part")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use convrec_embed::{EmbedError, SentenceEncoder};
use ndarray::Array2;
use serde_json::Value;
use tempfile::TempDir;

pub fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

pub fn load(folder: &Path) -> Result<SentenceEncoder, EmbedError> {
    SentenceEncoder::load(folder, &Device::flex())
}

/// A copy of a tiny model that a test may spoil.
pub fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_all(&tiny(name), folder.path());
    folder
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target)
        } else {
            _ = fs::copy(path, target).unwrap()
        }
    }
}

/// Replaces a part of a text file.
pub fn edit(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

pub fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap().to_string())
        .collect()
}

#[track_caller]
pub fn assert_rows(rows: &Array2<f32>, expected: &Value, tolerance: f64) {
    let expected = expected.as_array().unwrap();
    assert_eq!(rows.nrows(), expected.len());
    for (n, (row, expected)) in rows.outer_iter().zip(expected).enumerate() {
        let expected: Vec<f64> = expected
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect();
        assert_eq!(row.len(), expected.len());
        let worst = row
            .iter()
            .zip(expected)
            .map(|(x, y)| (f64::from(*x) - y).abs())
            .fold(0.0, f64::max);
        assert!(worst <= tolerance, "row {n} is off by {worst:e}");
    }
}

#[track_caller]
pub fn assert_close(rows: &Array2<f32>, expected: &Array2<f32>, tolerance: f32) {
    assert_eq!(rows.dim(), expected.dim());
    let worst = (rows - expected)
        .iter()
        .fold(0.0f32, |worst, x| worst.max(x.abs()));
    assert!(worst <= tolerance, "off by {worst:e}");
}
