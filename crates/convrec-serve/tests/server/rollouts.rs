//! Rollouts of a trainer, by the client that it uses.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use convrec_llm::{
    CompletionsSettings, HttpCompletions, Prompt, Sampled, SampledCompletion, Server,
    ServerSettings,
};
use convrec_policy::{ModelConfig, Policy, SaveOptions, Sequence};
use convrec_serve::Serving;
use convrec_train::{
    HttpSampler, RankGrpoTrainer, Record, RlConfig, Sample, SamplerSettings, SeenAs, StepView,
};
use rank_grpo::{Clip, Correction, CorrectionMode, LossConfig, LossInputs, RatioLevel, Segments};

use crate::common::*;
use crate::completions::prompts;

fn client(servers: &[&Serving]) -> HttpCompletions {
    client_of(servers, 4)
}

fn client_of(servers: &[&Serving], concurrency: usize) -> HttpCompletions {
    let server = |serving: &&Serving| {
        let base_url = format!("http://{}/v1", serving.address());
        let settings = ServerSettings {
            base_url,
            concurrency,
            api_key_env: "CARGO_PKG_NAME".into(),
            show_replies: true,
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

#[test]
fn a_trainer_gets_the_same_from_one_server_and_from_two() {
    let servers = [start(1, None), start(1, None)];
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
    let (serving, prompt) = (start(1, None), [5, 6]);
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
    let (serving, other) = (start_below(1, root.path(), None), start(2, None));
    let (mine, prompts) = (client(&[&serving]), prompts(20));
    let expected = complete(&client(&[&other]), &prompts);
    assert!(!alike(&complete(&mine, &prompts), &expected));
    let folder = root.path().join("step-000001");
    policy(2)
        .save_folder(&folder, &SaveOptions::default())
        .unwrap();
    assert!(mine.update_weights(&folder, 1).unwrap().is_empty());
    assert!(alike(&complete(&mine, &prompts), &expected));

    assert!(alike(&complete(&mine, &prompts), &expected));
    // One that loads none says so, and is asked no more.
    let error = client(&[&other])
        .update_weights(&folder, 1)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected a server with a folder for weights"),
        "{error}"
    );
}

fn train_over(
    servers: &[&Serving],
    weights: &Path,
    steps: usize,
    one_step_off_policy: bool,
) -> Vec<Record> {
    let task = task();
    let settings = SamplerSettings {
        seen_as: SeenAs::default(),
        servers: servers
            .iter()
            .map(|serving| ServerSettings {
                base_url: format!("http://{}/v1", serving.address()),
                concurrency: 4,
                api_key_env: "CARGO_PKG_NAME".into(),
                ..ServerSettings::default()
            })
            .collect(),
        completions: CompletionsSettings {
            model: "policy".into(),
            ..CompletionsSettings::default()
        },
        weights: weights.into(),
        constrained: true,
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
            candidates: None,
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
        one_step_off_policy,
        loss: LossConfig {
            correction: Some(correction),
            ..LossConfig::paper()
        },
        optimizer: convrec_train::OptimizerConfig {
            // A larger step apart, sampler and trainer would count as two policies.
            learning_rate: if one_step_off_policy { 1e-3 } else { 0.01 },
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

fn number(record: &Record, name: &str) -> f64 {
    record[name].as_f64().unwrap()
}

/// Servers sample while the trainer learns. They have the weights of one step before: with these
/// the trainer's numbers are theirs, and with its own weights they are not.
#[test]
fn servers_that_sample_ahead_are_one_step_late() {
    let weights = tempfile::tempdir().unwrap();
    let server = start_below(7, weights.path(), Some(catalog()));
    let log = train_over(&[&server], weights.path(), 6, true);
    let difference = |record: &Record| number(record, "sampling/sampling_logp_difference/mean");
    for (step, record) in log.iter().enumerate() {
        let correction = |what: &str| {
            let name = format!("sampling/importance_sampling_ratio/{what}");
            number(record, &name)
        };
        assert!(
            correction("min") > 0.999 && correction("max") < 1.001,
            "{record:?}"
        );
        match step {
            0 => assert!(difference(record) < 1e-5, "{record:?}"),
            _ => assert!(difference(record) > 1e-3, "{record:?}"),
        }
    }
    assert_eq!(std::fs::read_dir(weights.path()).unwrap().count(), 1);
    server.stop().unwrap();
}

/// The servers begin with other weights than the trainer: without a reload before each batch the
/// two would be far apart.
#[test]
fn a_run_samples_from_servers_that_follow_its_weights() {
    let weights = tempfile::tempdir().unwrap();
    let servers = [
        start_below(7, weights.path(), Some(catalog())),
        start_below(8, weights.path(), Some(catalog())),
    ];
    let log = train_over(&[&servers[0], &servers[1]], weights.path(), 6, false);
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
    servers
        .into_iter()
        .for_each(|server| server.stop().unwrap());
}

/// The file that the documentation shows.
#[test]
fn the_documented_sampler_is_read() {
    let page = include_str!("../../../../docs/rollouts.md");
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

/// As many connections as are documented, and more: all prompts are answered.
#[test]
fn rollouts_finish_at_every_concurrency() {
    let serving = start(1, None);
    let prompts = prompts(300);
    let expected = complete(&client_of(&[&serving], 1), &prompts);
    for concurrency in [8, 24, 64, 256] {
        for _ in 0..3 {
            let found = complete(&client_of(&[&serving], concurrency), &prompts);
            assert!(alike(&found, &expected), "{concurrency}");
        }
    }
    serving.stop().unwrap();
}

/// A trainer beside a server that answers nothing ends when it is told to.
#[test]
fn a_trainer_beside_a_hanging_server_ends() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = ServerSettings {
        base_url: format!("http://{}/v1", listener.local_addr().unwrap()),
        api_key_env: String::new(),
        ..ServerSettings::default()
    };
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let server = Arc::new(Server::new(settings, stop.clone()).unwrap());
    let settings = CompletionsSettings {
        model: "policy".into(),
        ..CompletionsSettings::default()
    };
    let client = HttpCompletions::new(settings, vec![server]).unwrap();
    let (told, over) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let prompts = prompts(8);
        let prompts: Vec<Prompt<'_>> = prompts.iter().map(|tokens| Prompt::new(tokens)).collect();
        let found = client.complete(&prompts, &sampled(language().end().unwrap()));
        told.send(found.iter().all(Result::is_err)).unwrap();
    });
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(over.recv_timeout(Duration::from_secs(20)), Ok(true));
}
