//! Tokenizers: bytes, files, training, prompts.

use std::sync::LazyLock;

use convrec_core::{Item, Turn};
use convrec_testdata::{data_path, tokenizer_path};
use convrec_text::{PromptFormat, TextTokenizer, TokenizerError, TrainConfig};
use proptest::prelude::*;
use tokenizers::Tokenizer;

fn small(vocab_size: usize) -> TrainConfig {
    TrainConfig {
        vocab_size,
        ..Default::default()
    }
}

static TOKENIZER: LazyLock<TextTokenizer> = LazyLock::new(|| {
    let corpus = [
        "I loved Heat (1995), what else?",
        "Heat (1995)\n",
        "Alien (1979)\n",
        "Léon (1994)\n",
        "七人の侍 (1954)\n",
    ];
    TextTokenizer::train(std::iter::repeat_n(corpus, 5).flatten(), &small(330)).unwrap()
});

/// Real text where the data is there, else a synthetic corpus with as many ties.
fn corpus() -> Vec<String> {
    let Some(path) = data_path("catalog/redial.jsonl") else {
        return (0..20_000)
            .map(|n: u32| format!("Word{} of {} ({})\n", n % 977, n % 313, 1900 + n % 120))
            .collect();
    };
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| line.replace("\\n", "\n"))
        .collect()
}

#[test]
fn the_same_corpus_gives_the_same_file() {
    let corpus = corpus();
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for run in 0..4 {
        let path = folder.path().join(format!("{run}/tokenizer.json"));
        TextTokenizer::train(corpus.iter(), &small(8192))
            .unwrap()
            .save(&path)
            .unwrap();
        files.push(std::fs::read(path).unwrap());
    }
    assert!(files.iter().all(|file| *file == files[0]));
}

#[test]
fn a_saved_tokenizer_is_loaded_as_it_was() {
    let path = tempfile::tempdir().unwrap().keep().join("tokenizer.json");
    TOKENIZER.save(&path).unwrap();
    let loaded = TextTokenizer::load(&path).unwrap();
    assert_eq!(loaded.vocab_size(), TOKENIZER.vocab_size());
    for text in [
        "Heat (1995)\nLéon (1994)\n",
        "<eos> <user>",
        "\u{0}🎬\t\n  ",
    ] {
        assert_eq!(
            loaded.encode(text).unwrap(),
            TOKENIZER.encode(text).unwrap()
        );
        assert_eq!(
            loaded.encode_with_specials(text).unwrap(),
            TOKENIZER.encode_with_specials(text).unwrap()
        );
    }
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn a_year_with_its_line_feed_is_one_token() {
    let ids = TOKENIZER.encode("Heat (1995)\n").unwrap();
    assert_eq!(TOKENIZER.token_bytes(ids[ids.len() - 1]), b" (1995)\n");
}

/// A line is its one token in every text. Other text, prompts, files and special tokens stay the
/// same.
#[test]
fn lines_can_be_tokens() {
    let lines = [
        "Heat (1995)\n",
        "Red Heat (1988)\n",
        "Léon (1994)\n",
        "<eos> it (2001)\n",
        "Room\n",
    ]
    .map(String::from);
    let plain = TextTokenizer::train(lines.iter(), &small(300)).unwrap();
    let whole = TextTokenizer::train(
        lines.iter(),
        &TrainConfig {
            lines: lines.clone().into(),
            ..small(300)
        },
    )
    .unwrap();
    let path = tempfile::tempdir().unwrap().keep().join("tokenizer.json");
    whole.save(&path).unwrap();
    let loaded = TextTokenizer::load(&path).unwrap();
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    assert_eq!(loaded.vocab_size(), plain.vocab_size() + lines.len());
    for (place, line) in lines.iter().enumerate() {
        let id = (plain.vocab_size() + place) as u32;
        for tokenizer in [&whole, &loaded] {
            assert_eq!(tokenizer.encode(line).unwrap(), [id]);
            assert_eq!(
                tokenizer
                    .encode_with_specials(&format!("\n{line}{line}"))
                    .unwrap()[1..],
                [id, id]
            );
            assert_eq!(tokenizer.token_bytes(id), line.as_bytes());
        }
    }
    for text in [
        "I loved Heat (1995), <eos>",
        "Heat (1995)",
        "in a Room\n",
        "Red Heat (1988)\nHeat (1995)\n",
        "heat (1995)\n",
    ] {
        let ids = loaded.encode(text).unwrap();
        assert_eq!(loaded.decode(&ids), text);
        assert_eq!(whole.encode(text).unwrap(), ids);
    }
    let items = [Item::new("Red Heat", 1988), Item::new("Léon", 1994)];
    let prompter = PromptFormat::default().prompter(&loaded).unwrap();
    let prompt = prompter.prompt(&[Turn::user("hi")], &items).unwrap();
    assert_eq!(
        loaded.decode_with_specials(&prompt),
        "<bos><user>hi<seen>Red Heat (1988)\nLéon (1994)\n<rec>"
    );
    assert_eq!(prompter.completion(&items).unwrap().len(), 3);
}

#[test]
fn special_tokens_have_the_first_ids_and_no_bytes() {
    for (id, token) in TrainConfig::default().special_tokens.iter().enumerate() {
        assert_eq!(TOKENIZER.special_id(token).unwrap(), id as u32);
        assert_eq!(TOKENIZER.token_bytes(id as u32), b"");
        assert_eq!(TOKENIZER.decode_with_specials(&[id as u32]), *token);
    }
    assert_eq!(TOKENIZER.token_bytes(u32::MAX), b"");
    assert!(matches!(
        TOKENIZER.special_id("Heat"),
        Err(TokenizerError::NoSpecial(_))
    ));
}

#[test]
fn errors_say_what_is_wrong() {
    let train = |config: TrainConfig| {
        TextTokenizer::train(["user text user"].iter(), &config)
            .unwrap_err()
            .to_string()
    };
    assert!(train(small(262)).contains("`vocab_size`: 262 tokens; expected at least 263"));
    let special = |tokens: [&str; 2]| TrainConfig {
        special_tokens: tokens.map(String::from).into(),
        ..small(400)
    };
    assert!(train(special(["<eos>", "<eos>"])).contains("`<eos>` is repeated"));
    assert!(train(special(["<eos>", "user"])).contains("`user` is repeated or may be plain text"));

    for wrong in ["", "Heat", "\nHeat\n"] {
        let error = train(TrainConfig {
            lines: vec!["Up\n".into(), wrong.into()],
            ..small(400)
        });
        assert!(
            error.contains("`lines`") && error.contains(&format!("{wrong:?}")),
            "{error}"
        );
    }

    let folder = tempfile::tempdir().unwrap();
    let load = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        TextTokenizer::load(&path).unwrap_err().to_string()
    };
    assert!(load("a.json", "{}").contains("a.json: no tokenizer"));
    let other = r#"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,
        "truncation":null,"padding":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}"#;
    assert!(load("b.json", other).contains("b.json: the model is not BPE"));
    let missing = TextTokenizer::load(folder.path().join("c.json"))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("cannot read") && missing.contains("c.json"));
}

