//! The parts of a `tokenizer.json`, and their effects on text.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest factor by which a normalizer may lengthen a text.
const MAX_GROWTH: f64 = 256.0;

/// The bytes that tokens stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Each symbol of a token is a byte, as in GPT-2.
    ByteLevel,
    /// A token is text with this mark for a space; `<0x0A>` is a byte. As in SentencePiece.
    SentencePiece(char),
}

impl Alphabet {
    /// The alphabet that a decoder reads. The error names what was found.
    pub(super) fn of(decoder: &Value) -> Result<Self, String> {
        let mut parts = vec![];
        leaves(decoder, &mut parts);
        let names: Vec<&str> = parts.iter().map(|part| name(part)).collect();
        let only = |known: &[&str]| names.iter().all(|name| known.contains(name));
        if names.contains(&"ByteLevel") && only(&["ByteLevel", "Fuse"]) {
            return Ok(Self::ByteLevel);
        }
        let known = ["Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"];
        let mark = parts.iter().find_map(|part| {
            let mark = match name(part) {
                "Metaspace" => &part["replacement"],
                "Replace" if part["content"] == " " => &part["pattern"]["String"],
                _ => return None,
            };
            let mut mark = mark.as_str()?.chars();
            mark.next().filter(|_| mark.next().is_none())
        });
        match mark {
            Some(mark) if only(&known) => Ok(Self::SentencePiece(mark)),
            _ => Err(format!(
                "the decoder is {}; expected `ByteLevel` (GPT-2, Llama 3, Qwen), or `Metaspace`, \
                 or `Replace` with `ByteFallback` (SentencePiece: Llama 2, Mistral)",
                listed(decoder)
            )),
        }
    }
}

/// A part as JSON, to look into.
pub(super) fn to_value<T: Serialize>(part: Option<&T>) -> Result<Value, String> {
    serde_json::to_value(part).map_err(|e| e.to_string())
}

/// A part from its JSON.
pub(super) fn from_value<T: DeserializeOwned>(value: Value) -> Result<Option<T>, String> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}

/// The names of a part and of the parts in it, for people.
pub(super) fn listed(part: &Value) -> String {
    let mut parts = vec![];
    leaves(part, &mut parts);
    match parts.is_empty() {
        true => "none".into(),
        false => parts
            .iter()
            .map(|part| format!("`{}`", name(part)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn name(part: &Value) -> &str {
    part["type"].as_str().unwrap_or("?")
}

/// The parts of a sequence, of sequences in it, and so on.
fn leaves<'a>(part: &'a Value, into: &mut Vec<&'a Value>) {
    let inner = ["normalizers", "pretokenizers", "decoders"]
        .iter()
        .find_map(|field| part[field].as_array());
    match inner {
        Some(inner) => inner.iter().for_each(|part| leaves(part, into)),
        None if part.is_null() => {}
        None => into.push(part),
    }
}

/// Removes the part that puts a space in front of a text. Returns whether there was one.
///
/// Text then begins with a space only where it has one. Inside a longer text the encoding is the
/// same in either case.
pub(super) fn remove_prefix(part: &mut Value) -> bool {
    for field in ["normalizers", "pretokenizers"] {
        if let Some(inner) = part.get_mut(field).and_then(Value::as_array_mut) {
            return inner
                .iter_mut()
                .filter_map(|part| remove_prefix(part).then_some(()))
                .count()
                > 0;
        }
    }
    match name(part) {
        "Prepend" if part["prepend"] == "▁" => {
            *part = serde_json::json!({"type": "Sequence", "normalizers": []});
            true
        }
        "Metaspace" if part["prepend_scheme"] != "never" => {
            part["prepend_scheme"] = "never".into();
            true
        }
        "ByteLevel" if part["add_prefix_space"] == true => {
            part["add_prefix_space"] = false.into();
            true
        }
        _ => false,
    }
}

/// Refuses normalizers that blow texts up.
pub(super) fn check_growth(normalizer: &Value) -> Result<(), String> {
    let mut parts = vec![];
    leaves(normalizer, &mut parts);
    let growth: f64 = parts.iter().map(|part| growth(part)).product();
    if growth <= MAX_GROWTH {
        return Ok(());
    }
    Err(format!(
        "its normalizer ({}) makes texts up to {growth:.0} times longer; expected at most \
         {MAX_GROWTH:.0} times",
        listed(normalizer)
    ))
}

/// The bytes that one byte of a text may become.
fn growth(part: &Value) -> f64 {
    let length = |value: &Value| value.as_str().map_or(0, str::len) as f64;
    match name(part) {
        // An empty pattern or an expression may match between all characters.
        "Replace" => match &part["pattern"]["String"] {
            Value::String(pattern) if !pattern.is_empty() => {
                (length(&part["content"]) / pattern.len() as f64).max(1.0)
            }
            _ => 1.0 + length(&part["content"]),
        },
        "Prepend" => 1.0 + length(&part["prepend"]),
        // Unicode's own bounds, in bytes.
        "NFD" | "NFC" => 3.0,
        "NFKC" | "NFKD" | "Nmt" | "BertNormalizer" => 11.0,
        "ByteLevel" => 2.0,
        "Lowercase" => 1.5,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn growth_multiplies() {
        let doubling = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let sequence = |n: usize| json!({"type": "Sequence", "normalizers": vec![&doubling; n]});
        assert!(check_growth(&sequence(8)).is_ok());
        let error = check_growth(&sequence(60)).unwrap_err();
        assert!(error.contains("`Replace`") && error.contains("expected at most 256"));
        let llama = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]});
        assert!(check_growth(&llama).is_ok() && check_growth(&Value::Null).is_ok());
    }

    #[test]
    fn prefixes_are_taken_away() {
        let mut part = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true},
        ]});
        assert!(remove_prefix(&mut part));
        assert!(!remove_prefix(&mut part));
        assert_eq!(part["pretokenizers"][1]["add_prefix_space"], false);
        let mut none = Value::Null;
        assert!(!remove_prefix(&mut none) && none.is_null());
    }
}
