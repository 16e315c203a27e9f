//! A server on the loopback, asked over HTTP by the client that trainers use.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::CatalogItem;
use convrec_llm::{
    CompletionsSettings, HttpCompletions, Prompt, Sampled, SampledCompletion, Server,
    ServerSettings,
};
use convrec_policy::{
    Completion, Generation, ModelConfig, Policy, Sampling, SaveOptions, Sequence,
};
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::{
    HttpSampler, Language, Prompts, RankGrpoTrainer, Record, RlConfig, Sample, SamplerSettings,
    StepView, Task, TaskFormat,
};
use rank_grpo::{Clip, Correction, CorrectionMode, LossConfig, LossInputs, RatioLevel, Segments};
use serde_json::{Value, json};

use super::{Served, Serving, serve};

const N_RANKS: usize = 2;

fn language() -> Language {
    let special_tokens: Vec<String> =
        ["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"]
            .map(str::to_string)
            .to_vec();
    let config = TrainConfig {
        vocab_size: 256 + special_tokens.len(),
        special_tokens,
        ..TrainConfig::default()
    };
    let tokenizer = TextTokenizer::train(["a"].iter(), &config).unwrap();
    let prompts = Prompts::Marked(PromptFormat::default());
    Language::small(
        tokenizer,
        TaskFormat {
            prompts,
            n_ranks: N_RANKS,
            max_new_tokens: 60,
        },
    )
}

fn policy(seed: u64) -> Policy {
    Policy::new(&ModelConfig::small(262, 32, 2, 2), seed, &Device::flex()).unwrap()
}

fn task() -> Task {
    let item = |(title, year): (&str, i32)| CatalogItem {
        title: title.into(),
        year: Some(year),
        genres: vec![],
        metadata: String::new(),
    };
    let items = [
        ("Heat", 1995),
        ("Up", 2009),
        ("Alien", 1979),
        ("Alien 3", 1992),
        ("Her", 2013),
    ];
    language()
        .task(Catalog::new(items.map(item).to_vec()).unwrap())
        .unwrap()
}

fn start(seed: u64, weights: Option<&Path>, task: Option<Task>) -> Serving {
    let policy = policy(seed);
    let language = language();
    let served = Served {
        name: "policy".into(),
        end_token: language.end().unwrap(),
        language,
        config: policy.config().clone(),
        task,
        weights: weights.map(Path::to_path_buf),
        max_rows: 64,
    };
    serve(policy, served, Device::flex(), "127.0.0.1:0", 16).unwrap()
}

fn client(servers: &[&Serving]) -> HttpCompletions {
    let server = |serving: &&Serving| {
        let base_url = format!("http://{}/v1", serving.address());
        let settings = ServerSettings {
            base_url,
            concurrency: 4,
            max_retries: 1,
            ..ServerSettings::default()
        };
        Arc::new(Server::new(settings, Arc::default()).unwrap())
    };
    let settings = CompletionsSettings {
        model: "policy".into(),
        ..CompletionsSettings::default()
    };
    HttpCompletions::new(settings, servers.iter().map(server).collect()).unwrap()
}

fn sampled(end_token: u32) -> Sampled {
    Sampled {
        n: 3,
        temperature: 0.7,
        max_tokens: 20,
        end_token,
        seed: 11,
    }
}

fn generation(n: usize, max_new_tokens: usize) -> Generation {
    let sampling = Sampling {
        temperature: 0.7,
        ..Sampling::default()
    };
    let end_token = language().end().unwrap();
    Generation {
        sampling,
        group_size: n,
        max_new_tokens,
        end_token,
        max_rows: 64,
        seed: 0,
    }
}

/// Prompts of several lengths.
fn prompts(n: u32) -> Vec<Vec<u32>> {
    (0..n)
        .map(|p| (0..=p % 7).map(|t| (31 * p + 7 * t) % 256).collect())
        .collect()
}

