//! Cases from public reports: the folder of each, and its outcome.

use std::path::{Path, PathBuf};

use convrec_core::{CatalogItem, Item, Role, Turn, jsonl};
use convrec_testdata::case_path;
use convrec_text::{
    ChatError, ChatFormat, ChatTemplate, ListFormat, ListTrie, TextTokenizer, TrieError,
};

fn case(name: &str) -> Option<PathBuf> {
    case_path(&format!("public_reports/{name}"))
}

const ASKED: &str = "<|im_start|>user\nHi (1995)<|im_end|>\n<|im_start|>assistant\n";

/// The text that `transformers` renders for a user who says `Hi (1995)`, and the id that ends a
/// turn. It leaves the user's words out in case 08, and finds no template in case 14.
const TEMPLATES: [(&str, &str, u32); 12] = [
    ("01", ASKED, 2),
    ("02", ASKED, 2),
    ("04", ASKED, 2),
    (
        "05",
        "<|im_start|>user\nHi (1995)<|im_end|>\n{\"a\": 1, \"b\": \"é<\"}{\n  \"a\": \
         1\n}x<|im_start|>assistant\n",
        2,
    ),
    ("07", ASKED, 2),
    ("08", ASKED, 2),
    ("09", ASKED, 2),
    (
        "11",
        "<|im_start|>user\nHi (1995)<|eot|>\n<|im_start|>assistant\n",
        335,
    ),
    (
        "12",
        "\u{feff}<|im_start|>user\nHi (1995)<|im_end|>\n<|im_start|>assistant\n",
        2,
    ),
    ("13", ASKED, 2),
    ("14", ASKED, 2),
    // Its tokens are only in tokenizer_config.json.
    ("49", ASKED, 399),
];

#[test]
fn templates() {
    for (name, expected, end) in TEMPLATES {
        let Some(folder) = case(&format!("{name}/m")) else {
            return;
        };
        let tokenizer = TextTokenizer::load(folder.join("tokenizer.json")).unwrap();
        let template = ChatTemplate::load(&folder).unwrap();
        let turns = [Turn::user("Hi (1995)")];
        let text = template.render(&turns, true).unwrap();
        assert_eq!(text, expected, "case {name}");
        assert_eq!(
            template.end_of_turn(&tokenizer).unwrap(),
            end,
            "case {name}"
        );
        let prompter = ChatFormat::default()
            .prompter(&tokenizer, &template, 3)
            .unwrap();
        let prompt = prompter.prompt(&turns, &[]).unwrap();
        let prompt = tokenizer.decode_with_specials(&prompt);
        assert!(
            prompt.contains("User: Hi (1995)\n"),
            "case {name}: {prompt}"
        );
        assert!(prompt.contains("You recommend"), "case {name}: {prompt}");
        assert_eq!(prompter.end(), end, "case {name}");
    }
}

#[test]
fn a_system_message_that_is_refused() {
    let Some(folder) = case("07/m") else { return };
    let template = ChatTemplate::load(folder).unwrap();
    let system = Turn {
        role: Role::System,
        content: "x".into(),
    };
    let error = template
        .render(&[system, Turn::user("y")], true)
        .unwrap_err();
    assert!(matches!(
        error,
        ChatError::Refused {
            has_system: true,
            ..
        }
    ));
    assert!(
        error.to_string().contains("`chat.system = \"\"`"),
        "{error}"
    );
}

/// The error, or the notes of a tokenizer that is taken.
const TOKENIZERS: [(&str, Result<&str, &str>); 13] = [
    ("40/m", Ok("")),
    ("42/lower", Err("its normalizer is `Lowercase`")),
    ("42/strip", Err("its normalizer is `Strip`")),
    ("42/prepend", Err("its normalizer is `Prepend`")),
    // Its lines are compared, one by one.
    ("42/nfkc", Ok("")),
    ("43/m", Ok("the space in front of a text")),
    // A vocabulary without spaces and line feeds.
    ("44/m", Err("stand for \"TheHeat(1995)Ab\"")),
    ("45/m", Ok("")),
    ("46/m", Ok("")),
    (
        "47/m",
        Ok("padding is switched off; truncation is switched off"),
    ),
    ("50/more", Ok("")),
    ("50/fewer", Ok("")),
    ("51/m", Ok("")),
];

