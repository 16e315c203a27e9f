//! Budgets, pace, stops, failures that do not pass, and the key.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Reply, TestServer, ask, chat_settings, echoed, fails, model, new_ledger, quick, request,
    requests,
};
use convrec_llm::{Budget, ChatSettings, HttpChat, Price, Server, ServerSettings};

/// Asks 50 prompts within a budget. Returns the number of answers, the error of the others, and the
/// model.
fn within(budget: Budget, price: Price, server: &TestServer) -> (usize, String, HttpChat) {
    let (_folder, ledger) = new_ledger();
    let settings = ServerSettings {
        budget,
        ..quick(server)
    };
    let http = Arc::new(Server::new(settings, Arc::default()).unwrap());
    let model = HttpChat::new(
        ChatSettings {
            price,
            ..chat_settings()
        },
        http,
        ledger.clone(),
    )
    .unwrap();
    let answers = ask(&model, &requests(50));
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    let error = answers
        .into_iter()
        .find_map(Result::err)
        .unwrap()
        .to_string();
    // The answered requests are answered again, at no cost.
    let sent = server.requests();
    let again = ask(&model, &requests(50))
        .iter()
        .filter(|answer| answer.is_ok())
        .count();
    assert_eq!(
        (again, server.requests(), ledger.len()),
        (answered, sent, answered)
    );
    (answered, error, model)
}

#[test]
fn no_budget_is_exceeded() {
    let server = TestServer::start(echoed);
    let budget = Budget {
        max_requests: Some(20),
        ..Budget::default()
    };
    let (answered, error, _) = within(budget, Price::default(), &server);
    assert_eq!((answered, server.requests()), (20, 20));
    assert!(
        error.contains("max_requests = 20") && error.contains("for the 30 requests that are left"),
        "{error}"
    );
    assert!(error.contains("ledger.jsonl cost nothing"), "{error}");

    // Each takes 15 tokens and might have taken over 100. In the end the rest of the budget might
    // be too small.
    let server = TestServer::start(echoed);
    let (answered, error, model) = within(
        Budget {
            max_tokens: Some(400),
            ..Budget::default()
        },
        Price::default(),
        &server,
    );
    let spent = model.usage().tokens.total();
    assert_eq!((spent, answered), (15 * answered as u64, server.requests()));
    assert!((250..=400).contains(&spent), "{spent}");
    assert!(error.contains("max_tokens = 400"), "{error}");

    let server = TestServer::start(echoed);
    let price = Price {
        input: 1000.0,
        output: 2000.0,
    };
    let (answered, error, model) = within(
        Budget {
            max_cost: Some(0.5),
            ..Budget::default()
        },
        price,
        &server,
    );
    // 10 and 5 tokens cost 0.02; at most, the answer's 64 tokens alone cost 0.128.
    let cost = model.usage().cost;
    assert!(
        (cost - 0.02 * answered as f64).abs() < 1e-9 && cost > 0.3 && cost <= 0.5,
        "{cost}"
    );
    assert!(
        error.contains("max_cost = 0.5") && error.contains("and a cost of"),
        "{error}"
    );
}

#[test]
fn what_may_have_been_billed_counts() {
    let server = TestServer::start(|seen| {
        if seen.before == 0 {
            Reply::Cut("x".repeat(100))
        } else {
            echoed(seen)
        }
    });
    let (_folder, ledger) = new_ledger();
    let model = model(quick(&server), &ledger);
    ask(&model, &requests(1))[0].as_ref().unwrap();
    let tokens = model.usage().tokens;
    assert!(
        tokens.output == 64 + 5 && tokens.input > 10 + 20,
        "{tokens:?}"
    );
    // A status is an answer that costs nothing.
    let server = TestServer::start(|seen| {
        if seen.before == 0 {
            Reply::status(500)
        } else {
            echoed(seen)
        }
    });
    let (_folder, ledger) = new_ledger();
    let model = common::model(quick(&server), &ledger);
    ask(&model, &requests(1))[0].as_ref().unwrap();
    assert_eq!(model.usage().tokens.total(), 15);
}

#[test]
fn without_counts_of_the_server_tokens_are_estimated() {
    let server = TestServer::start(|_| {
        Reply::json(serde_json::json!({ "choices": [{ "message": { "content": "123456" } }] }))
    });
    let (_folder, ledger) = new_ledger();
    let model = model(quick(&server), &ledger);
    ask(&model, &requests(1))[0].as_ref().unwrap();
    let tokens = model.usage().tokens;
    assert_eq!(tokens.output, 2);
    assert!((20..60).contains(&tokens.input), "{tokens:?}");
}

