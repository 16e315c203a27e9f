//! The key of an account, and how it is kept out of texts.

use std::collections::HashSet;
use std::fmt;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use convrec_config::ConfigError;

use crate::settings::wrong;

/// The length from which on a key, or a part of it, is hidden. Shorter keys are placeholders for
/// servers that ask for none, and may be ordinary words.
const SECRET_FROM: usize = 8;

/// The text in place of a key.
const HIDDEN: &str = "[key]";

/// The key of an account. It is written nowhere but into the header of a request.
pub(crate) struct ApiKey {
    key: String,
    /// All parts of [`SECRET_FROM`] bytes of the forms in which a server may repeat the key, in
    /// small letters.
    parts: HashSet<[u8; SECRET_FROM]>,
}

impl ApiKey {
    fn new(key: &str) -> Self {
        let bytes = key.as_bytes();
        let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
        let mut forms = vec![bytes.to_vec(), reversed];
        // The encoding of a part depends on where the part begins, modulo 3.
        for start in 0..3.min(bytes.len()) {
            forms.push(BASE64_STANDARD_NO_PAD.encode(&bytes[start..]).into());
            forms.push(BASE64_URL_SAFE_NO_PAD.encode(&bytes[start..]).into());
        }
        forms.push(
            bytes
                .iter()
                .flat_map(|byte| format!("{byte:02x}").into_bytes())
                .collect(),
        );
        let parts = |form: &Vec<u8>| {
            let small = form.to_ascii_lowercase();
            small
                .windows(SECRET_FROM)
                .filter_map(|part| part.try_into().ok())
                .collect::<Vec<_>>()
        };
        Self {
            key: key.into(),
            parts: forms.iter().flat_map(parts).collect(),
        }
    }

    /// Reads the variable, without white space around its value. The result is `None` where it is
    /// unset or blank.
    pub fn from_env(variable: &str) -> Result<Option<Self>, ConfigError> {
        if variable.is_empty() {
            return Ok(None);
        }
        match std::env::var(variable) {
            Ok(key) if key.trim().is_empty() => Ok(None),
            Ok(key) if key.trim().bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Some(Self::new(key.trim())))
            }
            Err(std::env::VarError::NotPresent) => Ok(None),
            _ => Err(wrong(
                "server.api_key_env",
                format!(
                    "{variable} holds characters that a key cannot have; expected visible ASCII"
                ),
            )),
        }
    }

    /// The value of the header `Authorization`.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.key)
    }

    /// The text without the key and without parts of at least [`SECRET_FROM`] characters, in any
    /// case, reversed, in base64 or as hexadecimal digits.
    pub fn hide_in(&self, text: String) -> String {
        // A short key has no parts.
        let small = text.to_ascii_lowercase().into_bytes();
        let mut hidden = vec![false; small.len()];
        for (start, part) in small.windows(SECRET_FROM).enumerate() {
            if self.parts.contains(part) {
                hidden[start..start + SECRET_FROM].fill(true);
            }
        }
        if !hidden.contains(&true) {
            return text;
        }
        // Keys are ASCII, so a hidden part begins and ends at characters.
        let mut shown = String::with_capacity(text.len());
        for (place, character) in text.char_indices() {
            match hidden[place] {
                false => shown.push(character),
                true if place == 0 || !hidden[place - 1] => shown.push_str(HIDDEN),
                true => {}
            }
        }
        shown
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn key(text: &str) -> ApiKey {
        ApiKey::new(text)
    }

    #[test]
    fn a_key_shows_itself_nowhere() {
        let secret = "sk-Secret-0123-abcd";
        let hidden = |text: &str| key(secret).hide_in(text.into());
        assert_eq!(format!("{:?}", key(secret)), "ApiKey(..)");
        assert_eq!(hidden("bad key sk-Secret-0123-abcd!"), "bad key [key]!");
        assert_eq!(hidden("é SK-SECRET-0123-ABCD é"), "é [key] é");
        assert_eq!(hidden("it begins with sk-Secret-"), "it begins with [key]");
        assert_eq!(hidden("and ends with 123-abcd"), "and ends with [key]");
        let reversed: String = secret.chars().rev().collect();
        assert_eq!(hidden(&format!("<{reversed}>")), "<[key]>");
        for before in ["", "x", "xy", "Bearer "] {
            let base64 = BASE64_STANDARD_NO_PAD.encode(format!("{before}{secret}"));
            let shown = hidden(&base64);
            assert!(shown.contains("[key]") && shown.len() < 20, "{shown}");
        }
        assert_eq!(hidden("0x736b2d5365637265742d"), "0x[key]");
        assert_eq!(hidden("the secret of 2012"), "the secret of 2012");
        assert_eq!(key("ollama").hide_in("an ollama".into()), "an ollama");
        assert!(ApiKey::from_env("NO_SUCH_VARIABLE_0123").unwrap().is_none());
        assert!(ApiKey::from_env("").unwrap().is_none());
    }
}
