use convrec_config::ConfigError;
use serde::{Deserialize, Serialize};

/// An error about a field. `problem` names the found value and, behind "; expected ", the expected
/// one.
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

/// The settings of a server: its address, rate limits, time limits, retries and budget.
///
/// Each field has a default but `base_url`. The last words of a field's text name the default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// The address up to the endpoint's name, as in `https://api.openai.com/v1` or
    /// `http://localhost:11434/v1`. It must be given.
    pub base_url: String,
    /// The environment variable that holds the key. An `https` server needs one. `""` says that the
    /// server asks for no key. Default: `OPENAI_API_KEY`.
    pub api_key_env: String,
    /// Whether errors show a server's words about a failure, although they may repeat a part of the
    /// key in a form that is not recognised. Where no key is sent, they always show it. Default:
    /// false.
    pub show_replies: bool,
    /// The number of requests under way at once. Default: 8.
    pub concurrency: usize,
    /// The number of requests sent in a minute, of which a tenth may go out at once. Retries count.
    /// Default: no limit.
    pub requests_per_minute: Option<u32>,
    /// The number of tokens asked for in a minute, as estimated before sending. Default: no limit.
    pub tokens_per_minute: Option<u32>,
    /// The seconds in which a connection must be made. Default: 10.
    pub connect_timeout: f64,
    /// The seconds in which the whole answer must arrive. Default: 120.
    pub timeout: f64,
    /// The largest answer in bytes. Larger ones are refused. At most 32 MiB. Default: 8 MiB.
    pub max_answer_bytes: u64,
    /// The number of retries after a failure that may pass: a lost connection, the statuses 408,
    /// 409, 429 and 5xx, an unusable answer. Default: 6.
    pub max_retries: usize,
    /// The seconds before the first retry. Each later one waits twice as long, and up to as much
    /// again by chance. Default: 1.
    pub first_delay: f64,
    /// The longest delay in seconds, before chance. Default: 60.
    pub max_delay: f64,
    /// The longest wait in seconds that a server may ask for by `Retry-After`. Default: 300.
    pub max_retry_after: f64,
    /// The number of equal failures in a row after which nothing more is asked. Only failures that
    /// concern everybody count: a refused key, address or quota, a redirect, a failed connection, a
    /// server that is down. Faults of one request (400, 413, 422) and unusable answers do not
    /// count. Default: 5.
    pub give_up_after: usize,
    /// The budget. Default: no limits.
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
    /// Checks that there is a key where one is needed.
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

    /// Checks that numbers are above 0 (`max_retries` may be 0), that seconds are at most a day,
    /// and that the address is one.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
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
        // Keys have small letters or dashes, so a key that was put here differs from a name.
        let in_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let name = self.api_key_env.bytes().all(in_name);
        first(
            "server",
            &[
                // The value is not shown, for it may be a key.
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
                format!("found {cost}; expected a number above 0"),
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
    // Errors name the address, so it is hidden where it may hold a secret.
    if rest
        .split('/')
        .next()
        .is_some_and(|host| host.contains('@'))
        || rest.contains(['?', '#'])
    {
        return Err(
            "a user, a query or a fragment in an address; expected none: keys come from \
                    the environment"
                .into(),
        );
    }
    if rest.contains(|c: char| !c.is_ascii_graphic()) {
        return Err(format!(
            "`{address}`; expected an address of visible ASCII characters"
        ));
    }
    Ok(())
}

/// The most that one [`Server`](crate::Server) may spend. Answers from the ledger do not count.
///
/// A request counts by its estimate before it is sent, and by the server's `usage` after. A request
/// that might go beyond the budget is not sent, and neither is any after it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// The number of requests sent, retries included.
    pub max_requests: Option<u64>,
    /// The number of tokens, sent and received.
    pub max_tokens: Option<u64>,
    /// The cost in the currency of [`Price`](crate::Price), which then may not be 0.
    pub max_cost: Option<f64>,
}
