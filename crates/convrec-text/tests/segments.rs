//! Ranks of tokens: the reward at rank k meets the tokens of item k, and no others.

use std::sync::LazyLock;

use convrec_core::Item;
use convrec_text::segments::{END, Ending, NO_RANK, Segmentation, TokenRanks, until_end};
use convrec_text::{ListFormat, ParsedList, Style, TextTokenizer, TrainConfig, Years};
use proptest::prelude::*;

/// A tokenizer trained on lists and remarks, blank lines and indents, so that tokens reach over
/// line ends.
static TOKENIZER: LazyLock<TextTokenizer> = LazyLock::new(|| {
    let corpus = [
        "1. Heat (1995)\n\n  2. The Thing (1982)  \n\nEnjoy these films!\n",
        "Alien (1979)\nUp (2009)\r\n \n",
    ];
    let config = TrainConfig {
        vocab_size: 340,
        ..Default::default()
    };
    TextTokenizer::train(std::iter::repeat_n(corpus, 20).flatten(), &config).unwrap()
});

fn read(text: &str, is_ended: bool, mode: Segmentation) -> (Vec<u32>, ParsedList, TokenRanks) {
    let mut ids = TOKENIZER.encode(text).unwrap();
    let end = TOKENIZER.special_id("<eos>").unwrap();
    if is_ended {
        ids.extend([end, end]);
    }
    let (ids, ended) = until_end(&ids, end);
    let list = ListFormat::default().parse(&TOKENIZER.decode(ids));
    let segments = mode.segment(
        &list,
        ids.iter().map(|&id| TOKENIZER.token_bytes(id)),
        ended,
    );
    (ids.to_vec(), list, segments)
}

/// The text of the tokens of each rank.
fn texts(text: &str, mode: Segmentation) -> Vec<String> {
    let (ids, _, segments) = read(text, true, mode);
    let last = segments.ranks.iter().copied().max().unwrap();
    let of = |rank| {
        ids.iter()
            .zip(&segments.ranks)
            .filter(move |(_, r)| **r == rank)
            .map(|(&id, _)| id)
    };
    (0..=last)
        .map(|rank| TOKENIZER.decode(&of(rank).collect::<Vec<_>>()))
        .collect()
}

fn ending(text: &str, n_ranks: usize, mode: Segmentation) -> Ending {
    read(text, true, mode).2.ending(n_ranks)
}

/// S2: with a preamble and blank lines the reference pays the reward of one item to the tokens of
/// another.
#[test]
fn blank_lines_and_preambles_take_no_rank() {
    let text = "Enjoy these films!\n\n1. Heat (1995)\n\n2. Alien (1979)\n \nand\n3. Up (2009)\n";
    let by_parse = texts(text, Segmentation::OneParse);
    assert_eq!(
        by_parse.iter().map(|t| t.trim()).collect::<Vec<_>>(),
        ["1. Heat (1995)", "2. Alien (1979)", "3. Up (2009)"]
    );
    assert_eq!(ending(text, 3, Segmentation::OneParse), Ending::Complete);

    let by_line = texts(text, Segmentation::Reference);
    assert_eq!(by_line[0].trim(), "Enjoy these films!");
    assert!(
        by_line[1].is_empty()
            && by_line[2].contains("Heat")
            && !by_line.iter().take(2).any(|t| t.contains("Heat"))
    );
    assert_eq!(ending(text, 3, Segmentation::Reference), Ending::Overflow);
}

/// S4: a line feed behind the last line is no item.
#[test]
fn a_trailing_line_feed_is_no_item() {
    let three = "Heat (1995)\nAlien (1979)\nUp (2009)";
    for (tail, reference_of_3, reference_of_4) in [
        ("", Ending::Complete, Ending::Early),
        ("\n", Ending::Overflow, Ending::Complete),
        ("\n\n", Ending::Overflow, Ending::Overflow),
    ] {
        let text = format!("{three}{tail}");
        assert_eq!(
            ending(&text, 2, Segmentation::OneParse),
            Ending::Overflow,
            "{tail:?}"
        );
        assert_eq!(
            ending(&text, 3, Segmentation::OneParse),
            Ending::Complete,
            "{tail:?}"
        );
        assert_eq!(
            ending(&text, 4, Segmentation::OneParse),
            Ending::Early,
            "{tail:?}"
        );
        assert_eq!(
            ending(&text, 3, Segmentation::Reference),
            reference_of_3,
            "{tail:?}"
        );
        assert_eq!(
            ending(&text, 4, Segmentation::Reference),
            reference_of_4,
            "{tail:?}"
        );
        assert_eq!(
            read(&text, false, Segmentation::OneParse).2.ending(3),
            Ending::Cut,
            "{tail:?}"
        );
    }
}

