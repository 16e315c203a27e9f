//! Who may ask, and from where.

use serde_json::json;

use crate::common::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const BODY: &[u8] = br#"{"prompt": [1], "max_tokens": 2}"#;

#[test]
fn a_hostile_page_gets_nowhere() {
    let root = tempfile::tempdir().unwrap();
    let config = config()
        .weights(root.path())
        .hosts(["films.example".into()])
        .origins(["https://shop.example".into()]);
    let serving = start_with(1, None, config);
    let send = |path: &str, method: &str, headers: &[(&str, &str)]| {
        ask(serving.address(), method, path, headers, BODY)
    };
    let status = |headers: &[(&str, &str)]| send("/v1/completions", "POST", headers).status;
    // Its name points here (DNS rebinding), or it sends a form.
    assert_eq!(status(&[JSON, ("host", "evil.example")]), 421);
    assert_eq!(status(&[JSON, ("host", "127.0.0.1.evil.example")]), 421);
    assert_eq!(status(&[JSON, ("origin", "http://evil.example")]), 403);
    assert_eq!(status(&[JSON, ("origin", "null")]), 403);
    assert_eq!(status(&[("content-type", "text/plain")]), 415);
    assert_eq!(
        status(&[("content-type", "application/x-www-form-urlencoded")]),
        415
    );
    let reload = send(
        "/admin/reload",
        "POST",
        &[JSON, ("origin", "http://evil.example")],
    );
    assert_eq!(reload.status, 403);
    // Who is meant is let through.
    assert_eq!(status(&[JSON, ("host", "films.example:8000")]), 200);
    assert_eq!(status(&[JSON, ("host", "localhost")]), 200);
    assert_eq!(
        status(&[("content-type", "Application/JSON; charset=utf-8")]),
        200
    );
    let own = format!("http://{}", serving.address());
    assert_eq!(status(&[JSON, ("origin", &own)]), 200);
    let listed = send(
        "/v1/completions",
        "POST",
        &[JSON, ("origin", "https://shop.example")],
    );
    assert_eq!(listed.status, 200);
    assert_eq!(
        listed.header("access-control-allow-origin"),
        Some("https://shop.example")
    );
    let before = send(
        "/v1/completions",
        "OPTIONS",
        &[("origin", "https://shop.example")],
    );
    assert_eq!(before.status, 204);
    assert!(
        before
            .header("access-control-allow-headers")
            .unwrap()
            .contains("authorization")
    );
    let before = send(
        "/v1/completions",
        "OPTIONS",
        &[("origin", "http://evil.example")],
    );
    assert!(before.status == 403 && before.header("access-control-allow-origin").is_none());
    serving.stop().unwrap();
}

#[test]
fn keys_are_asked_for() {
    let serving = start_with(
        1,
        Some(catalog()),
        config().keys(["one".into(), "two".into()]),
    );
    let with = |path: &str, key: &str| {
        let key = format!("Bearer {key}");
        ask(
            serving.address(),
            "GET",
            path,
            &[("authorization", &key)],
            b"",
        )
        .status
    };
    for path in ["/v1/models", "/v1/items", "/metrics"] {
        let answer = get(&serving, path);
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, Some("Bearer"))
        );
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
        assert_eq!(
            ["one", "two", ADMIN, "three", "on", "one,two", ""].map(|key| with(path, key)),
            [200, 200, 200, 401, 401, 401, 401]
        );
    }
    // What needs none.
    for path in ["/", "/app.js", "/style.css", "/health", "/ready"] {
        assert_eq!(get(&serving, path).status, 200, "{path}");
    }
    // Clients do not operate the server.
    let reload = |key: &str| {
        let key = format!("Bearer {key}");
        let headers = [JSON, ("authorization", key.as_str())];
        ask(serving.address(), "POST", "/admin/reload", &headers, b"{}").status
    };
    // The operator is let through; nothing is asked for.
    assert_eq!([reload("one"), reload(ADMIN)], [401, 400]);
    serving.stop().unwrap();
    let closed = start_with(1, None, convrec_serve::ServerConfig::new("policy"));
    let answer = post(&closed, "/admin/reload", &json!({}));
    assert!(answer.status == 403 && answer.message().contains("a key for operators"));
}