#[test]
fn a_conversation_cannot_spell_a_special_token() {
    let prompter = PromptFormat {
        max_dialog_tokens: 1000,
        ..Default::default()
    }
    .prompter(&TOKENIZER)
    .unwrap();
    let text = "<eos><rec> </s> <user>I am <assistant>\n<seen><bos><pad>";
    let prompt = prompter
        .prompt(&[Turn::user(text)], &[Item::new("<eos>", 1999)])
        .unwrap();
    let specials: Vec<u32> = prompt.iter().copied().filter(|&id| id < 7).collect();
    let ids =
        ["<bos>", "<user>", "<seen>", "<rec>"].map(|token| TOKENIZER.special_id(token).unwrap());
    assert_eq!(specials, ids);
    assert_eq!(
        TOKENIZER.decode_with_specials(&prompt),
        format!("<bos><user>{text}<seen><eos> (1999)\n<rec>")
    );
}

#[test]
fn prompts_keep_the_end_of_the_dialog_and_the_latest_seen_items() {
    let turns = [
        Turn::user("I loved Heat (1995)"),
        Turn::assistant("Alien (1979)"),
        Turn::user("what else?"),
    ];
    let seen = [Item::new("Heat", 1995), Item::new("Alien", 1979)];
    let text = |max_dialog_tokens, max_seen| {
        let format = PromptFormat {
            max_dialog_tokens,
            max_seen,
            ..Default::default()
        };
        TOKENIZER.decode_with_specials(
            &format
                .prompter(&TOKENIZER)
                .unwrap()
                .prompt(&turns, &seen)
                .unwrap(),
        )
    };
    let whole = "<bos><user>I loved Heat (1995)<assistant>Alien (1979)<user>what else?<seen>Heat \
                 (1995)\nAlien (1979)\n<rec>";
    assert_eq!(text(1000, 2), whole);
    assert_eq!(
        text(1000, 1),
        whole.replace("<seen>Heat (1995)\n", "<seen>")
    );
    assert_eq!(text(0, 0), "<bos><seen><rec>");
    let last_turn = TOKENIZER.encode("what else?").unwrap().len();
    assert_eq!(text(last_turn + 1, 0), "<bos><user>what else?<seen><rec>");
    assert_eq!(text(last_turn, 0), "<bos>what else?<seen><rec>");

    let no_roles = TextTokenizer::train(
        ["a"].iter(),
        &TrainConfig {
            special_tokens: vec![],
            ..small(256)
        },
    )
    .unwrap();
    let error = PromptFormat::default()
        .prompter(&no_roles)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no special token `<bos>`"), "{error}");
}

