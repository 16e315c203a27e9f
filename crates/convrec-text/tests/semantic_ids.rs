//! Items as codes: in prompts and lists, in files, and back.

use convrec_core::{Item, ItemId, Turn};
use convrec_text::{
    ListTrie, PromptFormat, Prompter, SemanticIds, TextTokenizer, TokenizerError, TrainConfig,
};
use proptest::prelude::*;

fn item(n: usize) -> Item {
    Item::new(format!("Film {n}"), 1990 + n as i32)
}

fn tokenizer(special: Vec<String>) -> TextTokenizer {
    let mut config = TrainConfig::default();
    config.special_tokens.extend(special);
    TextTokenizer::train(["Film 1 (1991)\n"].iter(), &config).unwrap()
}

fn prompter(ids: &SemanticIds) -> Prompter {
    let prompter = PromptFormat::default().prompter(&tokenizer(ids.tokens()));
    prompter.unwrap().with_semantic_ids(ids).unwrap()
}

fn three() -> SemanticIds {
    SemanticIds::new([
        (item(0), vec![1, 0]),
        (item(1), vec![0, 2, 0]),
        (item(2), vec![0, 2, 1]),
    ])
}

#[test]
fn seen_items_and_lists_are_codes_and_other_items_are_text() {
    let prompter = prompter(&three());
    let said = "I loved Film 0 (1990) <1:0>";
    let prompt = prompter
        .prompt(&[Turn::user(said)], &[item(2), item(7)])
        .unwrap();
    let tokenizer = prompter.tokenizer();
    assert_eq!(
        tokenizer.decode_with_specials(&prompt),
        format!("<bos><user>{said}<seen><1:0><2:2><3:1>Film 7 (1997)\n<rec>")
    );
    // What a user writes is text, also where it spells a code.
    let code = tokenizer.special_id("<1:0>").unwrap();
    assert_eq!(prompt.iter().filter(|id| **id == code).count(), 1);
    let list = prompter.completion(&[item(1), item(0)]).unwrap();
    assert_eq!(
        tokenizer.decode_with_specials(&list),
        "<1:0><2:2><3:0><1:1><2:0><eos>"
    );
    assert_eq!(tokenizer.decode(&list), "");
    assert!(prompter.has_semantic_ids() && prompter.has_semantic_id(&item(0)));
    assert!(!prompter.has_semantic_id(&item(7)));
}

#[test]
fn files_keep_the_codes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("semantic_ids.jsonl");
    three().write(&path).unwrap();
    assert_eq!(SemanticIds::read(&path).unwrap(), three());
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, three().to_text());
    assert!(
        text.starts_with("{\"item\":[\"Film 0\",1990],\"codes\":[1,0]}\n"),
        "{text}"
    );
    for (line, problem) in [
        (
            "{\"item\":\"A\",\"codes\":[]}",
            "line 1, field `codes`: 0 codes",
        ),
        (
            "{\"item\":\"A\",\"codes\":[70000]}",
            "the largest is 70000; expected 1 to 16 codes",
        ),
        ("{\"item\":\"A\",\"codes\":[-1]}", "line 1"),
        ("{\"item\":\"A\"}", "codes"),
    ] {
        std::fs::write(&path, line).unwrap();
        let error = SemanticIds::read(&path).unwrap_err().to_string();
        assert!(
            error.contains(problem) && error.contains("semantic_ids.jsonl"),
            "{error}"
        );
    }
}

#[test]
fn a_tokenizer_without_a_code_is_refused() {
    let mut tokens = three().tokens();
    assert_eq!(
        tokens,
        [
            "<1:0>", "<1:1>", "<2:0>", "<2:1>", "<2:2>", "<3:0>", "<3:1>"
        ]
    );
    tokens.pop();
    let other = PromptFormat::default()
        .prompter(&tokenizer(tokens))
        .unwrap();
    let error = other.with_semantic_ids(&three()).unwrap_err();
    assert!(matches!(error, TokenizerError::NoSpecial(token) if token == "<3:1>"));
}

proptest! {
    /// Whatever the codes are, a list that is written by its codes is read as the same items.
    #[test]
    fn items_come_back_from_their_tokens(
        codes in proptest::collection::btree_set([0..3_u32, 0..4, 0..5], 4..20),
        order in proptest::sample::subsequence((0..4).collect::<Vec<usize>>(), 3).prop_shuffle(),
    ) {
        let rows: Vec<(Item, Vec<u32>)> =
            codes.iter().enumerate().map(|(n, codes)| (item(n), codes.to_vec())).collect();
        let prompter = prompter(&SemanticIds::new(rows.clone()));
        let lines: Vec<Vec<u32>> =
            rows.iter().map(|(item, _)| prompter.line(0, item).unwrap()).collect();
        let trie = ListTrie::from_token_ids(&lines, &[], prompter.end(), 3).unwrap();
        let list: Vec<Item> = order.iter().map(|n| item(*n)).collect();
        let mut cursor = trie.cursor(&[]).unwrap();
        for token in prompter.completion(&list).unwrap() {
            cursor.try_push(token).unwrap();
        }
        prop_assert!(cursor.is_done());
        let read: Vec<ItemId> = order.iter().map(|n| ItemId(*n as u32)).collect();
        prop_assert_eq!(cursor.items(), read);
    }
}