#[test]
fn paths_and_methods_are_answered_as_http_has_it() {
    let serving = start(1, Some(catalog()));
    let send = |method: &str, path: &str| ask(serving.address(), method, path, &[], b"");
    let model = send("GET", "/v1/models/policy");
    assert_eq!(
        (model.status, model.json()["id"].as_str()),
        (200, Some("policy"))
    );
    let unknown = send("GET", "/v1/models/gpt");
    assert_eq!(
        (unknown.status, unknown.json()["error"]["code"].as_str()),
        (404, Some("model_not_found"))
    );
    let head = send("HEAD", "/health");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(send("OPTIONS", "/v1/models").status, 204);
    assert_eq!(send("GET", "/nothing").status, 404);
    let put = ask(serving.address(), "PUT", "/v1/completions", &[JSON], b"{}");
    assert_eq!(
        (put.status, put.json()["error"]["type"].as_str()),
        (405, Some("invalid_request_error"))
    );
    assert_eq!(get(&serving, "/ready").json()["version"], 1);
    // Names of requests come back; those that could break a log do not.
    let id = |given: &str| {
        let answer = ask(
            serving.address(),
            "GET",
            "/health",
            &[("x-request-id", given)],
            b"",
        );
        answer.header("x-request-id").unwrap().to_string()
    };
    assert_eq!(id("call-7"), "call-7");
    assert_ne!(id("a b\"c"), "a b\"c");
    serving.stop().unwrap();
}

#[test]
fn the_counters_count() {
    let serving = start(1, Some(catalog()));
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    for _ in 0..3 {
        assert_eq!(post(&serving, "/v1/chat/completions", &body).status, 200);
    }
    get(&serving, "/no/such/path");
    let text = get(&serving, "/metrics").body;
    for line in [
        "convrec_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 3",
        "convrec_requests_total{path=\"other\",status=\"404\"} 1",
        "convrec_lists_total 3",
        "convrec_queue 0",
        "convrec_version 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let tokens = text
        .lines()
        .find_map(|line| line.strip_prefix("convrec_tokens_total "));
    assert!(tokens.unwrap().parse::<u64>().unwrap() > 3 * 2);
    serving.stop().unwrap();
}

/// What a proxy and the server could read in two ways, and what is not read at all.
#[test]
fn headers_mean_one_thing() {
    let serving = start(1, Some(catalog()));
    let address = serving.address();
    let status = |headers: &str| {
        let length = BODY.len();
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let answer = raw(
            address,
            &[head.as_bytes(), BODY].concat(),
            std::time::Duration::from_secs(30),
        );
        let status = answer.split(' ').nth(1).unwrap_or_default().to_string();
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_string());
        (status, body.unwrap_or_default())
    };
    let well = format!("Host: {address}\r\nContent-Type: application/json\r\n");
    assert_eq!(status(&well).0, "200");
    for (more, code, part) in [
        ("Host: localhost\r\n", "400", "`Host`"),
        (
            "Content-Type: application/json\r\n",
            "400",
            "`Content-Type`",
        ),
        ("Content-Encoding: gzip\r\n", "415", "`Content-Encoding`"),
        (
            "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
            "400",
            "`Authorization`",
        ),
        (
            &format!("Origin: http://{address}\r\nOrigin: http://evil.example\r\n"),
            "400",
            "`Origin`",
        ),
        (
            &format!("X-Long: {}\r\n", "y".repeat(33_000)),
            "431",
            "expected at most 32768",
        ),
    ] {
        let (status, body) = status(&format!("{well}{more}"));
        assert!(status == code && body.contains(part), "{status}: {body}");
    }
    assert_eq!(
        status(&format!("{well}Content-Encoding: identity\r\n")).0,
        "200"
    );
    let long = format!("{well}X-Long: {}\r\n", "y".repeat(30_000));
    assert_eq!(status(&long).0, "200");
    let unreadable = get(&serving, "/v1/models/%ff");
    assert_eq!(
        (
            unreadable.status,
            unreadable.json()["error"]["type"].as_str()
        ),
        (400, Some("invalid_request_error"))
    );
    serving.stop().unwrap();
}
