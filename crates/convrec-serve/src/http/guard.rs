//! Who may ask, and from where.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use convrec_core::hash::sha256;
use serde_json::json;
use subtle::ConstantTimeEq;
use tower_http::request_id::{MakeRequestId, MakeRequestUuid};

use crate::refusal::Refusal;
use crate::state::State;

/// Whose request it is, for turns in the queue: those of a key, or of an address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) u64);

/// The name of a request in the log and in the answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Characters of a name that a client gives its request.
const LONGEST_ID: usize = 64;

/// Lets a request through to its endpoint, or refuses it; counts and logs it either way.
pub(crate) async fn guard(
    Shared(state): Shared<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", MatchedPath::as_str).to_string();
    let method = request.method().clone();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match admit(&state, &request) {
        Err(refusal) => refusal.into_response(),
        Ok(_) if method == Method::OPTIONS => allowed(),
        Ok(client) => {
            request.extensions_mut().insert(client);
            next.run(request).await
        }
    };
    let status = response.status().as_u16();
    state.metrics.answered(&route, status, started.elapsed());
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    if let Some(origin) = origin.filter(|origin| is_listed(&state, origin)) {
        share(headers, origin);
    }
    if let Some(log) = &state.log {
        let line = json!({
            "time": seconds(), "request": id, "method": method.as_str(), "path": route,
            "status": status, "seconds": started.elapsed().as_secs_f64(),
        });
        log.line(line.to_string());
    }
    response
}

fn seconds() -> f64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}

/// The client's own name where it is harmless.
fn request_id(request: &Request) -> String {
    let is_plain = |id: &&str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !id.is_empty() && id.len() <= LONGEST_ID && id.chars().all(plain)
    };
    let given = request.headers().get(REQUEST_ID);
    let given = given.and_then(|id| id.to_str().ok()).filter(is_plain);
    let made = || MakeRequestUuid.make_request_id(request);
    match given {
        Some(id) => id.to_string(),
        None => made()
            .and_then(|id| id.header_value().to_str().ok().map(str::to_string))
            .unwrap_or_default(),
    }
}

fn admit(state: &State, request: &Request) -> Result<Client, Refusal> {
    check_headers(state, request)?;
    check_host(state, request)?;
    check_origin(state, request)?;
    if request.method() == Method::OPTIONS {
        return Ok(Client(0));
    }
    let client = check_key(state, request)?;
    if request.method() == Method::POST {
        check_content_type(request.headers())?;
        check_encoding(request.headers())?;
    }
    Ok(client)
}

/// Headers that are there twice may mean one thing to a proxy and another one here.
fn check_headers(state: &State, request: &Request) -> Result<(), Refusal> {
    let (headers, most) = (request.headers(), state.config.limits.header_bytes);
    let uri = request.uri().path_and_query();
    let uri = uri.map_or(0, |uri| uri.as_str().len());
    // A colon, a space and the end of a line go along with each.
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let found = uri + headers.iter().map(field).sum::<usize>();
    if found > most {
        let message = format!("{found} bytes of headers; expected at most {most}");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Refusal::new(status, message));
    }
    let single = [
        (header::HOST, "Host"),
        (header::ORIGIN, "Origin"),
        (header::AUTHORIZATION, "Authorization"),
        (header::CONTENT_TYPE, "Content-Type"),
    ];
    match single
        .iter()
        .find(|(name, _)| headers.get_all(name).iter().count() > 1)
    {
        Some((_, name)) => Err(Refusal::bad(format!(
            "the header `{name}` is there more than once; expected one"
        ))),
        None => Ok(()),
    }
}

/// A name that the server is not known by means that a hostile page has it point here.
fn check_host(state: &State, request: &Request) -> Result<(), Refusal> {
    let host = request.headers().get(header::HOST);
    let host = match (host, request.uri().host()) {
        (Some(host), _) => host.to_str().unwrap_or_default(),
        (None, Some(host)) => host,
        (None, None) if request.version() <= Version::HTTP_10 => return Ok(()),
        (None, None) => return Err(Refusal::bad("expected a header `Host`")),
    };
    let name = without_port(host);
    let is_address = name
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok();
    let is_known = |known: &String| known.eq_ignore_ascii_case(name);
    if is_address
        || name.eq_ignore_ascii_case("localhost")
        || state.config.hosts.iter().any(is_known)
    {
        return Ok(());
    }
    let message = "the server is not known by this name; expected an address, `localhost` or one of its hosts";
    Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, message))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

