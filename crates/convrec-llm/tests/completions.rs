//! Rollouts over HTTP: servers of which one request in five goes wrong, servers that are down, and
//! new weights.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Reply, Seen, TestServer, fault, quick};
use convrec_llm::{
    Budget, CompletionsSettings, HttpCompletions, Prompt, Sampled, SampledCompletion, Server,
    ServerSettings, UpdateCall, WeightUpdate,
};
use serde_json::{Value, json};

const END: u32 = 2;
const SAMPLED: Sampled = Sampled {
    n: 3,
    temperature: 0.5,
    max_tokens: 4,
    end_token: END,
    seed: 7,
};

/// The expected completion g of a request: its prompt's first token, its seed and its place. The
/// last one is cut.
fn expected(prompt: u64, seed: u64, g: u64) -> SampledCompletion {
    let ended = g < 2;
    let mut tokens = vec![prompt as u32, (seed % 1000) as u32 + 10, g as u32 + 10];
    tokens.push(if ended { END } else { 11 });
    let log_probs = tokens.iter().map(|&token| -(token as f32) / 8.0).collect();
    SampledCompletion {
        tokens,
        log_probs,
        ended,
    }
}

fn completed(seen: &Seen) -> Reply {
    assert!(seen.head.starts_with("POST /v1/completions "));
    let body = &seen.body;
    let wanted = json!([
        body["n"],
        body["max_tokens"],
        body["stop_token_ids"],
        body["temperature"],
        body["logprobs"],
        // The whole distribution.
        [&body["top_k"], &body["top_p"], &body["min_p"]]
    ]);
    assert_eq!(wanted, json!([3, 4, [END], 0.5, 1, [-1, 1.0, 0.0]]));
    let (prompt, seed) = (
        body["prompt"][0].as_u64().unwrap(),
        body["seed"].as_u64().unwrap(),
    );
    let choice = |g: u64| {
        let SampledCompletion {
            tokens,
            log_probs,
            ended,
        } = expected(prompt, seed, g);
        let finish = if ended { "stop" } else { "length" };
        let mut choice = json!({ "index": g, "text": "", "finish_reason": finish });
        // An old server and a new one.
        if prompt.is_multiple_of(2) {
            let names: Vec<String> = tokens
                .iter()
                .map(|token| format!("token_id:{token}"))
                .collect();
            choice["logprobs"] =
                json!({ "tokens": names, "token_logprobs": log_probs, "top_logprobs": null });
        } else {
            choice["logprobs"] = json!({ "tokens": tokens.iter().map(|_| " a").collect::<Vec<_>>(), "token_logprobs": log_probs });
            choice["token_ids"] = json!(tokens);
            choice["prompt_token_ids"] = body["prompt"].clone();
            choice["stop_reason"] = if ended { json!(END) } else { Value::Null };
        }
        choice
    };
    let choices: Vec<Value> = (0..3).rev().map(choice).collect();
    Reply::Answer(
        json!({ "choices": choices, "usage": { "prompt_tokens": 2, "completion_tokens": 12 } })
            .to_string(),
    )
}

fn unreliable(seen: &Seen) -> Reply {
    match fault(seen) {
        None => completed(seen),
        Some(0 | 1) => Reply::status(429),
        Some(2) => Reply::Text(429, "Retry-After: 1\r\n".into(), "slow down".into()),
        Some(3 | 4) => Reply::status(503),
        Some(5 | 6) => Reply::Reset,
        Some(7) => Reply::Drip,
        Some(8) => Reply::Cut(json!({ "choices": [] }).to_string()),
        Some(9) => Reply::Text(200, String::new(), "<html>".into()),
        Some(10) => Reply::json(json!({ "choices": [] })),
        Some(11) => Reply::json(json!({ "answer": 42 })),
        Some(_) => Reply::status(500),
    }
}

fn settings() -> CompletionsSettings {
    CompletionsSettings {
        model: "policy".into(),
        ..CompletionsSettings::default()
    }
}

fn sampler(
    settings: CompletionsSettings,
    servers: impl IntoIterator<Item = ServerSettings>,
) -> HttpCompletions {
    let server = |settings| Arc::new(Server::new(settings, Arc::default()).unwrap());
    HttpCompletions::new(settings, servers.into_iter().map(server).collect()).unwrap()
}

