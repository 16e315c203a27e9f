//! JSON as servers send it, where it is not quite JSON.

use std::borrow::Cow;

/// Makes strict JSON of a server's text. A byte order mark is removed. `NaN` and `Infinity`, which
/// Python writes, become `null`. Halves of surrogate pairs, of which no text can be made, become
/// U+FFFD. Everything else stays as it is.
pub(crate) fn strict(bytes: &[u8]) -> Cow<'_, [u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut out = Vec::new();
    // The bytes before this place are in `out`.
    let mut copied = 0;
    let mut at = 0;
    let mut in_string = false;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, instead): (usize, &[u8]) = if in_string {
            match string_part(rest) {
                Part::End => {
                    in_string = false;
                    at += 1;
                    continue;
                }
                Part::Fine(length) => {
                    at += length;
                    continue;
                }
                Part::HalfSurrogate => (6, b"\\ufffd"),
            }
        } else if rest[0] == b'"' {
            in_string = true;
            at += 1;
            continue;
        } else {
            match [&b"NaN"[..], b"-Infinity", b"Infinity"]
                .iter()
                .find(|n| rest.starts_with(n))
            {
                Some(number) => (number.len(), b"null"),
                None => {
                    at += 1;
                    continue;
                }
            }
        };
        out.extend(&bytes[copied..at]);
        out.extend(instead);
        at += length;
        copied = at;
    }
    if out.is_empty() {
        return Cow::Borrowed(bytes);
    }
    out.extend(&bytes[copied..]);
    Cow::Owned(out)
}

enum Part {
    End,
    /// A number of bytes that may stay.
    Fine(usize),
    HalfSurrogate,
}

/// The next part of a string.
fn string_part(rest: &[u8]) -> Part {
    match rest {
        [b'"', ..] => Part::End,
        [b'\\', b'u', ..] => match unit(rest) {
            Some(0xd800..0xdc00) => match rest.get(6..).and_then(unit) {
                Some(0xdc00..0xe000) => Part::Fine(12),
                _ => Part::HalfSurrogate,
            },
            Some(0xdc00..0xe000) => Part::HalfSurrogate,
            _ => Part::Fine(2),
        },
        [b'\\', _, ..] => Part::Fine(2),
        _ => Part::Fine(1),
    }
}

/// The UTF-16 unit of an escape such as `\u00e9`.
fn unit(escape: &[u8]) -> Option<u32> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| {
        Some(unit << 4 | (*digit as char).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_nearly_json_becomes_json() {
        let read = |text: &str| String::from_utf8(strict(text.as_bytes()).into_owned()).unwrap();
        assert_eq!(read("\u{feff}{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(
            read(r#"[NaN, -Infinity, Infinity, "NaN"]"#),
            r#"[null, null, null, "NaN"]"#
        );
        assert_eq!(
            read(r#""a\ud83d\ude00 \ud83d \ude00 \\ud83d \"NaN""#),
            r#""a\ud83d\ude00 \ufffd \ufffd \\ud83d \"NaN""#
        );
        assert_eq!(read(r#""\ud83d\ud83d\ude00""#), r#""\ufffd\ud83d\ude00""#);
        for same in [
            r#"{"a\u00e9": [1, -2.5e3, null, "x"]}"#,
            "<html>",
            "\"\\u12",
            "\"\\ud8",
            "",
        ] {
            assert_eq!(read(same), same);
        }
    }

    proptest! {
        #[test]
        fn json_stays_as_it_is(
            texts in proptest::collection::vec(any::<String>(), 0..5),
            n in any::<f64>(),
        ) {
            let json = serde_json::json!({ "texts": texts, "n": n }).to_string();
            let read = strict(json.as_bytes());
            prop_assert_eq!(read.as_ref(), json.as_bytes());
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = strict(&bytes);
        }
    }
}
