//! JSON as Python writes it.
//!
//! `json.dumps` writes `NaN` and half of a character (a lone surrogate). `str` of lists and
//! dictionaries, which is what `pandas.DataFrame.to_csv` writes into a cell, has single quotes,
//! tuples, `None`, `True` and `False`. Neither is JSON. Both are read here, where JSON's own parser
//! has failed.

use convrec_core::shown;
use serde_json::{Map, Number, Value};

/// Lists and objects may nest this deep.
const MAX_DEPTH: usize = 64;

/// The one value that `text` holds, or `None` where it holds anything else.
///
/// `NaN` and `None` become null, infinities become their names as text, tuples become arrays, and
/// a lone surrogate becomes U+FFFD.
pub(crate) fn parse(text: &str) -> Option<Value> {
    Parser::new(text, false).whole()
}

/// The same, also where numpy or a set printed it: `['a' 'b']`, `[array(['a', 1], dtype=object)]`,
/// `{'a', 'b'}`, `set()`. A set becomes an array.
pub(crate) fn parse_printed(text: &str) -> Option<Value> {
    parse(text).or_else(|| Parser::new(text, true).whole())
}

/// The reason why [`parse_printed`] reads nothing from a text that begins as a list.
pub(crate) fn why_unreadable(text: &str) -> String {
    const ADVICE: &str = "write the list by `json.dumps`";
    let mut parser = Parser::new(text, true);
    let _ = parser.value(0);
    parser.space();
    let rest = parser.rest();
    match rest.is_empty() {
        true => format!("the text begins as a list that does not end, it may be cut; {ADVICE}"),
        false => format!(
            "the text begins as a list and is none from character {} on, `{}`; {ADVICE}",
            text[..parser.at].chars().count() + 1,
            shown(rest)
        ),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The next byte, always at the start of a character.
    at: usize,
    /// Whether lists may look as numpy and sets print them.
    printed: bool,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, printed: bool) -> Self {
        Self {
            text,
            at: 0,
            printed,
        }
    }
}