#[test]
fn tokenizers() {
    for (name, expected) in TOKENIZERS {
        let Some(path) = case(&format!("{name}/tokenizer.json")) else {
            return;
        };
        let items = [Item::new("Heat", 1995), Item::new("Up", 2009)];
        match (TextTokenizer::load(&path), expected) {
            (Ok(tokenizer), Ok(notes)) => {
                let found = tokenizer.notes().join("; ");
                assert!(found.starts_with(notes) && found.is_empty() == notes.is_empty());
                let trie = ListTrie::new(&tokenizer, ListFormat::default(), 2, &items, 2).unwrap();
                let mut cursor = trie.cursor(&[]).unwrap();
                for item in &items {
                    let line = tokenizer.encode_exactly(&format!("{item}\n")).unwrap();
                    line.into_iter().for_each(|token| cursor.push(token));
                }
                assert_eq!(cursor.allowed(), [2], "case {name}");
            }
            (Err(error), Err(says)) => {
                let error = error.to_string();
                assert!(error.contains("tokenizer.json: it changes text"), "{error}");
                assert!(error.contains(says), "case {name}: {error}");
            }
            (Ok(_), Err(_)) => panic!("case {name}: the tokenizer is taken"),
            (Err(error), Ok(_)) => panic!("case {name}: {error}"),
        }
    }
}

fn items(path: &Path) -> Vec<Item> {
    let items: Vec<CatalogItem> = jsonl::read_file(path).unwrap();
    items.iter().map(CatalogItem::item).collect()
}

#[test]
fn control_tokens_in_what_users_write() {
    let Some(path) = case("46/m/tokenizer.json") else {
        return;
    };
    let tokenizer = TextTokenizer::load(path).unwrap();
    let text = "a <|r|> b <|l|> <|im_end|>c";
    let ids = tokenizer.encode(text).unwrap();
    assert!(ids.iter().all(|id| !matches!(id, 0..=2 | 335 | 336)));
    assert_eq!(tokenizer.decode(&ids), text);
    // As in `transformers`, an added token that is not special is recognised in every text.
    assert_eq!(tokenizer.encode("<think>").unwrap(), [337]);
}

#[test]
fn composed_and_decomposed_titles() {
    let Some(folder) = case("40") else { return };
    let tokenizer = TextTokenizer::load(folder.join("m/tokenizer.json")).unwrap();
    let catalog = items(&folder.join("c.jsonl"));
    assert!(ListTrie::new(&tokenizer, ListFormat::default(), 2, &catalog, 1).is_ok());

    let Some(folder) = case("41") else { return };
    let tokenizer = TextTokenizer::load(folder.join("m/tokenizer.json")).unwrap();
    let catalog = items(&folder.join("c.jsonl"));
    let error = ListTrie::new(&tokenizer, ListFormat::default(), 2, &catalog, 1).unwrap_err();
    assert!(matches!(error, TrieError::Ambiguous { .. }));
    let words = error.to_string();
    for says in ["(item 1)", "(item 2)", r"Am\u{e9}lie", r"Ame\u{301}lie"] {
        assert!(words.contains(says), "{words}");
    }
}

#[test]
fn odd_titles() {
    let Some(folder) = case("52") else { return };
    let tokenizer = TextTokenizer::load(folder.join("m/tokenizer.json")).unwrap();
    let catalog = items(&folder.join("c.jsonl"));
    let format = ListFormat::default();
    let trie = ListTrie::new(&tokenizer, format, 2, &catalog, catalog.len()).unwrap();
    let mut cursor = trie.cursor(&[]).unwrap();
    for item in &catalog {
        let line = tokenizer.encode_exactly(&format.line(0, item)).unwrap();
        line.into_iter().for_each(|token| cursor.push(token));
    }
    assert_eq!(cursor.items().len(), catalog.len());
    // A line break in a title is written as a space.
    let named = |item: &Item| {
        let mut catalog = catalog.iter();
        catalog.any(|known| known.title.replace('\n', " ") == item.title && known.year == item.year)
    };
    let list = format.parse_known(&format.render(&catalog), named);
    let lines: Vec<String> = list.items().map(|item| format.line(0, item)).collect();
    let expected: Vec<String> = catalog.iter().map(|item| format.line(0, item)).collect();
    assert_eq!(lines, expected);
    assert!(list.items().all(named));
}

/// A MovieLens catalog: titles hold the year, and there is no column of years.
#[test]
fn titles_that_hold_the_year() {
    let Some(folder) = case("90") else { return };
    let file = std::fs::read_to_string(folder.join("m.csv")).unwrap();
    let title = |line: &str| {
        let title = line.split_once(',')?.1.rsplit_once(',')?.0;
        Some(Item::new(title.trim_matches('"'), None))
    };
    let catalog: Vec<Item> = file.lines().skip(1).filter_map(title).collect();
    assert_eq!(catalog.len(), 8);
    let format = ListFormat::default();
    let known = |item: &Item| catalog.contains(item);
    let list = format.parse_known(&format.render(&catalog), known);
    assert!(list.items().eq(&catalog));

    let answers = std::fs::read_to_string(folder.join("a.jsonl")).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answers).unwrap();
    let list = format.parse_known(answer["raw"].as_str().unwrap(), known);
    let found: Vec<bool> = list.items().map(known).collect();
    assert_eq!(found, [true, false, true, false, false]);
}
