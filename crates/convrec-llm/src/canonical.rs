use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The key of a request in the ledger: the SHA-256 of its canonical JSON.
///
/// Each field of the body counts: model, messages, sampling settings, extra fields. Address and API
/// key do not count, so that a server may move. Two servers that call different models by one name
/// need a ledger each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey([u8; 32]);

impl RequestKey {
    /// The key of a body, whatever the order of its fields.
    pub fn of(body: &Value) -> Self {
        Self(Sha256::digest(canonical(body)).into())
    }
}

/// Writes 64 hexadecimal digits.
impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestKey({self})")
    }
}

impl FromStr for RequestKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digit = |at: usize| (text.as_bytes()[at] as char).to_digit(16);
        let byte = |at: usize| Some((digit(at)? << 4 | digit(at + 1)?) as u8);
        let bytes = (text.len() == 64).then(|| {
            (0..32)
                .map(|index| byte(2 * index))
                .collect::<Option<Vec<u8>>>()
        });
        let bytes = bytes
            .flatten()
            .ok_or("expected the 64 hexadecimal digits of a request")?;
        Ok(Self(bytes.try_into().expect("32 bytes were read")))
    }
}

/// The JSON without spaces and with sorted fields: equal requests have equal bytes.
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            separated(b"{}", fields, out, |(name, value), out| {
                scalar(&Value::from(name.as_str()), out);
                out.push(b':');
                write(value, out);
            });
        }
        Value::Array(values) => separated(b"[]", values, out, write),
        value => scalar(value, out),
    }
}

fn separated<T>(
    brackets: &[u8; 2],
    parts: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    out.push(brackets[0]);
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(part, out);
    }
    out.push(brackets[1]);
}

fn scalar(value: &Value, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("memory takes what is written, and a scalar is JSON");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_sorted_at_every_depth() {
        let value: Value =
            serde_json::from_str(r#"{"b": [1, {"z": null, "a": "\n\""}], "a": 0.5}"#).unwrap();
        assert_eq!(
            canonical(&value),
            br#"{"a":0.5,"b":[1,{"a":"\n\"","z":null}]}"#
        );
    }

    #[test]
    fn a_key_is_its_text() {
        let key = RequestKey::of(&serde_json::json!({}));
        // The SHA-256 of "{}".
        assert_eq!(
            key.to_string(),
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(key.to_string().parse(), Ok(key));
        for bad in ["", "44", &"g".repeat(64), &"é".repeat(32)] {
            assert!(bad.parse::<RequestKey>().is_err());
        }
    }
}
