use std::fmt;

use crate::SettingsError;

/// Keys shorter than this are placeholders for servers that ask for none, and words that stand in
/// honest texts.
const SECRET_FROM: usize = 8;

/// The key of an account. It is written nowhere but into the header of a request.
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// What the variable holds, without white space around it; nothing where it is not set or
    /// blank.
    pub fn from_env(variable: &str) -> Result<Option<Self>, SettingsError> {
        let wrong = |problem: &str| {
            SettingsError::new("server.api_key_env", format!("{variable} {problem}"))
        };
        match std::env::var(variable) {
            Ok(key) if key.trim().is_empty() => Ok(None),
            Ok(key) if key.trim().bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Some(Self(key.trim().into())))
            }
            Err(std::env::VarError::NotPresent) => Ok(None),
            _ => Err(wrong(
                "holds characters that a key cannot have; expected visible ASCII",
            )),
        }
    }

    #[cfg(test)]
    pub fn new(key: &str) -> Self {
        Self(key.into())
    }

    /// The value of the header `Authorization`.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// The text without the key.
    pub fn hide_in(&self, text: String) -> String {
        if self.0.len() >= SECRET_FROM && text.contains(&self.0) {
            text.replace(&self.0, "[key]")
        } else {
            text
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_shows_itself_nowhere() {
        let key = ApiKey::new("sk-secret-0123");
        assert_eq!(format!("{key:?}"), "ApiKey(..)");
        assert_eq!(
            key.hide_in("bad key sk-secret-0123!".into()),
            "bad key [key]!"
        );
        assert_eq!(
            ApiKey::new("ollama").hide_in("an ollama".into()),
            "an ollama"
        );
        assert!(ApiKey::from_env("NO_SUCH_VARIABLE_0123").unwrap().is_none());
    }
}