#[test]
fn items_past_the_last_rank_get_ranks_from_there_on() {
    let text = "Heat (1995)\nAlien (1979)\nUp (2009)\n";
    assert_eq!(
        texts(text, Segmentation::OneParse),
        ["Heat (1995)\n", "Alien (1979)\n", "Up (2009)\n"]
    );
    let (_, list, segments) = read(text, true, Segmentation::OneParse);
    assert_eq!(
        (list.entries.len(), segments.items, segments.ranks.last()),
        (3, 3, Some(&END))
    );
}

#[test]
fn nothing_and_the_end_alone() {
    for mode in [Segmentation::OneParse, Segmentation::Reference] {
        let (_, _, segments) = read("", false, mode);
        assert_eq!(
            (segments.ranks.len(), segments.items, segments.ending(1)),
            (0, 0, Ending::Cut)
        );
    }
    let (_, _, segments) = read("", true, Segmentation::OneParse);
    assert_eq!(
        (segments.ranks.as_slice(), segments.ending(1)),
        ([END].as_slice(), Ending::Early)
    );
    // S5: the reference counts the end token as an item.
    let (_, _, segments) = read("", true, Segmentation::Reference);
    assert_eq!(
        (segments.ranks.as_slice(), segments.ending(1)),
        ([0].as_slice(), Ending::Complete)
    );
}

#[test]
fn tokens_that_cut_characters_and_tokens_of_several_lines() {
    let tokens: [&[u8]; 9] = [
        b"L\xc3",
        b"\xa9on",
        b" (1994)\n\n  ",
        b"  ",
        b"2.",
        b" Up",
        b" (2009)",
        b"\n3. \xff (1999)",
        b"\n",
    ];
    let text = String::from_utf8_lossy(&tokens.concat()).into_owned();
    let list = ListFormat::default().parse(&text);
    assert_eq!(
        list.items().map(|item| item.year).collect::<Vec<_>>(),
        [Some(1994), Some(2009), Some(1999)]
    );
    let segments = Segmentation::OneParse.segment(&list, tokens, false);
    assert_eq!(segments.ranks, [0, 0, 0, 1, 1, 1, 1, 2, 2]);
}

