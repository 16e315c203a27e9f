//! Bodies of JSON, within their limits.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::config::Limits;
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
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        match e.path().to_string().as_str() {
            "." => Refusal::bad(e.inner().to_string()),
            field => Refusal::field(field, e.inner()),
        }
    })?;
    json.end().map_err(|e| Refusal::bad(e.to_string()))?;
    Ok(value)
}