fn prompts(n: u32) -> Vec<[u32; 2]> {
    (0..n).map(|first| [first, 1]).collect()
}

fn complete(
    sampler: &HttpCompletions,
    prompts: &[[u32; 2]],
) -> Vec<Result<Vec<SampledCompletion>, String>> {
    let prompts: Vec<Prompt<'_>> = prompts.iter().map(|tokens| Prompt::new(tokens)).collect();
    sampler
        .complete(&prompts, &SAMPLED)
        .into_iter()
        .map(|group| group.map_err(|e| e.to_string()))
        .collect()
}

#[test]
fn every_prompt_is_completed_once_in_order_though_one_request_in_five_goes_wrong() {
    let servers: [TestServer; 3] = std::array::from_fn(|_| TestServer::start(unreliable));
    let quick = |server| ServerSettings {
        concurrency: 8,
        timeout: 1.0,
        max_retries: 9,
        ..quick(server)
    };
    let sampler = sampler(settings(), servers.iter().map(quick));
    let prompts = prompts(3000);
    let groups: Vec<_> = complete(&sampler, &prompts)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    for (prompt, group) in prompts.iter().zip(&groups) {
        // The seed is the prompt's own: all three completions have the same one.
        let seed = u64::from(group[0].tokens[1]) - 10;
        for (g, completion) in group.iter().enumerate() {
            assert_eq!(*completion, expected(prompt[0].into(), seed, g as u64));
        }
    }
    let answered: usize = servers
        .iter()
        .map(|server| server.answered().values().sum::<usize>())
        .sum();
    let usage = sampler.usage();
    println!(
        "{usage}; {:?}",
        servers.each_ref().map(TestServer::requests)
    );
    assert_eq!(
        (answered, usage.answered, usage.tokens.input >= 6000),
        (3000, 3000, true)
    );
    assert!(usage.retries > 300 && servers.iter().all(|server| server.requests() > 300));

    // A single server gives the same.
    let alone = TestServer::start(completed);
    let alone = self::sampler(
        settings(),
        [ServerSettings {
            concurrency: 1,
            ..common::quick(&alone)
        }],
    );
    assert!(
        complete(&alone, &prompts)
            .into_iter()
            .map(Result::unwrap)
            .eq(groups)
    );
}

#[test]
fn the_work_of_a_server_that_is_down_goes_to_the_others() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let server = TestServer::start(completed);
    let up = quick(&server);
    let down = ServerSettings {
        base_url: format!("http://{nobody}/v1"),
        max_retries: 1,
        ..up.clone()
    };
    let sampler = sampler(settings(), [down.clone(), up]);
    assert!(complete(&sampler, &prompts(500)).iter().all(Result::is_ok));
    assert_eq!(server.requests(), 500);
    // With all of them down, the error names the reason for each.
    let other = ServerSettings {
        base_url: format!("http://{nobody}/other"),
        ..down.clone()
    };
    let sampler = self::sampler(settings(), [down, other]);
    let error = complete(&sampler, &prompts(1)).remove(0).unwrap_err();
    assert!(
        error.contains("/v1: no answer in 2 tries")
            && error.contains("/other: no answer in 2 tries"),
        "{error}"
    );
}

/// As llama.cpp's server needs it. It sends ids in `logprobs.content`.
#[test]
fn separate_completions_are_requests_of_their_own() {
    let server = TestServer::start(|seen| {
        assert_eq!(seen.body["n"], 1);
        let id = seen.body["seed"].as_u64().unwrap() % 1000 + 10;
        let content = json!([{ "id": id, "logprob": -0.5 }, { "id": END, "logprob": -0.25 }]);
        Reply::json(json!({
            "choices": [{ "index": 0, "logprobs": { "content": content } }],
            "usage": { "completion_tokens": 2 },
        }))
    });
    let settings = CompletionsSettings {
        separate: true,
        ..settings()
    };
    let sampler = sampler(settings, [quick(&server)]);
    for group in complete(&sampler, &prompts(5)) {
        let group = group.unwrap();
        let firsts: Vec<u32> = group.iter().map(|one| one.tokens[0]).collect();
        let seeds = [0, 1, 2].map(|g| (firsts[0] - 10 + g) % 1000 + 10);
        assert_eq!(firsts, seeds);
        assert!(
            group
                .iter()
                .all(|one| one.ended && one.log_probs == [-0.5, -0.25])
        );
    }
}