#[derive(Debug, Clone)]
enum Piece {
    Item(String, i32),
    Noise(&'static str),
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let title = "[A-Z][a-zé七']{0,8}( [A-Z(]?[a-z]{1,6}){0,2}";
    let noise = prop::sample::select(vec![
        "",
        " ",
        "\t",
        "\r",
        "Sure!",
        "Enjoy these films!",
        "Here they are:",
        "---",
        "(no year)",
    ]);
    let piece = prop_oneof![
        3 => (title, 1900..2030).prop_map(|(title, year)| Piece::Item(title, year)),
        1 => noise.prop_map(Piece::Noise),
    ];
    prop::collection::vec(piece, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// The ranks of tokens against the lines as they were written, found without the parse: by the
    /// place of bytes.
    #[test]
    fn a_reward_meets_only_the_tokens_of_its_item(
        pieces in pieces(),
        style in 0..3usize,
        ended in any::<bool>(),
    ) {
        let (mut text, mut rank_of_byte, mut items) = (String::new(), Vec::new(), Vec::new());
        for piece in &pieces {
            let line = match piece {
                Piece::Noise(noise) => format!("{noise}\n"),
                Piece::Item(title, year) => {
                    items.push(Item::new(title.clone(), *year));
                    let mark = match style {
                        0 => String::new(),
                        1 => format!("  {}. ", items.len()),
                        _ => "- ".into(),
                    };
                    format!("{mark}{title} ({year})\n")
                }
            };
            let rank = if matches!(piece, Piece::Item(..)) {
                items.len() as i32 - 1
            } else {
                NO_RANK
            };
            rank_of_byte.extend(std::iter::repeat_n(rank, line.len()));
            text.push_str(&line);
        }
        let (ids, list, segments) = read(&text, ended, Segmentation::OneParse);
        prop_assert_eq!(list.items().cloned().collect::<Vec<_>>(), items.clone());
        prop_assert_eq!(segments.ranks.len(), ids.len());

        let (mut at, mut covered) = (0, vec![false; items.len()]);
        for (token, (&id, &rank)) in ids.iter().zip(&segments.ranks).enumerate() {
            let bytes = TOKENIZER.token_bytes(id);
            if ended && token + 1 == ids.len() {
                prop_assert_eq!(rank, END);
                continue;
            }
            // The first byte of text decides. A token of white space alone belongs to the line on
            // which it begins.
            let own = &rank_of_byte[at..at + bytes.len()];
            let written: Vec<i32> = own
                .iter()
                .zip(bytes)
                .filter(|(_, b)| !b.is_ascii_whitespace())
                .map(|(r, _)| *r)
                .collect();
            prop_assert!(
                written.iter().all(|&r| r == rank),
                "token {token} of {text:?}"
            );
            prop_assert!(
                !written.is_empty() || own[0] == rank,
                "token {token} of {text:?}"
            );
            if rank >= 0 {
                covered[rank as usize] = true;
            }
            at += bytes.len();
        }
        prop_assert!(
            covered.into_iter().all(|c| c),
            "an item without tokens in {text:?}"
        );
        prop_assert_eq!(
            segments.ending(items.len()),
            if ended { Ending::Complete } else { Ending::Cut }
        );
    }

    #[test]
    fn formats_and_line_counting_agree_on_plain_lists(n in 1..25usize) {
        let items: Vec<Item> = (0..n).map(|rank| Item::new("Heat", rank as i32)).collect();
        for style in [Style::Plain, Style::Numbered] {
            let text = ListFormat {
                style,
                years: Years::Required,
            }
            .render(&items);
            let mut by_parse = read(text.trim_end(), true, Segmentation::OneParse).2;
            let by_line = read(text.trim_end(), true, Segmentation::Reference).2;
            // S3: the end token belongs to the last line.
            *by_parse.ranks.last_mut().unwrap() = n as i32 - 1;
            prop_assert_eq!(by_parse, by_line);
        }
    }
}

#[test]
fn reasoning_belongs_to_no_rank() {
    let tokens: [&[u8]; 9] = [
        b"<think>",
        b"Heat (1995)\n",
        b"\xff Up (2009)\n",
        b"no",
        b"</think>",
        b"Alien (1979)",
        b"\n<think",
        b"> Up (2009)\n",
        b"",
    ];
    let text = String::from_utf8_lossy(&tokens.concat()).into_owned();
    let list = ListFormat::default().parse(&text);
    assert_eq!(list.entries.len(), 1);
    assert_eq!(list.entries[0].item.title, "Alien");
    assert_eq!(list.entries[0].line, 2);
    assert!(list.unparsed.is_empty() && list.reasoning.is_unclosed);
    let ranks = Segmentation::OneParse.segment(&list, tokens, true).ranks;
    let none = NO_RANK;
    assert_eq!(ranks, [none, none, none, none, none, 0, none, none, END]);
}

/// Items on one line have no tokens of their own, so none takes another's reward.
#[test]
fn items_that_share_a_line_have_no_tokens() {
    let tokens: [&[u8]; 5] = [
        b"[\"Heat (1995)\",",
        b" \"9 (2009)\"]",
        b"\n",
        b"Up (2009)",
        b"",
    ];
    let text = String::from_utf8(tokens.concat()).unwrap();
    let list = ListFormat::default().parse(&text);
    assert_eq!(list.entries.len(), 3);
    let segments = Segmentation::OneParse.segment(&list, tokens, true);
    assert_eq!(segments.ranks, [NO_RANK, NO_RANK, NO_RANK, 2, END]);
}