#[test]
fn failures_that_do_not_pass_end_the_run_early() {
    for status in [401, 403, 404, 302] {
        let server = TestServer::start(move |_| Reply::status(status));
        let (_folder, ledger) = new_ledger();
        let model = model(
            ServerSettings {
                concurrency: 4,
                ..quick(&server)
            },
            &ledger,
        );
        let answers = ask(&model, &requests(10_000));
        assert!(
            (5..5 + 4).contains(&server.requests()),
            "{} requests",
            server.requests()
        );
        let last = answers.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(
            last.contains("5 requests in a row failed alike") && last.contains(&status.to_string()),
            "{last}"
        );
        assert_eq!(model.usage().retries, 0);
    }
    let server = TestServer::start(|_| Reply::status(401));
    let (_folder, ledger) = new_ledger();
    let error = fails(&model(quick(&server), &ledger), "hello");
    assert!(
        error.contains("no key was sent, as CONVREC_TEST_NO_KEY is not set"),
        "{error}"
    );
    // A server without TLS.
    let base_url = server.base_url.replace("http:", "https:");
    let error = fails(
        &model(
            ServerSettings {
                base_url: base_url.clone(),
                api_key_env: String::new(),
                ..quick(&server)
            },
            &ledger,
        ),
        "hello",
    );
    assert!(error.contains("no answer in 7 tries"), "{error}");
    // One that needs a key is not asked without one.
    let before = server.requests();
    let without_key = ServerSettings {
        base_url,
        ..quick(&server)
    };
    let error = Server::new(without_key, Arc::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the environment variable CONVREC_TEST_NO_KEY is not set")
            && server.requests() == before,
        "{error}"
    );
    // Nobody listens: every request is tried three times, and five of them are enough.
    let (_folder, ledger) = new_ledger();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = TestServer::start(echoed);
    let base_url = format!("http://{nobody}/v1");
    let model = model(
        ServerSettings {
            base_url,
            concurrency: 1,
            max_retries: 2,
            ..quick(&server)
        },
        &ledger,
    );
    let answers = ask(&model, &requests(1000));
    assert_eq!((model.usage().sent, model.usage().tokens.total()), (15, 0));
    let first = answers[0].as_ref().unwrap_err().to_string();
    assert!(
        first.contains("no answer in 3 tries") && first.contains("refused"),
        "{first}"
    );
}

#[test]
fn requests_without_hope_do_not_end_the_run() {
    // The run leaves some requests to the next one: all fail alike, and the one behind them is new.
    type Script = fn() -> Reply;
    let hopeless: [(Script, &str); 5] = [
        (
            || Reply::status(400),
            "status 400 Bad Request; the server said: a message",
        ),
        (|| Reply::status(413), "status 413"),
        (|| Reply::status(422), "status 422"),
        (Reply::empty, "the last: an empty message"),
        (|| Reply::Large(200_000), "`max_answer_bytes`"),
    ];
    for (reply, part) in hopeless {
        let script = move |seen: &common::Seen| {
            if common::prompt(&seen.body) == "prompt 29" {
                echoed(seen)
            } else {
                reply()
            }
        };
        let server = TestServer::start(script);
        let (_folder, ledger) = new_ledger();
        let settings = ServerSettings {
            max_retries: 1,
            max_answer_bytes: 10_000,
            give_up_after: 2,
            ..quick(&server)
        };
        let answers = ask(&model(settings, &ledger), &requests(30));
        assert!(answers[29].is_ok(), "{part}");
        for answer in &answers[..29] {
            let error = answer.as_ref().unwrap_err().to_string();
            assert!(
                error.contains("test-model at http://127.0.0.1") && error.contains(part),
                "{error}"
            );
        }
    }
}

#[test]
fn a_server_that_is_down_or_out_of_money_ends_the_run() {
    let no_money = || {
        let body = r#"{"error": {"message": "no money", "code": "insufficient_quota"}}"#;
        Reply::Text(429, String::new(), body.into())
    };
    for reply in [|| Reply::status(503), no_money, || Reply::Reset] {
        let server = TestServer::start(move |_| reply());
        let (_folder, ledger) = new_ledger();
        let settings = ServerSettings {
            max_retries: 1,
            concurrency: 1,
            ..quick(&server)
        };
        let answers = ask(&model(settings, &ledger), &requests(30));
        assert!(server.requests() <= 5 * 2, "{}", server.requests());
        let last = answers[29].as_ref().unwrap_err().to_string();
        assert!(last.contains("5 requests in a row failed alike"), "{last}");
    }
}