/// A page of another origin may ask only where it is listed.
fn check_origin(state: &State, request: &Request) -> Result<(), Refusal> {
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return Ok(());
    };
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let own = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    let is_own =
        own.is_some_and(|(_, place)| host.is_some_and(|host| place.eq_ignore_ascii_case(host)));
    match is_own || is_listed(state, origin) {
        true => Ok(()),
        false => {
            let message =
                "pages of this origin may not ask; expected the server's own or one that it lists";
            Err(Refusal::new(StatusCode::FORBIDDEN, message))
        }
    }
}

fn is_listed(state: &State, origin: &HeaderValue) -> bool {
    let listed = |listed: &String| origin.as_bytes().eq_ignore_ascii_case(listed.as_bytes());
    state.config.origins.iter().any(listed)
}

fn allowed() -> Response {
    let methods = [(header::ALLOW, "GET, HEAD, POST, OPTIONS")];
    (StatusCode::NO_CONTENT, methods).into_response()
}

/// Lets a page of a listed origin read the answer.
fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, HEAD, POST, OPTIONS",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, x-request-id",
        ),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "x-request-id, retry-after",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Paths that need no key: the page, and what a watcher asks.
const OPEN: [&str; 6] = [
    "/",
    "/app.js",
    "/style.css",
    "/favicon.svg",
    "/health",
    "/ready",
];

fn check_key(state: &State, request: &Request) -> Result<Client, Refusal> {
    let (path, config) = (request.uri().path(), &state.config);
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
    let is_operator = bearer.is_some_and(|key| is_one_of(key, &config.admin_keys));
    if path.starts_with("/admin/") {
        return match (is_operator, config.admin_keys.is_empty()) {
            (true, _) => Ok(client(request, bearer)),
            (false, true) => Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "nothing is reloaded here; expected a server with a key for operators (CONVREC_ADMIN_KEY)",
            )),
            (false, false) => Err(unauthorized()),
        };
    }
    let is_open = config.keys.is_empty() || OPEN.contains(&path);
    let knows = bearer.is_some_and(|key| is_one_of(key, &config.keys));
    match is_open || is_operator || knows {
        true => Ok(client(request, bearer)),
        false => Err(unauthorized()),
    }
}

fn unauthorized() -> Refusal {
    let message = "expected a header `Authorization: Bearer` with a key of this server";
    Refusal::new(StatusCode::UNAUTHORIZED, message).coded("invalid_api_key")
}

/// Compares hashes, all of them and to the end: the time tells nothing of a key.
fn is_one_of(key: &str, keys: &[String]) -> bool {
    let asked = sha256(key.as_bytes());
    let same = |known: &String| sha256(known.as_bytes()).as_bytes().ct_eq(asked.as_bytes());
    let found = keys.iter().map(same);
    found
        .fold(subtle::Choice::from(0), |any, one| any | one)
        .into()
}

fn client(request: &Request, bearer: Option<&str>) -> Client {
    let mut hasher = DefaultHasher::new();
    match bearer {
        Some(key) => key.hash(&mut hasher),
        None => {
            let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
            from.map(|from| from.0.ip()).hash(&mut hasher);
        }
    }
    Client(hasher.finish())
}

/// A form of a hostile page can send other types without asking first.
fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    match kind {
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => {
            let message = "expected a header `Content-Type: application/json`";
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

/// A small body may unpack to a very large one, so none is unpacked.
fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut all = headers.get_all(header::CONTENT_ENCODING).iter();
    match all.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        true => Ok(()),
        false => {
            let message = "the header `Content-Encoding` says that the body is packed; expected a \
                           body as it is";
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_no_part_of_a_name() {
        for (host, name) in [
            ("localhost:8000", "localhost"),
            ("films.example", "films.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }

    #[test]
    fn keys_are_compared_whole() {
        let keys = ["one".to_string(), "two".to_string()];
        assert!(is_one_of("two", &keys) && !is_one_of("tw", &keys) && !is_one_of("", &[]));
    }
}
