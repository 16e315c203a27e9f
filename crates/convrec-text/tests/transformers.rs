//! Templates and tokenizers against the Python libraries `transformers` and `tokenizers`. The
//! script `transformers/make.py` wrote their results.

use std::collections::BTreeMap;

use convrec_core::Turn;
use convrec_text::{ChatError, ChatTemplate, TextTokenizer};
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
struct Templates {
    conversations: Vec<Vec<Turn>>,
    cases: Vec<Template>,
}

#[derive(Deserialize)]
struct Template {
    name: String,
    template: String,
    renderings: Vec<Rendering>,
}

#[derive(Deserialize)]
struct Rendering {
    conversation: usize,
    ask: bool,
    variables: BTreeMap<String, serde_json::Value>,
    /// `None` where `transformers` fails.
    text: Option<String>,
}

#[derive(Deserialize)]
struct Encodings {
    files: BTreeMap<String, File>,
}

#[derive(Deserialize)]
struct File {
    tokenizer: serde_json::Value,
    cases: Vec<Encoding>,
}

#[derive(Deserialize)]
struct Encoding {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/transformers/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn templates_are_rendered_as_transformers_renders_them() {
    let golden: Templates = golden("templates.json");
    let mut differ = vec![];
    for case in &golden.cases {
        for rendering in &case.renderings {
            let turns = &golden.conversations[rendering.conversation];
            let render = || {
                let mut template = ChatTemplate::new(&case.template)?.with_date("2026-11-30")?;
                for (name, value) in &rendering.variables {
                    template = template.with_variable(name, value.clone());
                }
                template.render(turns, rendering.ask)
            };
            let same = match (render(), &rendering.text) {
                (Ok(text), Some(expected)) => text == *expected,
                // This library asks for more than `transformers` does.
                (Err(ChatError::TurnMissing { .. }), Some(expected)) => turns
                    .iter()
                    .any(|turn| !expected.contains(turn.content.trim())),
                (Err(_), None) => true,
                _ => false,
            };
            if !same {
                let ours = render().map_err(|e| e.to_string());
                differ.push(format!(
                    "{}: {ours:?}\n  not {:?}",
                    case.name, rendering.text
                ));
            }
        }
    }
    assert!(
        differ.is_empty(),
        "{} differ:\n{}",
        differ.len(),
        differ.join("\n")
    );
}

/// Prompts have the same tokens. Lists have the tokens of such a line inside of a text: their bytes
/// are the text, without a space in front.
#[test]
fn tokenizers_of_other_kinds_encode_as_their_own_library_does() {
    let golden: Encodings = golden("encodings.json");
    assert_eq!(golden.files.len(), 4);
    for (name, file) in golden.files {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, file.tokenizer.to_string()).unwrap();
        let tokenizer = TextTokenizer::load(&path).unwrap();
        assert_eq!(
            tokenizer.notes().len(),
            usize::from(name != "gemma"),
            "{name}"
        );
        for Encoding { text, ids, decoded } in file.cases {
            assert_eq!(
                tokenizer.encode_with_specials(&text).unwrap(),
                ids,
                "{name} {text:?}"
            );
            let bytes = tokenizer.decode_with_specials(&ids);
            // Their decoder drops the space that the tokenizer puts in front.
            let space = if name.starts_with("llama") { " " } else { "" };
            let dropped = format!("{space}{decoded}");
            assert!(
                [&decoded, &dropped].contains(&&bytes),
                "{name} {text:?}: {bytes:?}"
            );

            let exact = tokenizer.encode_exactly(&text).unwrap();
            let bytes: Vec<u8> = exact
                .iter()
                .flat_map(|&id| tokenizer.token_bytes(id))
                .copied()
                .collect();
            assert_eq!(bytes, text.as_bytes(), "{name} {text:?}");
            // Behind a line feed a line has the same tokens, as long as none reaches over the line
            // feed.
            if !text.contains("<s>") && !text.contains("</s>") && name != "gpt2_prefix" {
                let feed = tokenizer.encode("\n").unwrap();
                let inside = tokenizer.encode(&format!("\n{text}")).unwrap();
                assert_eq!(inside, [feed, exact].concat(), "{name} {text:?}");
            }
        }
        let saved = folder.path().join("saved.json");
        tokenizer.save(&saved).unwrap();
        let loaded = TextTokenizer::load(&saved).unwrap();
        let text = "Heat (1995)\nAmélie\n";
        assert_eq!(
            loaded.encode(text).unwrap(),
            tokenizer.encode(text).unwrap()
        );
        let marked = "<s>Heat (1995)</s>";
        assert_eq!(
            loaded.encode_with_specials(marked).unwrap(),
            tokenizer.encode_with_specials(marked).unwrap()
        );
    }
}