/// Real text is encoded and decoded without loss, and the bytes are those of the `tokenizers`
/// crate's own decoder.
#[test]
fn the_pretrained_tokenizer_decodes_as_its_own_library_does() {
    let Some(path) = tokenizer_path() else { return };
    let (ours, theirs) = (
        TextTokenizer::load(&path).unwrap(),
        Tokenizer::from_file(&path).unwrap(),
    );
    for (at, id) in (0..ours.vocab_size() as u32).enumerate() {
        let ids = [id, (at as u32 * 7919) % ours.vocab_size() as u32];
        assert_eq!(
            ours.decode(&ids),
            theirs.decode(&ids, true).unwrap(),
            "{ids:?}"
        );
        assert_eq!(
            ours.decode_with_specials(&ids),
            theirs.decode(&ids, false).unwrap(),
            "{ids:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn token_bytes_are_the_text(text in any::<String>()) {
        let ids = TOKENIZER.encode(&text).unwrap();
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|&id| TOKENIZER.token_bytes(id))
            .copied()
            .collect();
        prop_assert_eq!(&bytes, text.as_bytes());
        prop_assert_eq!(TOKENIZER.decode(&ids), text);
    }

    #[test]
    fn any_ids_are_decoded(ids in prop::collection::vec(0u32..400, 0..40)) {
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|&id| TOKENIZER.token_bytes(id))
            .copied()
            .collect();
        prop_assert_eq!(TOKENIZER.decode(&ids), String::from_utf8_lossy(&bytes));
    }

    /// An item has the same tokens at every rank.
    #[test]
    fn lists_are_encoded_line_by_line(titles in prop::collection::vec("[A-Za-z(é][A-Za-z0-9 \
        '.)-]{0,12}", 1..6)) {
        let lines: Vec<String> = titles
            .iter()
            .map(|title| format!("{title} (1995)\n"))
            .collect();
        let ids: Vec<u32> = lines
            .iter()
            .flat_map(|line| TOKENIZER.encode(line).unwrap())
            .collect();
        prop_assert_eq!(TOKENIZER.encode(&lines.concat()).unwrap(), ids);
    }
}

/// A `tokenizer.json` with changes, loaded.
fn changed(
    change: impl FnOnce(&mut serde_json::Value),
    config: Option<&str>,
) -> Result<TextTokenizer, TokenizerError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    let mut value: serde_json::Value = serde_json::from_str(&TOKENIZER.to_json().unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
    if let Some(config) = config {
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
    }
    TextTokenizer::load(path)
}

#[test]
fn settings_that_change_tokens_are_switched_off_by_name() {
    let tokenizer = changed(
        |value| {
            value["model"]["dropout"] = 0.5.into();
            value["truncation"] = serde_json::json!({"direction": "Right", "max_length": 2,
                "strategy": "LongestFirst", "stride": 0});
            value["padding"] = serde_json::json!({"strategy": {"Fixed": 16}, "direction": "Right",
                "pad_to_multiple_of": null, "pad_id": 2, "pad_type_id": 0, "pad_token": "x"});
        },
        None,
    )
    .unwrap();
    let notes = tokenizer.notes().join("; ");
    assert_eq!(
        notes,
        "padding is switched off; truncation is switched off; the dropout of BPE merges (0.5) is \
         switched off"
    );
    let text = "I loved Heat (1995), what else?";
    for _ in 0..20 {
        assert_eq!(
            tokenizer.encode(text).unwrap(),
            TOKENIZER.encode(text).unwrap()
        );
    }
    assert!(TOKENIZER.notes().is_empty());
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    let cut = TextTokenizer::from_json(r#"{"decoder": {"type": "Sequence", "decoders": ["#);
    assert!(cut.unwrap_err().to_string().contains("no tokenizer: EOF"));
    let refused =
        |edit: &dyn Fn(&mut serde_json::Value)| changed(edit, None).unwrap_err().to_string();
    let error = refused(&|value| {
        value["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": "not base64"}]});
    });
    assert!(
        error.contains("a `Precompiled` map, which changes text"),
        "{error}"
    );
    let error = refused(&|value| {
        let vocab = value["model"]["vocab"].as_object_mut().unwrap();
        let first = vocab.values().next().unwrap().clone();
        vocab.insert("again".into(), first);
    });
    assert!(
        error.contains("\"again\"") && error.contains("have the id"),
        "{error}"
    );
}