#[test]
fn retry_after_is_honoured_up_to_its_limit() {
    let wait = |header: String, limit: f64| {
        let script = move |seen: &common::Seen| match seen.before {
            0 => Reply::Text(503, format!("Retry-After: {header}\r\n"), String::new()),
            _ => echoed(seen),
        };
        let server = TestServer::start(script);
        let (_folder, ledger) = new_ledger();
        let model = model(
            ServerSettings {
                max_retry_after: limit,
                ..quick(&server)
            },
            &ledger,
        );
        let start = Instant::now();
        ask(&model, &requests(1))[0].as_ref().unwrap();
        start.elapsed().as_secs_f64()
    };
    let second = wait("1".into(), 10.0);
    assert!((1.0..10.0).contains(&second), "{second}");
    let absurd = wait("1000000".into(), 0.3);
    assert!((0.3..10.0).contains(&absurd), "{absurd}");
    // A date has whole seconds, so two ahead is at least one.
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(2));
    let date = wait(date, 10.0);
    assert!((0.9..10.0).contains(&date), "{date}");
}

#[test]
fn the_pace_is_kept() {
    let server = TestServer::start(echoed);
    let timed = |settings: ServerSettings, n: usize| {
        let (_folder, ledger) = new_ledger();
        let model = model(settings, &ledger);
        let start = Instant::now();
        assert!(ask(&model, &requests(n)).iter().all(Result::is_ok));
        start.elapsed().as_secs_f64()
    };
    // 60 at once and 10 a second: 75 take a second and a half.
    let took = timed(
        ServerSettings {
            requests_per_minute: Some(600),
            ..quick(&server)
        },
        75,
    );
    assert!((1.4..10.0).contains(&took), "{took}");
    // About 110 tokens each, 600 at once and 100 a second: 7 take between one second and three.
    let took = timed(
        ServerSettings {
            tokens_per_minute: Some(6000),
            ..quick(&server)
        },
        7,
    );
    assert!((0.8..10.0).contains(&took), "{took}");
}

#[test]
fn a_stop_ends_waits_and_keeps_what_is_under_way() {
    let script = |seen: &common::Seen| {
        thread::sleep(Duration::from_millis(30));
        if common::prompt(&seen.body).ends_with('0') {
            Reply::Text(429, "Retry-After: 1000\r\n".into(), String::new())
        } else {
            echoed(seen)
        }
    };
    let server = TestServer::start(script);
    let (_folder, ledger) = new_ledger();
    let stop = Arc::new(AtomicBool::new(false));
    let settings = ServerSettings {
        max_retry_after: 1000.0,
        ..quick(&server)
    };
    let http = Arc::new(Server::new(settings, stop.clone()).unwrap());
    let model = HttpChat::new(chat_settings(), http, ledger.clone()).unwrap();
    let start = Instant::now();
    let answers = thread::scope(|scope| {
        scope.spawn(|| {
            while server.answered().len() <= 8 {
                thread::sleep(Duration::from_millis(5));
            }
            stop.store(true, Ordering::Relaxed);
        });
        ask(&model, &requests(10_000))
    });
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(
        answered > 8 && answered == ledger.len() && answered == server.answered().len(),
        "{answered}"
    );
    assert!(server.requests() < 200);
    let error = answers[0].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("stopped") && error.contains("requests that are left"),
        "{error}"
    );
}

#[test]
fn a_drip_and_a_silence_end() {
    for reply in [
        || Reply::Drip,
        || {
            thread::sleep(Duration::from_secs(8));
            Reply::Reset
        },
    ] {
        let server = TestServer::start(move |_| reply());
        let (_folder, ledger) = new_ledger();
        let model = model(
            ServerSettings {
                timeout: 0.3,
                max_retries: 1,
                ..quick(&server)
            },
            &ledger,
        );
        let start = Instant::now();
        let error = fails(&model, "hello");
        assert!(
            start.elapsed() < Duration::from_secs(5)
                && error.contains("no whole answer within `timeout`"),
            "{error}"
        );
    }
    let server = TestServer::start(|_| Reply::Large(20_000_000));
    let (_folder, ledger) = new_ledger();
    let model = model(
        ServerSettings {
            max_retries: 0,
            ..quick(&server)
        },
        &ledger,
    );
    let error = fails(&model, "hello");
    assert!(
        error.contains("more than 8388608 bytes (`max_answer_bytes`)"),
        "{error}"
    );
}

