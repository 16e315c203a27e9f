use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use ureq::http::{HeaderMap, StatusCode, header};

use crate::lenient::strict;

/// Characters of a server's text that an error shows.
const SHOWN: usize = 300;

/// The codes of failures that are shown whatever else is hidden.
const KNOWN_CODES: [&str; 11] = [
    "access_terminated",
    "billing_not_active",
    "content_filter",
    "context_length_exceeded",
    "insufficient_quota",
    "invalid_api_key",
    "invalid_request_error",
    "model_not_found",
    "rate_limit_exceeded",
    "unsupported_parameter",
    "unsupported_value",
];

/// The failure of one try.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The failure in our words, without a word of the server's.
    pub text: String,
    /// The server's message; empty where there is none.
    pub reply: String,
    /// The reason why the server answers nobody, in words that are the same for each request.
    /// `None` where another request may well be answered.
    pub kind: Option<String>,
    /// Whether another try may do better.
    pub passing: bool,
    /// The time for which the server asks to be left alone.
    pub after: Duration,
    /// Whether the answer may have been billed: it was on its way.
    pub billed: bool,
}

impl Problem {
    /// The connection failed, before or while an answer came.
    pub fn transport(error: &ureq::Error) -> Self {
        use ureq::{Error, Timeout};
        let unsent = matches!(
            error,
            Error::HostNotFound
                | Error::ConnectionFailed
                | Error::Timeout(Timeout::Connect | Timeout::Resolve)
        ) || matches!(error, Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused);
        let passing = !matches!(
            error,
            Error::Http(_) | Error::BadUri(_) | Error::InvalidProxyUrl
        );
        let of_server = !matches!(error, Error::BodyExceedsLimit(_));
        let text = match error {
            Error::BodyExceedsLimit(limit) => {
                format!("an answer of more than {limit} bytes (`max_answer_bytes`)")
            }
            Error::Timeout(Timeout::Global) => "no whole answer within `timeout`".into(),
            error => error.to_string(),
        };
        Self {
            text,
            reply: String::new(),
            kind: of_server.then(|| "connection".into()),
            passing,
            after: Duration::ZERO,
            billed: !unsent,
        }
    }

    /// The server answered with something else than success.
    pub fn status(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let body = Body::read(body);
        let passing = (matches!(status.as_u16(), 408 | 409 | 425 | 429) || status.is_server_error())
            // This failure does not pass within a run.
            && body.code.as_deref() != Some("insufficient_quota");
        let location = headers
            .get(header::LOCATION)
            .and_then(|to| to.to_str().ok())
            .filter(|_| status.is_redirection());
        let (text, reply) = match location {
            // A redirect that is followed might carry the key to someone else.
            Some(to) => (
                format!("status {status}: moved; set `base_url` to where the server is"),
                format!("moved to {to}"),
            ),
            None => {
                let known = |code: &String| KNOWN_CODES.contains(&code.as_str());
                let code = body.code.filter(known).map(|code| format!(" ({code})"));
                (
                    format!("status {status}{}", code.unwrap_or_default()),
                    body.message,
                )
            }
        };
        let kind = (!matches!(status.as_u16(), 400 | 413 | 422)).then(|| status.to_string());
        Self {
            text,
            reply,
            kind,
            passing,
            after: retry_after(headers, SystemTime::now()),
            billed: false,
        }
    }

    /// A success that holds no answer.
    pub fn unusable(Unusable { problem, chance }: Unusable, body: &[u8]) -> Self {
        let kind = (chance == Chance::Never).then(|| problem.clone());
        Self {
            text: problem,
            reply: Body::read(body).message,
            kind,
            passing: chance == Chance::AtOnce,
            after: Duration::ZERO,
            billed: true,
        }
    }
}

/// An answer that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub problem: String,
    pub chance: Chance,
}

/// The request that may get a better answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chance {
    /// The same request, sent again.
    AtOnce,
    /// Another request.
    Elsewhere,
    /// None: the server answers every request like this.
    Never,
}

