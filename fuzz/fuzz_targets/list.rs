//! Any text is a list of some items: every line is accounted for, and every token has the rank of
//! its line.
#![no_main]

use convrec_text::parse::parse_reference;
use convrec_text::segments::{END, NO_RANK, Segmentation};
use convrec_text::{ListFormat, Style, Years, strip_reasoning};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first byte says where tokens end; tokens may cut characters.
    let Some((&width, bytes)) = data.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    parse_reference(&text);
    assert!(strip_reasoning(&text).len() <= text.len());
    for years in [Years::Required, Years::Optional] {
        let format = ListFormat {
            style: Style::Plain,
            years,
        };
        let list = format.parse(&text);
        let is_blank = |text: &str| {
            text.chars()
                .all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
        };
        let entries = list.entries.iter().map(|entry| entry.span.clone());
        let mut spans: Vec<_> = entries
            .chain(list.unparsed.iter().map(|line| line.span.clone()))
            .collect();
        spans.sort_by_key(|span| span.start);
        let found = spans.len();
        let mut rest = text.to_string();
        for span in spans.into_iter().rev() {
            rest.replace_range(span, "");
        }
        let reasons = !list.reasoning.spans.is_empty();
        // The brackets around the elements of a JSON list belong to none.
        let is_json = text.contains(['[', '{']);
        assert!(
            reasons || is_json || is_blank(&rest),
            "{rest:?} is not accounted for"
        );
        // Entities, tags, links and JSON write a title in another way.
        let is_plain = !text.contains(['&', '<', '\\', '[', '{', '"']);
        for entry in &list.entries {
            assert!(!entry.item.title.is_empty());
            let written = &text[entry.span.clone()];
            assert!(reasons || !is_plain || written.contains(entry.item.title.as_str()));
        }
        // Whatever is known, each line is still one item or none.
        let all = format.parse_known(&text, |_| true);
        assert!(is_json || all.entries.len() + all.unparsed.len() == found);
        let tokens: Vec<&[u8]> = text.as_bytes().chunks(width.clamp(1, 9).into()).collect();
        for ended in [false, true] {
            let segments = Segmentation::OneParse.segment(&list, tokens.iter().copied(), ended);
            assert_eq!(
                (segments.ranks.len(), segments.items),
                (tokens.len(), list.entries.len())
            );
            let in_range = |&rank: &i32| {
                rank == NO_RANK || rank == END || (0..segments.items as i32).contains(&rank)
            };
            assert!(segments.ranks.iter().all(in_range));
            segments.ending(20);
        }
        Segmentation::Reference.segment(&list, tokens.iter().copied(), false);
        // What was read can be written, one line each. A title may hold a tag of reasoning, which
        // counts where a line begins.
        if !text.contains('<') && !is_json {
            let items: Vec<_> = list.items().cloned().collect();
            let again = format.parse(&format.render(&items));
            assert_eq!(again.entries.len() + again.unparsed.len(), items.len());
        }
    }
});