#[test]
fn redirects_are_reported_and_not_followed() {
    let elsewhere = TestServer::start(echoed);
    let to = elsewhere.base_url.clone();
    for status in [301, 302, 307, 308] {
        let location = format!("Location: {to}/chat/completions\r\n");
        let server =
            TestServer::start(move |_| Reply::Text(status, location.clone(), String::new()));
        let (_folder, ledger) = new_ledger();
        let error = fails(&model(quick(&server), &ledger), "hello");
        assert!(
            error.contains(&format!("moved to {to}")) && error.contains("set `base_url`"),
            "{error}"
        );
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[test]
fn settings_are_checked_by_field() {
    let server = |text: &str| toml::from_str::<ServerSettings>(text).map_err(|e| e.to_string());
    let error = |text: &str| {
        let text = format!("base_url = \"http://localhost/v1\"\n{text}");
        Server::new(server(&text).unwrap(), Arc::default())
            .unwrap_err()
            .to_string()
    };
    for (text, expected) in [
        (
            "concurrency = 0",
            "config, field `server.concurrency`: found 0, expected at least 1",
        ),
        (
            "requests_per_minute = 0",
            "field `server.requests_per_minute`: found 0, expected at least 1",
        ),
        ("tokens_per_minute = 0", "field `server.tokens_per_minute`"),
        (
            "timeout = 0.0",
            "field `server.timeout`: found 0, expected seconds above 0",
        ),
        ("timeout = nan", "field `server.timeout`: found NaN"),
        ("connect_timeout = -1.0", "field `server.connect_timeout`"),
        ("first_delay = inf", "field `server.first_delay`"),
        ("max_answer_bytes = 0", "field `server.max_answer_bytes`"),
        ("give_up_after = 0", "field `server.give_up_after`"),
        ("api_key_env = \"sk-0123\"", "field `server.api_key_env`"),
        (
            "max_answer_bytes = 33554433",
            "field `server.max_answer_bytes`: found 33554433, expected at least 1, at most \
             33554432",
        ),
        (
            "budget = { max_requests = 0 }",
            "field `server.budget.max_requests`: found 0",
        ),
        (
            "budget = { max_tokens = 0 }",
            "field `server.budget.max_tokens`: found 0",
        ),
        (
            "budget = { max_cost = 0.0 }",
            "field `server.budget.max_cost`: found 0, expected a number above 0",
        ),
    ] {
        assert!(
            error(text).contains(expected),
            "{} does not say {expected}",
            error(text)
        );
    }
    for bad in [
        "",
        "localhost:80",
        "ftp://a/v1",
        "http://",
        "https://user:word@a/v1",
        "http://a/v1?key=1",
        "http://a b/",
    ] {
        let settings = ServerSettings {
            base_url: bad.into(),
            ..ServerSettings::default()
        };
        let error = Server::new(settings, Arc::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("field `server.base_url`") && !error.contains("word"),
            "{error}"
        );
    }
    assert!(server("concurency = 3").unwrap_err().contains("concurency"));
    let costly = server("base_url = \"http://localhost/v1\"\nbudget = { max_cost = 1.0 }").unwrap();
    let costly = Arc::new(Server::new(costly, Arc::default()).unwrap());
    let error = HttpChat::new(chat_settings(), costly, new_ledger().1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("field `chat.price`: not set, expected what tokens cost"),
        "{error}"
    );
    let chat = |text: &str| {
        toml::from_str::<ChatSettings>(text)
            .unwrap()
            .check()
            .map_err(|e| e.field)
    };
    assert_eq!(
        chat("model = \"m\"\nextra_body = { top_p = 0.9, stop = [\"\\n\"] }"),
        Ok(())
    );
    for (text, field) in [
        ("", "chat.model"),
        ("model = \"m\"\ntemperature = -1.0", "chat.temperature"),
        ("model = \"m\"\nprice = { input = nan }", "chat.price.input"),
        (
            "model = \"m\"\nextra_body = { stream = true }",
            "chat.extra_body.stream",
        ),
    ] {
        assert_eq!(chat(text), Err(field.into()));
    }
}

/// Settings that are part of a request change its key in the ledger.
#[test]
fn other_settings_are_other_requests() {
    let server = TestServer::start(echoed);
    let (_folder, ledger) = new_ledger();
    let http = Arc::new(Server::new(quick(&server), Arc::default()).unwrap());
    let extra = ChatSettings {
        extra_body: [("top_p".to_string(), 0.5.into())].into_iter().collect(),
        ..chat_settings()
    };
    let cheaper = ChatSettings {
        price: Price {
            input: 1.0,
            output: 1.0,
        },
        ..chat_settings()
    };
    let variants = [
        (chat_settings(), 1),
        (
            ChatSettings {
                model: "other".into(),
                ..chat_settings()
            },
            2,
        ),
        (
            ChatSettings {
                temperature: Some(1.0),
                ..chat_settings()
            },
            3,
        ),
        (
            ChatSettings {
                seed: Some(1),
                ..chat_settings()
            },
            4,
        ),
        (extra, 5),
        (cheaper, 5),
    ];
    for (settings, asked) in variants {
        let model = HttpChat::new(settings, http.clone(), ledger.clone()).unwrap();
        ask(&model, &[request("hello")])[0].as_ref().unwrap();
        assert_eq!(server.requests(), asked);
    }
}
