//! Weights and requests for a reload that do not go together with what is served.

use std::path::Path;

use convrec_policy::SaveOptions;
use convrec_serve::{EngineLimits, ServeError, Server};
use convrec_text::{TextTokenizer, TrainConfig};
use convrec_train::Model;
use serde_json::{Value, json};

use crate::common::*;

fn save(folder: &Path) {
    policy(2)
        .save_folder(folder, &SaveOptions::default())
        .unwrap();
}

/// Makes all weights of a folder the same number.
fn fill(folder: &Path, number: f32) {
    let path = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let is_short = String::from_utf8_lossy(&bytes[..header]).contains("BF16");
    // The first two bytes of a number are those of its short form.
    let pattern = &number.to_le_bytes()[if is_short { 2 } else { 0 }..];
    for place in bytes[header..].chunks_exact_mut(pattern.len()) {
        place.copy_from_slice(pattern);
    }
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let root = tempfile::tempdir().unwrap();
    let serving = start_below(1, root.path(), Some(catalog()));
    let reload = |body: Value| operate(&serving, "/admin/reload", &body);
    let folder = |name: &str| {
        let folder = root.path().join(name);
        save(&folder);
        folder
    };
    let refused = |folder: &Path, part: &str| {
        let answer = reload(json!({ "path": folder }));
        assert_eq!(answer.status, 400, "{part}: {}", answer.body);
        assert!(answer.message().contains(part), "{}", answer.message());
        assert_eq!(get(&serving, "/ready").json()["version"], 1);
    };
    let other = TrainConfig {
        vocab_size: 257,
        special_tokens: vec!["<bos>".into()],
        ..TrainConfig::default()
    };
    let other = TextTokenizer::train(["a"].iter(), &other).unwrap();
    let words = folder("words");
    other.save(words.join("tokenizer.json")).unwrap();
    refused(&words, "tokenizer.json has other tokens");
    let mut format = language().format;
    let write = |folder: &Path, format: &convrec_train::TaskFormat| {
        let text = serde_json::to_string(format).unwrap();
        std::fs::write(folder.join("task.json"), text).unwrap();
    };
    let task = folder("task");
    format.n_ranks += 1;
    write(&task, &format);
    refused(&task, "task.json has other prompts or lists");
    let found = folder("found");
    std::fs::write(found.join("retriever.jsonl"), "{}\n").unwrap();
    refused(&found, "retriever.jsonl has another retriever");
    let coded = folder("coded");
    let row = "{\"item\": \"Heat\", \"codes\": [1, 2]}\n";
    std::fs::write(coded.join("semantic_ids.jsonl"), row).unwrap();
    refused(&coded, "semantic_ids.jsonl has other codes of items");
    for (number, part) in [
        (0.0, "all tokens are as likely"),
        (3e38, "expected a trained model"),
    ] {
        let filled = folder("filled");
        fill(&filled, number);
        refused(&filled, part);
    }
    let nothing = reload(json!({}));
    assert_eq!(nothing.status, 400, "{}", nothing.body);
    assert!(nothing.message().contains("nothing is asked for"));
    // The same files as are served say nothing new.
    let same = folder("same");
    let known = language();
    known.tokenizer.save(same.join("tokenizer.json")).unwrap();
    write(&same, &known.format);
    assert_eq!(reload(json!({ "path": same })).status, 200);
    serving.stop().unwrap();
}

/// Files of a folder may be links too.
#[cfg(unix)]
#[test]
fn files_that_are_links_stay_below_the_folder() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    save(outside.path());
    let serving = start_below(1, root.path(), Some(catalog()));
    let reload = |folder: &Path| operate(&serving, "/admin/reload", &json!({ "path": folder }));
    let linked = |name: &str, to: &Path| {
        let folder = root.path().join(name);
        save(&folder);
        std::fs::remove_file(folder.join("model.safetensors")).unwrap();
        symlink(
            to.join("model.safetensors"),
            folder.join("model.safetensors"),
        )
        .unwrap();
        folder
    };
    let answer = reload(&linked("out", outside.path()));
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(
        answer.message().contains("model.safetensors is a link out"),
        "{}",
        answer.message()
    );
    // A store of files below the folder is as good as the files.
    let store = root.path().join("store");
    save(&store);
    assert_eq!(reload(&linked("in", &store)).status, 200);
    serving.stop().unwrap();
}

#[test]
fn limits_without_room_for_a_list_are_named() {
    let start = |rows, tokens| {
        let engine = EngineLimits {
            rows,
            tokens,
            ..EngineLimits::default()
        };
        let model = Model {
            policy: policy(1),
            language: language(),
        };
        let device = burn::tensor::Device::flex();
        Server::new(model, Some(catalog()), device, config().engine(engine))
    };
    let longest = task().longest_list().unwrap();
    for (rows, tokens, name) in [(0, 1000, "rows"), (8, 0, "tokens"), (8, longest, "tokens")] {
        let problem = start(rows, tokens).unwrap_err();
        assert!(
            matches!(&problem, ServeError::Limit { limit, .. } if *limit == name),
            "{problem}"
        );
    }
    start(1, longest + 1).unwrap();
}