#[test]
fn servers_without_token_ids_are_given_up_soon() {
    let texts = |tokens: Value| json!({ "index": 0, "logprobs": { "tokens": tokens, "token_logprobs": [-0.5] } });
    for (choice, part) in [
        (
            texts(json!([" film"])),
            "`logprobs.tokens` and `logprobs.content`: no token ids; expected a server that knows",
        ),
        (
            json!({ "index": 0, "token_ids": [5] }),
            "field `logprobs.token_logprobs`: missing or null",
        ),
    ] {
        let server =
            TestServer::start(move |_| Reply::json(json!({ "choices": [choice, choice, choice] })));
        let sampler = sampler(
            settings(),
            [ServerSettings {
                concurrency: 1,
                ..quick(&server)
            }],
        );
        let groups = complete(&sampler, &prompts(200));
        let error = groups[0].as_ref().unwrap_err();
        assert!(
            error.contains(part) && error.contains("policy at http"),
            "{error}"
        );
        assert!(
            groups[199]
                .as_ref()
                .unwrap_err()
                .contains("5 requests in a row failed alike")
        );
        assert_eq!(server.requests(), 5);
    }
}

#[test]
fn fields_of_prompts_and_budgets_are_kept() {
    let seen = Arc::<Mutex<Vec<Value>>>::default();
    let log = seen.clone();
    let server = TestServer::start(move |request| {
        log.lock().unwrap().push(json!([
            request.body["seen"],
            request.body["ignore_eos"],
            request.body["model"]
        ]));
        completed(request)
    });
    let extra_body = [("ignore_eos".to_string(), json!(true))]
        .into_iter()
        .collect();
    let budget = Budget {
        max_requests: Some(1),
        ..Budget::default()
    };
    let settings = CompletionsSettings {
        extra_body,
        ..settings()
    };
    let sampler = sampler(
        settings,
        [ServerSettings {
            budget,
            ..quick(&server)
        }],
    );
    let extra_body = [("seen".to_string(), json!(["Heat (1995)"]))]
        .into_iter()
        .collect();
    let prompt = Prompt {
        extra_body,
        ..Prompt::new(&[4, 1])
    };
    assert!(sampler.complete(std::slice::from_ref(&prompt), &SAMPLED)[0].is_ok());
    assert_eq!(
        *seen.lock().unwrap(),
        [json!([["Heat (1995)"], true, "policy"])]
    );
    let error = sampler
        .complete(&[prompt], &SAMPLED)
        .remove(0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("max_requests = 1"), "{error}");
}

/// Calls of an update as a server saw them: path and body.
fn calls(update: WeightUpdate, weights_at_servers: Option<&str>) -> Vec<(String, Value)> {
    let seen = Arc::<Mutex<Vec<(String, Value)>>>::default();
    let log = seen.clone();
    let server = TestServer::start(move |request| {
        let path = request.head.split(' ').nth(1).unwrap().to_string();
        log.lock().unwrap().push((path, request.body.clone()));
        // The first call fails, and the second answers without a body, as vLLM does.
        if request.before == 0 {
            Reply::status(503)
        } else {
            Reply::Text(200, String::new(), String::new())
        }
    });
    let settings = CompletionsSettings {
        update,
        weights_at_servers: weights_at_servers.map(str::to_string),
        ..settings()
    };
    let sampler = sampler(settings, [quick(&server)]);
    assert!(
        sampler
            .update_weights("/runs/weights/step-000012", 12)
            .unwrap()
            .is_empty()
    );
    let seen = seen.lock().unwrap();
    seen.chunks(2).map(|twice| twice[1].clone()).collect()
}