fn complete(client: &HttpCompletions, prompts: &[Vec<u32>]) -> Vec<Vec<SampledCompletion>> {
    let prompts: Vec<Prompt<'_>> = prompts.iter().map(|tokens| Prompt::new(tokens)).collect();
    client
        .complete(&prompts, &sampled(language().end().unwrap()))
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

/// The same tokens, and log-probabilities alike to rounding, which depends on what is computed
/// together.
fn alike(found: &[Vec<SampledCompletion>], expected: &[Vec<SampledCompletion>]) -> bool {
    let same = |(a, b): (&SampledCompletion, &SampledCompletion)| {
        let close = a
            .log_probs
            .iter()
            .zip(&b.log_probs)
            .all(|(a, b)| (a - b).abs() < 1e-4);
        a.tokens == b.tokens && a.ended == b.ended && close
    };
    found.len() == expected.len()
        && found
            .iter()
            .flatten()
            .zip(expected.iter().flatten())
            .all(same)
}

/// The status and the body.
fn post(serving: &Serving, path: &str, body: &Value) -> (u16, Value) {
    let agent = ureq::Agent::new_with_config(
        ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build(),
    );
    let url = format!("http://{}{path}", serving.address());
    let mut reply = agent.post(url).send(body.to_string()).unwrap();
    (
        reply.status().as_u16(),
        serde_json::from_str(&reply.body_mut().read_to_string().unwrap()).unwrap(),
    )
}

/// The completions of an answer, in order.
fn choices(body: &Value) -> Vec<(Vec<u32>, Vec<f32>)> {
    let numbers = |choice: &Value| {
        let log_probs = choice["logprobs"]["token_logprobs"].clone();
        (
            serde_json::from_value(choice["token_ids"].clone()).unwrap(),
            serde_json::from_value(log_probs).unwrap(),
        )
    };
    body["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(numbers)
        .collect()
}

fn numbers(groups: &[Vec<Completion>]) -> Vec<(Vec<u32>, Vec<f32>)> {
    groups
        .iter()
        .flatten()
        .map(|completion| (completion.tokens.clone(), completion.log_probs.clone()))
        .collect()
}

#[test]
fn over_http_the_policy_draws_what_it_draws_in_process() {
    let serving = start(1, None, None);
    let several = prompts(9);
    let end = language().end().unwrap();
    let body = json!({
        "model": "policy", "prompt": several, "n": 4, "seed": 99, "temperature": 0.7, "max_tokens": 20, "logprobs": 0,
        "return_token_ids": true, "stop_token_ids": [end],
    });
    let (status, answer) = post(&serving, "/v1/completions", &body);
    assert_eq!(status, 200, "{answer}");
    let tokens: Vec<&[u32]> = several.iter().map(Vec::as_slice).collect();
    let seeds: Vec<u64> = (99..99 + 9).collect();
    let expected = policy(1).generate_seeded(&tokens, &seeds, &generation(4, 20), None);
    // To the bit, in the protocol's order.
    assert_eq!(choices(&answer), numbers(&expected));
    let lengths: usize = expected
        .iter()
        .flatten()
        .map(|completion| completion.tokens.len())
        .sum();
    assert_eq!(answer["usage"]["completion_tokens"], lengths);
    assert_eq!(answer["choices"][5]["prompt_token_ids"], json!(several[1]));
    serving.stop();
}

#[test]
fn a_trainer_gets_the_same_from_one_server_and_from_two() {
    let servers = [start(1, None, None), start(1, None, None)];
    let prompts = prompts(60);
    let alone = complete(&client(&[&servers[0]]), &prompts);
    assert!(alike(
        &complete(&client(&[&servers[0], &servers[1]]), &prompts),
        &alone
    ));
    // The log-probabilities are those that a trainer computes.
    let end = language().end().unwrap();
    assert!(
        alone
            .iter()
            .flatten()
            .all(|completion| completion.ended == (completion.tokens.last() == Some(&end)))
    );
    let (prompt, completion) = (&prompts[3], &alone[3][0]);
    let sequence = Sequence {
        prompt,
        completion: &completion.tokens,
    };
    let again = policy(1)
        .log_probs(&[sequence], 0.7)
        .log_probs
        .into_data()
        .try_into_vec::<f32>()
        .unwrap();
    assert!(
        again
            .iter()
            .zip(&completion.log_probs)
            .all(|(a, b)| (a - b).abs() < 1e-4)
    );
}

/// The server draws at another temperature than is trained at: the trainer's expectation comes out
/// all the same.
#[test]
fn the_correction_makes_up_for_another_sampler() {
    const N: usize = 4096;
    const VOCABULARY: u32 = 262;
    let (serving, prompt) = (start(1, None, None), [5, 6]);
    let sampled = Sampled {
        n: N,
        max_tokens: 1,
        ..sampled(language().end().unwrap())
    };
    let drawn = client(&[&serving])
        .complete(&[Prompt::new(&prompt)], &sampled)
        .remove(0)
        .unwrap();
    let policy = policy(1);
    let trainer = |tokens: &[u32]| -> Vec<f64> {
        let sequences: Vec<Sequence<'_>> = tokens
            .chunks(1)
            .map(|completion| Sequence {
                prompt: &prompt,
                completion,
            })
            .collect();
        policy
            .log_probs(&sequences, 1.0)
            .log_probs
            .into_data()
            .try_into_vec_as::<f64>()
            .unwrap()
    };
    // What is to be estimated: how often a token is drawn that is likelier than most.
    let all = trainer(&(0..VOCABULARY).collect::<Vec<_>>());
    let is_likely = |token: u32| all[token as usize] > -f64::from(VOCABULARY).ln();
    let expected: f64 = (0..VOCABULARY)
        .filter(|token| is_likely(*token))
        .map(|token| all[token as usize].exp())
        .sum();

    let tokens: Vec<u32> = drawn
        .iter()
        .map(|completion| completion.tokens[0])
        .collect();
    let old = trainer(&tokens);
    let advantages = tokens
        .iter()
        .map(|token| f64::from(is_likely(*token)))
        .collect();
    let inputs = LossInputs {
        old_log_probs: Some(old.clone()),
        sampler_log_probs: Some(
            drawn
                .iter()
                .map(|completion| completion.log_probs[0].into())
                .collect(),
        ),
        ..LossInputs::new([N, 1], vec![true; N], Segments::sequences(N), advantages)
    };
    // Without a clip the loss of a token is its weight times the advantage, negative.
    let estimate = |correction| {
        let config = LossConfig {
            clip: Clip::None,
            correction,
            ..LossConfig::bnpo()
        };
        -config
            .check()
            .unwrap()
            .evaluate(&old, &inputs)
            .unwrap()
            .loss
    };
    let correction = Correction {
        level: RatioLevel::Token,
        mode: CorrectionMode::Truncate {
            clip_max: 1e6,
            clip_min: None,
        },
    };
    let (plain, corrected) = (estimate(None), estimate(Some(correction)));
    println!("expected {expected:.4}, corrected {corrected:.4}, plain {plain:.4}");
    assert!((corrected - expected).abs() < 0.03 && (plain - expected).abs() > 0.06);
}

#[test]
fn new_weights_are_in_use_once_it_says_so() {
    let root = tempfile::tempdir().unwrap();
    let (serving, other) = (start(1, Some(root.path()), None), start(2, None, None));
    let (mine, prompts) = (client(&[&serving]), prompts(20));
    let expected = complete(&client(&[&other]), &prompts);
    assert!(!alike(&complete(&mine, &prompts), &expected));
    let folder = root.path().join("step-000001");
    policy(2)
        .save_folder(&folder, &SaveOptions::default())
        .unwrap();
    assert!(mine.update_weights(&folder, 1).unwrap().is_empty());
    assert!(alike(&complete(&mine, &prompts), &expected));

    let reload = |path: &Path| post(&serving, "/reload", &json!({ "path": path }));
    let wide = root.path().join("wide");
    let shape = ModelConfig::small(262, 64, 2, 2);
    Policy::new(&shape, 1, &Device::flex())
        .unwrap()
        .save_folder(&wide, &SaveOptions::default())
        .unwrap();
    for (path, status, part) in [
        (wide.as_path(), 400, "a model of another shape"),
        (&root.path().join("none"), 400, "field `path`"),
        (
            root.path().parent().unwrap(),
            403,
            "expected a folder below",
        ),
        (root.path(), 400, "config.json"),
    ] {
        let (found, body) = reload(path);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(
            found == status && message.contains(part),
            "{found}: {message}"
        );
    }
    assert!(alike(&complete(&mine, &prompts), &expected));
    // One that loads none says so, and is asked no more.
    let error = client(&[&other])
        .update_weights(&folder, 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected a server with `--weights`"),
        "{error}"
    );
}

#[test]
fn constrained_lists_stay_in_the_catalog_and_leave_out_what_was_seen() {
    let (serving, task) = (start(3, None, Some(task())), task());
    let prompt = prompts(3).remove(2);
    let body = |seen: Value| {
        json!({
            "prompt": prompt, "seen": seen, "n": 8, "seed": 5, "temperature": 0.7, "max_tokens": 60, "logprobs": 1,
            "return_token_ids": true,
        })
    };
    let (status, answer) = post(
        &serving,
        "/v1/completions",
        &body(json!([1, "Alien (1979)"])),
    );
    assert_eq!(status, 200, "{answer}");
    let seen = vec![convrec_core::ItemId(1), convrec_core::ItemId(2)];
    let sample = Sample {
        id: String::new(),
        prompt: prompt.clone(),
        seen,
        ground_truth: vec![],
    };
    let begin = |_: usize| task.constraint(&sample).unwrap();
    let expected = policy(3).generate_seeded(&[&prompt], &[5], &generation(8, 60), Some(&begin));
    assert_eq!(choices(&answer), numbers(&expected));
    for choice in answer["choices"].as_array().unwrap() {
        let text = choice["text"].as_str().unwrap();
        let names: Vec<String> = task
            .prompter()
            .list()
            .parse(text)
            .items()
            .map(|item| item.to_string())
            .collect();
        let allowed = ["Heat (1995)", "Alien 3 (1992)", "Her (2013)"];
        assert!(
            names.len() == N_RANKS && names.iter().all(|name| allowed.contains(&name.as_str())),
            "{text}"
        );
        assert_eq!(choice["finish_reason"], "stop");
    }
    for (seen, part) in [
        (json!([7]), "field `seen`: 7; expected a place below 5"),
        (
            json!(["Heat (1985)"]),
            "is not in the catalog; the nearest items are \"Heat (1995)\"",
        ),
        (json!([0, 1, 2, 3]), "leaves 1 items; expected at least 2"),
        (json!([true]), "field `seen[0]`: expected an item's place"),
    ] {
        let (status, body) = post(&serving, "/v1/completions", &body(seen));
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && message.contains(part),
            "{status}: {message}"
        );
    }
}

#[test]
fn a_conversation_is_answered_with_a_list() {
    let serving = start(3, None, Some(task()));
    let messages =
        json!([{ "role": "user", "content": "I loved Heat (1995) and Alien 3 (1992). What now?" }]);
    let (status, answer) = post(
        &serving,
        "/v1/chat/completions",
        &json!({ "model": "policy", "messages": messages, "seen": [1] }),
    );
    assert_eq!(status, 200, "{answer}");
    let choice = &answer["choices"][0];
    let titles: Vec<&str> = choice["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["title"].as_str().unwrap())
        .collect();
    let mut sorted = titles.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["Alien", "Her"]);
    let text = choice["message"]["content"].as_str().unwrap();
    assert!(
        text.starts_with(&format!("1. {} (", titles[0])) && text.contains("\n2. "),
        "{text}"
    );
    for (messages, part) in [
        (json!([]), "the last one is the user's"),
        (
            json!([{ "role": "assistant", "content": "Hello!" }]),
            "the last one is the user's",
        ),
        (
            json!([{ "role": "system", "content": "x" }, { "role": "user", "content": "x" }]),
            "a system's turn",
        ),
        (json!([{ "role": "user" }]), "field `messages[0]`"),
    ] {
        let (status, body) = post(
            &serving,
            "/v1/chat/completions",
            &json!({ "messages": messages }),
        );
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && message.contains(part),
            "{status}: {message}"
        );
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let serving = start(1, None, None);
    let refused = |change: Value| {
        let mut body = json!({ "prompt": [1, 2], "max_tokens": 4 });
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let (status, body) = post(&serving, "/v1/completions", &body);
        (
            status,
            body["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_string(),
        )
    };
    assert_eq!(refused(json!({})), (200, String::new()));
    for (change, part) in [
        (json!({ "prompt": [] }), "field `prompt`: empty"),
        (json!({ "prompt": [[1], []] }), "field `prompt`: empty"),
        (
            json!({ "prompt": [262] }),
            "token 262; expected tokens below 262",
        ),
        (
            json!({ "prompt": { "text": "x" } }),
            "field `prompt`: expected a text, a list of token ids",
        ),
        (json!({ "n": 0 }), "field `n`: 0"),
        (json!({ "n": 5000 }), "at most 4096"),
        (json!({ "n": -1 }), "field `n`: invalid value"),
        (json!({ "max_tokens": 0 }), "field `max_tokens`: 0"),
        (
            json!({ "max_tokens": 2047 }),
            "at most 2048, the positions of the model",
        ),
        (json!({ "max_tokens": u64::MAX }), "field `max_tokens`"),
        (json!({ "temperature": -0.5 }), "`temperature`"),
        (json!({ "top_p": 0 }), "`top_p`"),
        (
            json!({ "stop_token_ids": [1, 2] }),
            "field `stop_token_ids`: several",
        ),
        (json!({ "logprobs": 5 }), "field `logprobs`: above 1"),
        (json!({ "stream": true }), "field `stream`: true"),
        (json!({ "best_of": 2 }), "unknown field `best_of`"),
        (
            json!({ "seen": [] }),
            "field `seen`: a list from a catalog; expected a server with `--catalog`",
        ),
    ] {
        let (status, message) = refused(change);
        assert!(
            status == 400 && message.contains(part),
            "{status}: {message}"
        );
    }
    let (status, message) = refused(json!({ "model": "other" }));
    assert!(
        status == 404
            && message.contains("field `model`: `other` is not served here; expected `policy`")
    );
    let (status, body) = post(&serving, "/v1/chat/completions", &json!({ "messages": [] }));
    assert!(
        status == 400 && body.to_string().contains("no catalog to recommend from"),
        "{body}"
    );
    assert_eq!(post(&serving, "/v1/embeddings", &json!({})).0, 404);
    let get = |path: &str| {
        let mut reply = ureq::get(format!("http://{}{path}", serving.address()))
            .call()
            .unwrap();
        serde_json::from_str::<Value>(&reply.body_mut().read_to_string().unwrap()).unwrap()
    };
    assert_eq!(get("/health"), json!({ "status": "ok" }));
    assert_eq!(get("/v1/models")["data"][0]["id"], "policy");
    // Texts are prompts too, and token ids come as vLLM's older releases send them.
    let text = json!({ "prompt": ["ab", "c"], "max_tokens": 3, "logprobs": 1, "return_tokens_as_token_ids": true });
    let (status, body) = post(&serving, "/v1/completions", &text);
    assert_eq!(
        (
            status,
            body["choices"].as_array().unwrap().len(),
            &body["usage"]["prompt_tokens"]
        ),
        (200, 2, &json!(3))
    );
    assert!(
        body["choices"][1]["logprobs"]["tokens"][0]
            .as_str()
            .unwrap()
            .starts_with("token_id:"),
        "{body}"
    );
}

fn train_over(servers: &[&Serving], weights: &Path, steps: usize) -> Vec<Record> {
    let task = task();
    let settings = SamplerSettings {
        servers: servers
            .iter()
            .map(|serving| ServerSettings {
                base_url: format!("http://{}/v1", serving.address()),
                concurrency: 4,
                ..ServerSettings::default()
            })
            .collect(),
        completions: CompletionsSettings {
            model: "policy".into(),
            ..CompletionsSettings::default()
        },
        weights: weights.into(),
        constrained: true,
        ..SamplerSettings::default()
    };
    let mut sampler = HttpSampler::new(settings, &task, &Arc::default()).unwrap();
    let samples: Vec<Sample> = (0..5)
        .map(|n| Sample {
            id: format!("a-{n}"),
            prompt: vec![1, 40 + n, 3],
            seen: vec![
                task.catalog()
                    .find(&convrec_core::Item::new("Her", 2013))
                    .unwrap(),
            ],
            ground_truth: vec![convrec_core::ItemId(n % 4)],
        })
        .collect();
    let correction = Correction {
        level: RatioLevel::Rank,
        mode: CorrectionMode::Truncate {
            clip_max: 3.0,
            clip_min: None,
        },
    };
    let config = RlConfig {
        max_steps: steps,
        prompts_per_step: 4,
        num_generations: 6,
        num_iterations: 2,
        loss: LossConfig {
            correction: Some(correction),
            ..LossConfig::paper()
        },
        optimizer: convrec_train::OptimizerConfig {
            learning_rate: 0.01,
            ..Default::default()
        },
        ..RlConfig::default()
    };
    let first = Policy::new(
        &ModelConfig::small(262, 32, 2, 2),
        1,
        &Device::flex().autodiff(),
    )
    .unwrap();
    let mut log = Vec::new();
    let mut observe = |view: &StepView<'_>| log.push(view.record.clone());
    RankGrpoTrainer::new(first, &task, &samples)
        .config(config)
        .sampler(&mut sampler)
        .observer(&mut observe)
        .train()
        .unwrap();
    log
}

/// The servers begin with other weights than the trainer: without a reload before each batch the
/// two would be far apart.
#[test]
fn a_run_samples_from_servers_that_follow_its_weights() {
    let weights = tempfile::tempdir().unwrap();
    let servers = [
        start(7, Some(weights.path()), Some(task())),
        start(8, Some(weights.path()), Some(task())),
    ];
    let log = train_over(&[&servers[0], &servers[1]], weights.path(), 6);
    let number = |record: &Record, name: &str| record[name].as_f64().unwrap();
    for record in &log {
        assert!(
            number(record, "sampling/sampling_logp_difference/mean") < 1e-5,
            "{record:?}"
        );
        assert!(
            (number(record, "sampling/importance_sampling_ratio/mean") - 1.0).abs() < 1e-4,
            "{record:?}"
        );
        assert_eq!(
            (number(record, "in_catalog"), number(record, "duplicates")),
            (1.0, 0.0)
        );
        assert!(number(record, "entropy") > 0.0);
    }
    // The policy has moved, and one folder of weights is left.
    assert!(number(&log[5], "kl") > 1e-4);
    assert_eq!(std::fs::read_dir(weights.path()).unwrap().count(), 1);
    servers.into_iter().for_each(Serving::stop);
}

/// The file that the documentation shows.
#[test]
fn the_documented_sampler_is_read() {
    let page = include_str!("../../../docs/rollouts.md");
    let file = page
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), file).unwrap();
    let settings = SamplerSettings::read(path.path()).unwrap();
    assert!(
        settings.constrained && settings.servers.len() == 1 && settings.completions.model == "sft"
    );
    HttpSampler::new(settings, &task(), &Arc::default()).unwrap();
}

#[test]
fn servers_that_write_freely_are_refused_for_constrained_lists() {
    let settings = SamplerSettings::default();
    let error = HttpSampler::new(settings, &task(), &Arc::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("--unconstrained"), "{error}");
}