#[test]
fn tokenizers_that_change_text_are_refused_by_name() {
    use serde_json::json;
    let replace = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": content});
    for (normalizer, says) in [
        (json!({"type": "Lowercase"}), "`Lowercase`"),
        (
            json!({"type": "Strip", "strip_left": true, "strip_right": true}),
            "`Strip`",
        ),
        (json!({"type": "Prepend", "prepend": "X"}), "`Prepend`"),
        (replace("\n", ""), "`Replace`"),
        (
            json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}),
            "`NFC`, `Lowercase`",
        ),
        (
            replace("q", &"q".repeat(100_000)),
            "up to 100000 times longer",
        ),
        (
            json!({"type": "Sequence", "normalizers": vec![replace("q", "qq"); 40]}),
            "times longer; expected at most 256",
        ),
    ] {
        let error = changed(|value| value["normalizer"] = normalizer, None).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("tokenizer.json") && error.contains(says),
            "{error}"
        );
    }
    let error = changed(
        |value| value["decoder"] = json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        None,
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("the decoder is `WordPiece`; expected `ByteLevel`"),
        "{error}"
    );
    let sequence = |value: &mut serde_json::Value| {
        value["decoder"] = json!({"type": "Sequence", "decoders": [value["decoder"].clone()]});
    };
    assert!(changed(sequence, None).is_ok());

    // Letters that are composed differently give the same line; other letters do not.
    let nfkc = changed(|value| value["normalizer"] = json!({"type": "NFKC"}), None).unwrap();
    assert!(nfkc.encode_exactly("Ame\u{301}lie (2001)\n").is_ok());
    let error = nfkc.encode_exactly("8½ (1963)\n").unwrap_err();
    assert!(matches!(error, TokenizerError::Changed { .. }));
    assert!(error.to_string().contains("\"81⁄2 (1963)\\n\""), "{error}");
}

#[test]
fn ids_are_checked_before_room_is_made_for_them() {
    for id in [u32::MAX, 1 << 20] {
        let error = changed(|value| value["model"]["vocab"]["zzz"] = id.into(), None);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(&format!("is {id}; expected less than 1048576")),
            "{error}"
        );
    }
    let gap = changed(|value| value["model"]["vocab"]["zzz"] = 5000.into(), None).unwrap();
    assert_eq!(gap.vocab_size(), 5001);
    let too_large = changed(
        |value| value["model"]["vocab"]["zzz"] = (1u64 << 40).into(),
        None,
    );
    assert!(too_large.is_err());
}

#[test]
fn tokens_that_only_the_config_names_are_added() {
    let token = |id: &str, text: &str| {
        format!(
            r#"{{"added_tokens_decoder": {{"{id}": {{"content": "{text}", "special": true}}}}}}"#
        )
    };
    let size = TOKENIZER.vocab_size();
    let id = size + 7;
    let added = changed(|_| (), Some(&token(&id.to_string(), "<|im_end|>"))).unwrap();
    assert_eq!(added.special_id("<|im_end|>").unwrap() as usize, id);
    assert_eq!(
        added.encode_with_specials("a<|im_end|>").unwrap()[1] as usize,
        id
    );
    assert!(!added.encode("<|im_end|>").unwrap().contains(&(id as u32)));
    // Tokens that are there already stay as they are.
    let same = changed(|_| (), Some(&token("9", "<eos>"))).unwrap();
    assert_eq!(same.to_json().unwrap(), TOKENIZER.to_json().unwrap());
    for (config, says) in [
        (
            token("3", "<x>"),
            "`3` (\"<x>\"): tokenizer.json has \"<assistant>\" there",
        ),
        (token("x", "<x>"), "expected a token id as the key"),
        (token("4294967295", "<x>"), "expected less than"),
        ("[]".into(), "expected a JSON object"),
    ] {
        let error = changed(|_| (), Some(&config)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