/// A fault that another try may not have.
impl From<String> for Unusable {
    fn from(problem: String) -> Self {
        Self {
            problem,
            chance: Chance::AtOnce,
        }
    }
}

/// A server's words about a failure: its message, or the beginning of its body.
struct Body {
    message: String,
    code: Option<String>,
}

impl Body {
    fn read(bytes: &[u8]) -> Self {
        let json: Option<Value> = serde_json::from_slice(&strict(bytes)).ok();
        let error = json.as_ref().and_then(|json| json.get("error"));
        let field = |name: &str| {
            error
                .and_then(|error| error.get(name))
                .and_then(Value::as_str)
                .map(str::to_string)
        };
        let message =
            field("message").or_else(|| error.and_then(Value::as_str).map(str::to_string));
        // This is far more than is shown, as white space is removed and a key at the edge must be
        // whole to be found.
        let start = || String::from_utf8_lossy(&bytes[..bytes.len().min(16 << 10)]).into_owned();
        Self {
            message: message.unwrap_or_else(start),
            code: field("code"),
        }
    }
}

/// Reads JSON. The error tells the kind of fault, but no place, so that equal faults have equal
/// texts.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(&strict(bytes)).map_err(|e| match e.classify() {
        Category::Data => "JSON of another shape".into(),
        Category::Eof => "JSON that ends early".into(),
        _ if std::str::from_utf8(bytes).is_err() => "no JSON, as it is no UTF-8".into(),
        Category::Syntax | Category::Io => "no JSON".into(),
    })
}

/// One line of at most [`SHOWN`] characters.
pub(crate) fn shorten(text: &str) -> String {
    let clean = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty());
    let line = clean.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

/// The time of the header `Retry-After`: seconds or a date. It is 0 where it is neither or has
/// passed.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Duration {
    let Some(text) = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
    else {
        return Duration::ZERO;
    };
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return if seconds > 0.0 {
            Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
        } else {
            Duration::ZERO
        };
    }
    httpdate::parse_http_date(text)
        .ok()
        .and_then(|date| date.duration_since(now).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, text.parse().unwrap());
        // Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110.
        retry_after(
            &headers,
            SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777),
        )
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(after("2"), Duration::from_secs(2));
        assert_eq!(after(" 0.5"), Duration::from_millis(500));
        assert_eq!(
            after("Sun, 06 Nov 1994 08:50:37 GMT"),
            Duration::from_secs(60)
        );
        assert_eq!(after("1e400"), Duration::MAX);
        for nothing in ["Sun, 06 Nov 1994 08:48:37 GMT", "-1", "NaN", "soon", ""] {
            assert_eq!(after(nothing), Duration::ZERO, "{nothing}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let problem = |status: u16, body: &str| {
            Problem::status(
                StatusCode::from_u16(status).unwrap(),
                &HeaderMap::new(),
                body.as_bytes(),
            )
        };
        for status in [408, 409, 429, 500, 503, 529] {
            assert!(problem(status, "").passing, "{status}");
        }
        for status in [301, 400, 401, 403, 404, 413, 422] {
            assert!(!problem(status, "").passing, "{status}");
        }
        let out_of_money = problem(
            429,
            r#"{"error": {"message": "no money", "code": "insufficient_quota"}}"#,
        );
        assert!(!out_of_money.passing && out_of_money.reply == "no money");
        assert!(out_of_money.text.ends_with("(insufficient_quota)"));
        let plain = problem(400, r#"{"error": "plain", "code": "sk-1"}"#);
        assert_eq!(
            (plain.text.as_str(), plain.reply.as_str()),
            ("status 400 Bad Request", "plain")
        );
        assert!(problem(502, "<html>\n</html>").reply.contains("<html>"));
    }

    #[test]
    fn texts_are_one_short_line() {
        assert_eq!(shorten(" a\r\n\u{1b}[31m b\0"), "a [31m b");
        assert_eq!(shorten(&"é".repeat(1000)), "é".repeat(300) + "...");
    }
}