impl Parser<'_> {
    fn whole(mut self) -> Option<Value> {
        let value = self.value(0)?;
        self.space();
        (self.at == self.text.len()).then_some(value)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_ascii_start().len();
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Skips white space and `text`, if it comes next.
    fn take(&mut self, text: &str) -> bool {
        self.space();
        let comes = self.rest().starts_with(text);
        if comes {
            self.at += text.len();
        }
        comes
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.space();
        match self.peek()? {
            'a' if self.printed && self.take("array(") => self.numpy_array(depth),
            's' if self.printed && self.take("set()") => Some(Value::Array(Vec::new())),
            '{' if self.printed && self.is_set() => self.array("{", "}", depth),
            '{' => self.object(depth),
            '[' => self.array("[", "]", depth),
            '(' => self.array("(", ")", depth),
            '"' | '\'' => self.string().map(Value::String),
            'u' if matches!(self.rest().as_bytes().get(1), Some(b'"' | b'\'')) => {
                self.at += 1;
                self.string().map(Value::String)
            }
            _ => self.word(),
        }
    }

    fn array(&mut self, open: &str, close: &str, depth: usize) -> Option<Value> {
        self.take(open);
        let mut values = Vec::new();
        while !self.take(close) {
            values.push(self.value(depth + 1)?);
            let more = self.take(",") || self.printed;
            if !more {
                return self.take(close).then_some(Value::Array(values));
            }
        }
        Some(Value::Array(values))
    }

    /// What follows `array(`: a list, and its type or not.
    fn numpy_array(&mut self, depth: usize) -> Option<Value> {
        let values = self.value(depth + 1)?;
        if self.take(",") && self.take("dtype=") {
            self.at += self.rest().find(')')?;
        }
        self.take(")").then_some(values)
    }

    /// Whether the braces that come next hold no names with values: the first text has no colon.
    fn is_set(&self) -> bool {
        let mut ahead = Parser { ..*self };
        ahead.take("{");
        ahead.space();
        ahead.string().is_some() && !ahead.take(":")
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.take("{");
        let mut fields = Map::new();
        while !self.take("}") {
            self.space();
            let name = self.string()?;
            if !self.take(":") {
                return None;
            }
            let value = self.value(depth + 1)?;
            // A name that comes twice is a mistake that JSON's parser may report.
            if fields.insert(name, value).is_some() {
                return None;
            }
            let more = self.take(",");
            if !more {
                return self.take("}").then_some(Value::Object(fields));
            }
        }
        Some(Value::Object(fields))
    }

    /// A number, or a name that stands for a value.
    fn word(&mut self) -> Option<Value> {
        let end = self
            .rest()
            .find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)))
            .unwrap_or(self.rest().len());
        let word = self.rest()[..end].to_string();
        let value = match word.as_str() {
            "null" | "None" | "NaN" | "nan" | "-NaN" => Value::Null,
            "true" | "True" => true.into(),
            "false" | "False" => false.into(),
            "Infinity" | "-Infinity" | "inf" | "-inf" => word.into(),
            number if number.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                Value::Number(match number.parse::<i64>() {
                    Ok(integer) => integer.into(),
                    Err(_) => Number::from_f64(number.parse().ok()?)?,
                })
            }
            _ => return None,
        };
        self.at += end;
        Some(value)
    }

    fn string(&mut self) -> Option<String> {
        let quote = self.peek().filter(|c| matches!(c, '"' | '\''))?;
        self.at += 1;
        let mut text = String::new();
        loop {
            let c = self.peek()?;
            self.at += c.len_utf8();
            match c {
                '\\' => self.escape(&mut text)?,
                c if c == quote => return Some(text),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Option<()> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        match c {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            '"' | '\'' | '\\' | '/' => text.push(c),
            'x' => text.push(char::from(self.digits(2)? as u8)),
            'U' => {
                text.push(char::from_u32(self.digits(8)?).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            'u' => {
                let unit = self.digits(4)?;
                // The second half of a character counts only right behind the first.
                let pair = self
                    .rest()
                    .strip_prefix("\\u")
                    .and_then(|rest| u32::from_str_radix(rest.get(..4)?, 16).ok())
                    .filter(|low| {
                        (0xd800..0xdc00).contains(&unit) && (0xdc00..0xe000).contains(low)
                    });
                if pair.is_some() {
                    self.at += 6;
                }
                let code = pair.map_or(unit, |low| {
                    0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                });
                text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => return None,
        }
        Some(())
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let digits = self.rest().get(..count)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = u32::from_str_radix(digits, 16).ok()?;
        self.at += count;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_python_writes_is_read() {
        for (text, value) in [
            ("NaN", json!(null)),
            (
                "{\"year\": NaN, 'x': -inf}",
                json!({"year": null, "x": "-inf"}),
            ),
            ("('Heat', 1995,)", json!(["Heat", 1995])),
            (
                "[['Heat', 1995.0], ['Up', None]]",
                json!([["Heat", 1995.0], ["Up", null]]),
            ),
            (
                r#"["it's", 'say "hi"', 'it\'s']"#,
                json!(["it's", "say \"hi\"", "it's"]),
            ),
            (r#""Up \ud83d""#, json!("Up \u{fffd}")),
            (r#""\ud83d\ude00 \udc00 é""#, json!("\u{1f600} \u{fffd} é")),
            (r"'a\x41\U0001f600\n'", json!("aA\u{1f600}\n")),
            ("{}", json!({})),
            (" ( ) ", json!([])),
            ("u'x'", json!("x")),
            ("-12", json!(-12)),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        for text in [
            "",
            "[",
            "[1 2]",
            "{'a' 1}",
            "{'a': 1, 'a': 2}",
            "nothing",
            "'open",
            "1 2",
            "{1: 2}",
            "'\\u12'",
            "'\\ud83d\\u+c00'",
            "--1",
            "[,]",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }

    #[test]
    fn what_numpy_and_sets_print_is_read() {
        for (text, value) in [
            (r#"["Crime" "Drama"]"#, json!(["Crime", "Drama"])),
            (
                "['Crime' \"It's\"\n 'Drama']",
                json!(["Crime", "It's", "Drama"]),
            ),
            ("{'Action', 'Crime'}", json!(["Action", "Crime"])),
            ("{'Action': 1}", json!({"Action": 1})),
            ("set()", json!([])),
            (
                "[array(['Heat', 1995], dtype=object) array(['Up', 2009], dtype=object)]",
                json!([["Heat", 1995], ["Up", 2009]]),
            ),
            ("[array(['Up', 'A'])]", json!([["Up", "A"]])),
        ] {
            assert_eq!(parse_printed(text), Some(value), "{text}");
        }
        for (text, why) in [
            (
                "['a' 'b' ... 'y' 'z']",
                "from character 10 on, `... 'y' 'z']`",
            ),
            ("['it's ok']", "from character 6 on, `s ok']`"),
            ("['Horror', 'Sci", "may be cut"),
            ("[['Heat', 1995], ['Alien', 19", "may be cut"),
        ] {
            assert_eq!(parse_printed(text), None, "{text}");
            assert!(
                why_unreadable(text).contains(why),
                "{}",
                why_unreadable(text)
            );
        }
    }

    proptest! {
        #[test]
        fn json_is_read_as_its_own_parser_reads_it(text in ".*", number in any::<i64>()) {
            let value = json!({"a": [text, number, true, null], "": {}});
            prop_assert_eq!(parse(&value.to_string()), Some(value));
        }

        #[test]
        fn any_text_is_a_value_or_none(text in r#"([\[\](){}'",:\\ué0]|nan|\PC){0,30}"#) {
            let _ = (parse_printed(&text), why_unreadable(&text));
        }
    }
}
