use convrec_config::ConfigError;
use serde::{Deserialize, Serialize};

/// An error about a field. `problem` says what was found, and behind "; expected " what is expected.
pub(crate) fn wrong(field: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    let problem = problem.into();
    let (found, expected) = problem
        .split_once("; expected ")
        .unwrap_or((&problem, "another"));
    ConfigError {
        found: found.into(),
        ..ConfigError::new(field, "", expected)
    }
}

/// The first rule of `(field, holds, found, expected)` that does not hold.
pub(crate) fn first(
    section: &str,
    rules: &[(&str, bool, String, &str)],
) -> Result<(), ConfigError> {
    match rules.iter().find(|(_, holds, ..)| !holds) {
        None => Ok(()),
        Some((field, _, found, expected)) => Err(ConfigError::new(
            format!("{section}.{field}"),
            found,
            *expected,
        )),
    }
}

/// Where the server is, how fast it is asked, how long it is waited for, and what may be spent.
///
/// Fields that are left out have their defaults; only `base_url` has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// The address up to the endpoint's name, as in `https://api.openai.com/v1` or `http://localhost:11434/v1`.
    pub base_url: String,
    /// The environment variable that holds the key. An `https` server needs one; `""` says that
    /// the server asks for no key. `OPENAI_API_KEY`.
    pub api_key_env: String,
    /// Shows in errors what a server says of a failure, although it may repeat a part of the key in
    /// a form that is not recognised. What a server says is always shown where no key is sent.
    /// False.
    pub show_replies: bool,
    /// Requests under way at once. 8.
    pub concurrency: usize,
    /// Requests sent in a minute, a tenth of them at once; retries count. No limit.
    pub requests_per_minute: Option<u32>,
    /// Tokens asked for in a minute, counted as estimated before sending. No limit.
    pub tokens_per_minute: Option<u32>,
    /// Seconds until a connection stands. 10.
    pub connect_timeout: f64,
    /// Seconds until an answer is there whole. 120.
    pub timeout: f64,
    /// Longer answers are refused. 8 MiB, at most 32 MiB.
    pub max_answer_bytes: u64,
    /// How often a request is tried again after what may pass: lost connections, 408, 409, 429,
    /// 5xx, unusable answers. 6.
    pub max_retries: usize,
    /// Seconds before the first retry; each later one waits twice as long, and up to as much again
    /// by chance. 1.
    pub first_delay: f64,
    /// Seconds that a delay is never longer than, before chance. 60.
    pub max_delay: f64,
    /// Where the server asks for more seconds (`Retry-After`) than this, only these are waited.
    /// 300.
    pub max_retry_after: f64,
    /// Requests that fail alike, one after the other, before nothing more is asked. Only what says
    /// that the server answers nobody counts: a key, an address or a quota that is refused, a
    /// redirect, a connection that fails, a server that is down. Faults that it finds with one
    /// request (400, 413, 422) and unusable answers do not count. 5.
    pub give_up_after: usize,
    /// What may be spent. No limits.
    pub budget: Budget,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            base_url: String::new(),
            api_key_env: "OPENAI_API_KEY".into(),
            show_replies: false,
            concurrency: 8,
            requests_per_minute: None,
            tokens_per_minute: None,
            connect_timeout: 10.0,
            timeout: 120.0,
            max_answer_bytes: 8 << 20,
            max_retries: 6,
            first_delay: 1.0,
            max_delay: 60.0,
            max_retry_after: 300.0,
            give_up_after: 5,
            budget: Budget::default(),
        }
    }
}

/// The most that `max_answer_bytes` may be: a line of a ledger can hold such an answer.
const LARGEST_ANSWER: u64 = 32 << 20;

impl ServerSettings {
    /// Whether a key is there where one is needed.
    pub(crate) fn check_key(&self, set: bool) -> Result<(), ConfigError> {
        let name = &self.api_key_env;
        if set || name.is_empty() || !self.base_url.starts_with("https://") {
            return Ok(());
        }
        Err(wrong(
            "server.api_key_env",
            format!(
                "the environment variable {name} is not set; expected the key for {}. Set it, or \
                 write `api_key_env = \"\"` for a server that asks for no key",
                self.base_url
            ),
        ))
    }

    /// Numbers are above 0 (`max_retries` may be 0) and seconds at most a day; the address is one.
    ///
    /// # Errors
    /// The field that is wrong, and what was found and expected.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_address(&self.base_url).map_err(|problem| wrong("server.base_url", problem))?;
        let seconds = |name, value: f64| {
            (
                name,
                value > 0.0 && value <= 86_400.0,
                value.to_string(),
                "seconds above 0, at most 86400",
            )
        };
        let number =
            |name, holds, found: &dyn ToString| (name, holds, found.to_string(), "at least 1");
        let limit =
            |name, value: Option<u32>| number(name, value != Some(0), &value.unwrap_or_default());
        let expected =
            "the name of an environment variable (capital letters, digits and `_`), or nothing";
        // Keys have small letters or dashes: so a key that was put here is told from a name.
        let in_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let name = self.api_key_env.bytes().all(in_name);
        first(
            "server",
            &[
                // Not shown, for it may be a key.
                ("api_key_env", name, "no such name".into(), expected),
                number("concurrency", self.concurrency > 0, &self.concurrency),
                limit("requests_per_minute", self.requests_per_minute),
                limit("tokens_per_minute", self.tokens_per_minute),
                seconds("connect_timeout", self.connect_timeout),
                seconds("timeout", self.timeout),
                (
                    "max_answer_bytes",
                    (1..=LARGEST_ANSWER).contains(&self.max_answer_bytes),
                    self.max_answer_bytes.to_string(),
                    "at least 1, at most 33554432 (32 MiB)",
                ),
                seconds("first_delay", self.first_delay),
                seconds("max_delay", self.max_delay),
                seconds("max_retry_after", self.max_retry_after),
                number("give_up_after", self.give_up_after > 0, &self.give_up_after),
                limit(
                    "budget.max_requests",
                    self.budget.max_requests.map(|n| n.min(1) as u32),
                ),
                limit(
                    "budget.max_tokens",
                    self.budget.max_tokens.map(|n| n.min(1) as u32),
                ),
            ],
        )?;
        match self.budget.max_cost {
            Some(cost) if !(cost > 0.0 && cost.is_finite()) => Err(wrong(
                "server.budget.max_cost",
                format!("{cost}; expected a number above 0"),
            )),
            _ => Ok(()),
        }
    }
}

fn check_address(address: &str) -> Result<(), String> {
    let rest = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    let Some(rest) = rest.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        return Err(format!(
            "`{address}`; expected an address such as https://api.openai.com/v1"
        ));
    };
    // The address stands in errors, so it is not shown where it may hold a secret.
    if rest
        .split('/')
        .next()
        .is_some_and(|host| host.contains('@'))
        || rest.contains(['?', '#'])
    {
        return Err("a user, a query or a fragment in an address; expected none: keys come from the environment".into());
    }
    if rest.contains(|c: char| !c.is_ascii_graphic()) {
        return Err(format!(
            "`{address}`; expected an address of visible ASCII characters"
        ));
    }
    Ok(())
}

/// What may be spent by one [`Server`](crate::Server), answers from the ledger not counted.
///
/// A request is counted by its estimate before it is sent and by the server's `usage` after. One
/// that might go beyond the budget is not sent, and neither is any after it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Requests sent, retries included.
    pub max_requests: Option<u64>,
    /// Tokens, sent and received.
    pub max_tokens: Option<u64>,
    /// Cost, in the currency of [`Price`](crate::Price), which then may not be 0.
    pub max_cost: Option<f64>,
}
