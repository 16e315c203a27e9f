//! Reasoning that a model writes aloud before its answer.

use std::borrow::Cow;
use std::ops::Range;

/// Names of XML-like tags around reasoning: `<think>`, `</think>`.
const TAGS: [&str; 9] = [
    "analysis",
    "thinking",
    "thoughts",
    "thought",
    "think",
    "reasoning",
    "reflection",
    "scratchpad",
    "seed:think",
];
/// Other marks before and behind reasoning.
const PAIRS: [(&str, &str); 5] = [
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|thinking|>", "<|/thinking|>"),
];
/// The Harmony format names a channel before each message; only `final` is the answer.
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
const HARMONY_ENDS: [&str; 2] = ["<|return|>", "<|end|>"];

/// The answer in a model's text: the text outside of its reasoning.
///
/// ```
/// use convrec_text::strip_reasoning;
///
/// assert_eq!(strip_reasoning("<think>Heat? No.</think>\n\nRonin (1998)\n"), "Ronin (1998)\n");
/// // Chat templates may have written the opening tag already.
/// assert_eq!(strip_reasoning("Heat? No.</think>\nRonin (1998)\n"), "Ronin (1998)\n");
/// // A text that was cut while the model reasoned holds no answer.
/// assert_eq!(strip_reasoning("<think>Heat (1995), or"), "");
/// assert_eq!(strip_reasoning("Ronin (1998)\n"), "Ronin (1998)\n");
/// ```
///
/// White space in front of the answer is removed with the reasoning. Text without reasoning is
/// returned as it is. [`Reasoning`] says which marks are known, and whether a block was left open.
pub fn strip_reasoning(text: &str) -> Cow<'_, str> {
    Reasoning::find(text).strip(text)
}

/// The places of reasoning in a text.
///
/// These marks are known:
///
/// - the tags `<think>`, `<thinking>`, `<thought>`, `<thoughts>`, `<reasoning>`, `<reflection>`,
///   `<scratchpad>`, `<analysis>` and `<seed:think>`, in any case
/// - the marks `[THINK]`, `◁think▷`, `<|begin_of_thought|>`, `<|START_THINKING|>` and
///   `<|thinking|>`
/// - the channels of the Harmony format, of which only `final` is an answer
///
/// A block that is never closed reaches to the end of the text, if it begins a line: a stray tag
/// inside a line is text. A block that is closed but never opened begins with the text.
///
/// ```
/// use convrec_text::Reasoning;
///
/// let reasoning = Reasoning::find("<think>Let me see");
/// assert!(reasoning.is_unclosed);
/// assert_eq!(reasoning.spans, [0..17]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Reasoning {
    /// The bytes of each block with its tags, in order.
    pub spans: Vec<Range<usize>>,
    /// Whether the last block is never closed, as in a text that was cut before its answer.
    pub is_unclosed: bool,
}

impl Reasoning {
    /// Finds the reasoning in a text, in time linear in the text.
    #[must_use]
    pub fn find(text: &str) -> Self {
        Self::find_in_bytes(text.as_bytes())
    }

    pub(crate) fn find_in_bytes(text: &[u8]) -> Self {
        let mut spans: Vec<Range<usize>> = vec![];
        // Where the open block starts, and whether it begins a line.
        let mut open: Option<(usize, bool)> = None;
        let mut is_harmony = false;
        let mut at = 0;
        while at < text.len() {
            let Some(mark) = Mark::read(&text[at..]) else {
                at += 1;
                continue;
            };
            let end = at + mark.len;
            is_harmony |= mark.is_harmony;
            match mark.kind {
                Kind::Open => {
                    let begins = mark.is_harmony || begins_line(text, at, &spans);
                    // A stray tag inside a line gives way to a block.
                    open = open
                        .filter(|(_, first_begins)| *first_begins || !begins)
                        .or(Some((at, begins)));
                }
                Kind::Close => match open.take() {
                    Some((start, _)) => spans.push(start..end),
                    None => spans = std::iter::once(0..end).collect(),
                },
                Kind::End if is_harmony && open.is_none() => spans.push(at..end),
                Kind::End => {}
            }
            at = end;
        }
        let unclosed = open.filter(|(_, begins)| *begins);
        spans.extend(unclosed.map(|(start, _)| start..text.len()));
        Self {
            spans,
            is_unclosed: unclosed.is_some(),
        }
    }

    /// The answer in `text`, the text in which this reasoning was found.
    #[must_use]
    pub fn strip<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut answer = Cow::Borrowed("");
        let mut from = 0;
        for span in &self.spans {
            answer += &text[from..span.start];
            from = span.end;
        }
        answer += &text[from..];
        match answer {
            Cow::Borrowed(answer) if from > 0 => Cow::Borrowed(answer.trim_start()),
            Cow::Owned(answer) => Cow::Owned(answer.trim_start().into()),
            whole => whole,
        }
    }

    /// Overwrites the reasoning with spaces. Line feeds stay, so bytes and lines keep their places.
    pub(crate) fn blank(&self, text: &mut [u8]) {
        for span in &self.spans {
            text[span.clone()]
                .iter_mut()
                .filter(|byte| **byte != b'\n')
                .for_each(|byte| *byte = b' ');
        }
    }
}

/// Whether nothing but white space and reasoning stands before `at` on its line.
fn begins_line(text: &[u8], at: usize, spans: &[Range<usize>]) -> bool {
    let block_end = spans.last().map_or(0, |span| span.end);
    let before = &text[block_end..at];
    let blanks = before
        .iter()
        .rev()
        .take_while(|b| matches!(b, b' ' | b'\t'));
    let before = &before[..before.len() - blanks.count()];
    matches!(before.last(), None | Some(b'\n' | b'\r'))
}