#[test]
fn new_weights_are_told_as_each_kind_of_server_wants_it() {
    let call = |path: &str, body: Value| (path.to_string(), body);
    let path = "/runs/weights/step-000012";
    assert_eq!(
        calls(WeightUpdate::Reload, None),
        [call("/admin/reload", json!({ "path": path }))]
    );
    assert_eq!(
        calls(WeightUpdate::Vllm, None),
        [
            call(
                "/collective_rpc",
                json!({ "method": "reload_weights", "kwargs": { "weights_path": path } })
            ),
            call("/reset_prefix_cache", json!({}))
        ]
    );
    let adapter =
        json!({ "lora_name": "policy", "lora_path": "/mnt/w/step-000012", "load_inplace": true });
    assert_eq!(
        calls(WeightUpdate::VllmLora, Some("/mnt/w")),
        [call("/v1/load_lora_adapter", adapter)]
    );
    assert_eq!(
        calls(WeightUpdate::Sglang, None),
        [call(
            "/update_weights_from_disk",
            json!({ "model_path": path })
        )]
    );
    let own = UpdateCall {
        path: "/load/{path}".into(),
        body: json!({ "to": ["{model}", "{step}"] }),
    };
    assert_eq!(
        calls(WeightUpdate::Calls(vec![own]), None),
        [call("/load/{path}", json!({ "to": ["policy", "12"] }))]
    );
}

#[test]
fn a_server_with_old_weights_is_asked_no_more() {
    let good = TestServer::start(|seen| {
        if seen.head.contains(" /admin/reload ") {
            Reply::json(json!({ "success": true }))
        } else {
            completed(seen)
        }
    });
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let bad = TestServer::start(move |seen| {
        count.fetch_add(1, Ordering::Relaxed);
        if seen.head.contains(" /admin/reload ") {
            Reply::json(json!({ "success": false, "message": "no" }))
        } else {
            completed(seen)
        }
    });
    let servers = [
        quick(&good),
        ServerSettings {
            max_retries: 1,
            ..quick(&bad)
        },
    ];
    let sampler = sampler(settings(), servers.clone());
    let stale = sampler.update_weights("weights", 1).unwrap();
    assert_eq!(stale.len(), 1);
    let error = stale[0].to_string();
    assert!(
        error.contains(&bad.base_url)
            && error.contains(r#"`success`: false; expected true; the server said: {"#),
        "{error}"
    );
    let before = asked.load(Ordering::Relaxed);
    assert!(complete(&sampler, &prompts(50)).iter().all(Result::is_ok));
    assert_eq!(asked.load(Ordering::Relaxed), before);
    // None left is an error.
    let [_, bad] = servers;
    let error = self::sampler(settings(), [bad])
        .update_weights("weights", 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`success`: false"), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let extra = |name: &str| CompletionsSettings {
        extra_body: [(name.to_string(), json!(1))].into_iter().collect(),
        ..settings()
    };
    let update = WeightUpdate::Calls(vec![UpdateCall {
        path: "load".into(),
        body: json!({}),
    }]);
    for (settings, part) in [
        (
            CompletionsSettings::default(),
            "field `completions.model`: blank",
        ),
        (extra("seed"), "field `completions.extra_body.seed`"),
        (
            CompletionsSettings {
                update,
                ..settings()
            },
            "field `completions.update.calls.path`: `load`, expected a path",
        ),
    ] {
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let server = TestServer::start(completed);
    let server = Arc::new(Server::new(quick(&server), Arc::default()).unwrap());
    for (servers, part) in [
        (vec![], "none, expected at least one"),
        (vec![server.clone(), server], " twice, expected"),
    ] {
        let error = HttpCompletions::new(settings(), servers)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("field `completions.servers`") && error.contains(part),
            "{error}"
        );
    }
    let text = "model = \"policy\"\nupdate = \"vllm_lora\"\nweights_at_servers = \"/mnt/weights\"";
    let read: CompletionsSettings = toml::from_str(text).unwrap();
    assert_eq!(
        toml::from_str::<CompletionsSettings>(&toml::to_string(&read).unwrap()).unwrap(),
        read
    );
    assert!(toml::from_str::<CompletionsSettings>(&text.replace("update", "updates")).is_err());
}
