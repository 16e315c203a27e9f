//! Bodies of JSON, within their limits.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::config::Limits;
use crate::object::Object;
use crate::refusal::Refusal;

/// The body, as what the endpoint expects.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    limits: &Limits,
) -> Result<T, Refusal> {
    let most = limits.body_bytes;
    let too_large = || {
        let message = format!("expected a body of at most {most} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let reading = Limited::<Body>::new(request.into_body(), most).collect();
    let read = tokio::time::timeout(limits.body_time, reading).await;
    let Ok(read) = read else {
        let message = format!("the body was not there within {:?}", limits.body_time);
        return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message));
    };
    let bytes = match read {
        Ok(body) => body.to_bytes(),
        Err(e) if e.is::<LengthLimitError>() => return Err(too_large()),
        Err(e) => return Err(Refusal::bad(format!("the body ends early: {e}"))),
    };
    parse(&bytes)
}

/// # Errors
/// [`Refusal`] with the field that is wrong.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Refusal::bad("the body is empty; expected a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        let problem = in_words(&e.inner().to_string());
        // The path ends in `?` where the body breaks off.
        match path.trim_end_matches(['?', '.']) {
            "" => Refusal::bad(problem),
            field => Refusal::field(field, problem),
        }
    })?;
    json.end().map_err(|e| Refusal::bad(e.to_string()))?;
    Ok(value)
}

/// serde's message, without the names of Rust's types.
fn in_words(problem: &str) -> String {
    let types = [
        ("usize", "a whole number from 0 on"),
        ("u64", "a whole number from 0 on"),
        ("u32", "a whole number from 0 on"),
        ("i64", "a whole number"),
        ("f32", "a number"),
        ("f64", "a number"),
        ("a boolean", "true or false"),
        ("a sequence", "a list"),
    ];
    let mut problem = problem.replace("invalid type: sequence", "invalid type: list");
    for (name, words) in types {
        problem = problem.replace(&format!("expected {name}"), &format!("expected {words}"));
    }
    problem
}
