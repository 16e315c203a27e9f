//! The file of embeddings: saved requests, survived crashes, and refusals.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use convrec_demonstrations::{CachedEmbedder, Embedder, ServiceError};
use ndarray::Array2;

/// An embedder that embeds by length, counts its texts, and fails from some text on.
#[derive(Debug, Default)]
struct Counting {
    asked: AtomicUsize,
    fails_at: Option<&'static str>,
    name: &'static str,
}

fn row(text: &str) -> [f32; 2] {
    let x = 1.0 / (1.0 + text.len() as f32);
    [x, (1.0 - x * x).sqrt()]
}

impl Embedder for &Counting {
    fn id(&self) -> String {
        self.name.into()
    }

    fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
        if texts
            .iter()
            .any(|text| Some(text.as_str()) == self.fails_at)
        {
            return Err(ServiceError::new("counting", "no more"));
        }
        self.asked.fetch_add(texts.len(), Ordering::Relaxed);
        Ok(texts
            .iter()
            .map(|text| row(text))
            .collect::<Vec<_>>()
            .into())
    }
}

fn open<'a>(path: &Path, embedder: &'a Counting) -> Result<CachedEmbedder<&'a Counting>, String> {
    CachedEmbedder::open(path, embedder).map_err(|error| error.to_string())
}

fn texts(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| "x".repeat(i)).collect()
}

fn expected(texts: &[String]) -> Array2<f32> {
    texts
        .iter()
        .map(|text| row(text))
        .collect::<Vec<_>>()
        .into()
}

#[test]
fn each_text_is_embedded_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let embedder = Counting::default();
    let cached = open(&path, &embedder).unwrap();
    assert_eq!(cached.embed(&[]).unwrap().nrows(), 0);
    let twice = [texts(0..5), texts(3..8), texts(0..5)].concat();
    assert_eq!(cached.embed(&twice).unwrap(), expected(&twice));
    assert_eq!(embedder.asked.load(Ordering::Relaxed), 8);
    drop(cached);
    let cached = open(&path, &embedder).unwrap();
    assert_eq!((cached.len(), cached.torn()), (8, 0));
    assert_eq!(
        cached.embed(&texts(0..10)).unwrap(),
        expected(&texts(0..10))
    );
    assert_eq!(embedder.asked.load(Ordering::Relaxed), 10);
    let error = open(&path, &embedder).unwrap_err();
    assert!(error.contains("in use by another process"), "{error}");
}

#[test]
fn what_was_embedded_before_a_failure_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    // The failure is in the third thousand.
    let failing = Counting {
        fails_at: Some("x 2500"),
        ..Counting::default()
    };
    let texts: Vec<String> = (0..3000).map(|i| format!("x {i}")).collect();
    let cached = open(&path, &failing).unwrap();
    assert_eq!(
        cached.embed(&texts).unwrap_err().to_string(),
        "counting: no more"
    );
    drop(cached);
    let embedder = Counting::default();
    assert_eq!(
        open(&path, &embedder).unwrap().embed(&texts).unwrap(),
        expected(&texts)
    );
    assert_eq!(embedder.asked.load(Ordering::Relaxed), 3000 - 2048);
}

#[test]
fn cut_anywhere_it_opens_with_the_whole_rows_before() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = Counting::default();
    open(&folder.path().join("whole"), &embedder)
        .unwrap()
        .embed(&texts(0..3))
        .unwrap();
    let bytes = std::fs::read(folder.path().join("whole")).unwrap();
    let header = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    // A hash, two numbers and a checksum.
    let record = 32 + 2 * 4 + 8;
    assert_eq!(bytes.len(), header + 3 * record);
    let path = folder.path().join("cut");
    for len in 0..=bytes.len() {
        std::fs::write(&path, &bytes[..len]).unwrap();
        let cached = open(&path, &embedder).unwrap();
        let whole = len.saturating_sub(header) / record;
        assert_eq!(cached.len(), whole);
        let end = if len < header {
            0
        } else {
            header + whole * record
        };
        assert_eq!(cached.torn(), (len - end) as u64);
        if len % 10 == 0 {
            assert_eq!(cached.embed(&texts(0..3)).unwrap(), expected(&texts(0..3)));
            drop(cached);
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}

#[test]
fn changed_bytes_and_other_files_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows");
    let embedder = Counting {
        name: "one",
        ..Counting::default()
    };
    open(&path, &embedder).unwrap().embed(&texts(0..4)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let error = open(&path, &embedder).unwrap_err();
        assert!(error.contains("rows"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), changed);
    }
    let error = {
        let mut changed = bytes.clone();
        let last = changed.len() - 1;
        changed[last] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        open(&path, &embedder).unwrap_err()
    };
    assert!(
        error.contains("row 4 (from 1): the checksum does not fit"),
        "{error}"
    );
    for text in ["a file of the user", "{\"id\": 1}\n", "\n"] {
        std::fs::write(&path, text).unwrap();
        let error = open(&path, &embedder).unwrap_err();
        assert!(
            error.contains("not the first line of a file of embeddings"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    std::fs::write(&path, &bytes).unwrap();
    let error = open(
        &path,
        &Counting {
            name: "two",
            ..Counting::default()
        },
    )
    .unwrap_err();
    assert!(
        error.contains("holds embeddings of `one`; expected `two`"),
        "{error}"
    );
}

#[test]
fn an_embedder_that_changes_its_mind_is_caught() {
    struct Odd;
    impl Embedder for Odd {
        fn id(&self) -> String {
            "odd".into()
        }

        fn embed(&self, texts: &[String]) -> Result<Array2<f32>, ServiceError> {
            Ok(Array2::zeros((texts.len(), texts[0].len())))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let cached = CachedEmbedder::open(folder.path().join("rows"), Odd).unwrap();
    assert_eq!(cached.embed(&["ab".into()]).unwrap().dim(), (1, 2));
    let error = cached.embed(&["abc".into()]).unwrap_err().to_string();
    assert!(
        error.contains("shape [1, 3]; expected 1 rows of 2"),
        "{error}"
    );
    assert!(
        CachedEmbedder::open(folder.path().join("empty"), Odd)
            .unwrap()
            .embed(&["".into()])
            .is_err()
    );
}