enum Kind {
    Open,
    Close,
    /// Ends a message of the Harmony format.
    End,
}

struct Mark {
    kind: Kind,
    len: usize,
    is_harmony: bool,
}

impl Mark {
    /// The mark that `text` begins with.
    fn read(text: &[u8]) -> Option<Self> {
        // The first bytes of all marks.
        if !matches!(text[0], b'<' | b'[' | 0xe2) {
            return None;
        }
        let mark = |kind, len| Self {
            kind,
            len,
            is_harmony: false,
        };
        for (open, close) in PAIRS {
            if text.starts_with(open.as_bytes()) {
                return Some(mark(Kind::Open, open.len()));
            }
            if text.starts_with(close.as_bytes()) {
                return Some(mark(Kind::Close, close.len()));
            }
        }
        harmony(text).or_else(|| {
            let rest = text.strip_prefix(b"<")?;
            let (rest, kind) = match rest.strip_prefix(b"/") {
                Some(rest) => (rest, Kind::Close),
                None => (rest, Kind::Open),
            };
            let name = TAGS.iter().find(|name| {
                rest.get(..name.len())
                    .is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
            })?;
            let rest = &rest[name.len()..];
            // Attributes are short.
            let window = &rest[..rest.len().min(100)];
            let close = window.iter().position(|byte| *byte == b'>')?;
            let attributes = &window[..close];
            let is_tag = close == 0
                || (rest[0].is_ascii_whitespace()
                    && !attributes.iter().any(|byte| matches!(byte, b'<' | b'\n')));
            is_tag.then(|| mark(kind, text.len() - rest.len() + close + 1))
        })
    }
}

fn harmony(text: &[u8]) -> Option<Mark> {
    let mark = |kind, len| Mark {
        kind,
        len,
        is_harmony: true,
    };
    if let Some(end) = HARMONY_ENDS
        .iter()
        .find(|end| text.starts_with(end.as_bytes()))
    {
        return Some(Mark {
            is_harmony: false,
            ..mark(Kind::End, end.len())
        });
    }
    let rest = text.strip_prefix(CHANNEL.as_bytes())?;
    match rest.strip_prefix(b"final") {
        Some(message) if message.starts_with(MESSAGE.as_bytes()) => Some(mark(
            Kind::Close,
            CHANNEL.len() + "final".len() + MESSAGE.len(),
        )),
        _ => Some(mark(Kind::Open, CHANNEL.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_are_what_is_outside_of_reasoning() {
        let list = "Heat (1995)\nUp (2009)\n";
        for (text, answer) in [
            (list, list),
            ("  Heat (1995)", "  Heat (1995)"),
            ("<think></think>\n\nHeat (1995)", "Heat (1995)"),
            ("<THINK >\nUp (2009)\n</Think>Heat (1995)", "Heat (1995)"),
            ("<thinking>a</thinking>b<think>c</think>d", "bd"),
            ("<think>a <think> b</think> c</think> d", "d"),
            ("<think>a</thinking>b", "b"),
            ("Up (2009)\n</think>\nHeat (1995)", "Heat (1995)"),
            (
                "Heat (1995)\n<reasoning effort=\"high\">why",
                "Heat (1995)\n",
            ),
            ("[THINK]x[/THINK]y", "y"),
            ("◁think▷x◁/think▷y", "y"),
            ("<|begin_of_thought|>x<|end_of_thought|>y", "y"),
            (
                "<|channel|>analysis<|message|>x<|end|><|start|>assistant\
                 <|channel|>final<|message|>y<|return|>",
                "y",
            ),
            ("<|channel|>analysis<|message|>x", ""),
            ("<analysis>Up (2009)</analysis>\nHeat (1995)", "Heat (1995)"),
            // A stray tag is text.
            (
                "Heat (1995), to <think> on\nUp (2009)",
                "Heat (1995), to <think> on\nUp (2009)",
            ),
            ("to <think>\n<think>a</think>\nb", "to <think>\n\nb"),
            ("a</think>\n <think>b", ""),
            // These are no tags.
            ("<thinker> (1999)", "<thinker> (1999)"),
            ("I <think (1999)\n> so", "I <think (1999)\n> so"),
            ("x<|end|>", "x<|end|>"),
            ("<", "<"),
        ] {
            assert_eq!(strip_reasoning(text), answer, "{text:?}");
        }
        assert!(!Reasoning::find("<think>a</think>").is_unclosed);
        assert!(Reasoning::find("<think>a</think><think>").is_unclosed);
    }

    proptest! {
        #[test]
        fn any_text_is_stripped(pieces in prop::collection::vec(prop::sample::select(vec![
            "<think>", "</think>", "<", "é", "◁think▷", "\n", "Heat (1995)",
            "<|channel|>", "final", "<|message|>", "<|end|>",
        ]), 0..20)) {
            let text = pieces.concat();
            let reasoning = Reasoning::find(&text);
            prop_assert!(reasoning.spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
            prop_assert!(strip_reasoning(&text).len() <= text.len());
            let mut bytes = text.clone().into_bytes();
            reasoning.blank(&mut bytes);
            let blanked = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(blanked.matches('\n').count(), text.matches('\n').count());
            prop_assert_eq!(blanked.len(), text.len());
        }
    }

    #[test]
    fn hostile_texts_take_linear_time() {
        for piece in ["<think ", "<", "<think>", "</think>", "<|channel|>", "◁"] {
            let start = std::time::Instant::now();
            let _ = strip_reasoning(&piece.repeat(1 << 18));
            assert!(start.elapsed().as_secs_f64() < 3.0, "{piece}");
        }
    }
}
