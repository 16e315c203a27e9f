//! llama.cpp's server as chat model, sampler and embedder. `llama_cpp.sh` starts it with SmolLM2
//! and all-MiniLM-L6-v2, and runs these tests.

use std::sync::Arc;

use convrec_core::Turn;
use convrec_llm::{
    ChatSettings, CompletionsSettings, EmbedderSettings, HttpChat, HttpCompletions, HttpEmbedder,
    Ledger, Prompt, Sampled, Server, ServerSettings,
};
use convrec_services::{ChatModel, ChatRequest, Embedder};
use convrec_testdata::golden;
use serde_json::Value;

const END: u32 = 2;

fn server(variable: &str) -> Arc<Server> {
    let base_url = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
    let settings = ServerSettings {
        base_url,
        concurrency: 2,
        max_retries: 0,
        timeout: 300.0,
        ..ServerSettings::default()
    };
    Arc::new(Server::new(settings, Arc::default()).unwrap())
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| id.as_u64().unwrap() as u32).collect()
}

fn sampler() -> HttpCompletions {
    let settings = CompletionsSettings {
        model: "smollm2".into(),
        separate: true,
        ..CompletionsSettings::default()
    };
    HttpCompletions::new(settings, vec![server("CONVREC_LLAMA_CPP")]).unwrap()
}

/// Log-probabilities are those of the whole distribution, as transformers computes it, and what is
/// drawn is drawn from it.
#[test]
#[ignore = "needs llama.cpp's server: llama_cpp.sh"]
fn samples_with_the_log_probabilities_of_transformers() {
    let numbers = golden("real_models.json");
    let cases = numbers["smollm2"]["cases"].as_array().unwrap();
    let prompts: Vec<Vec<u32>> = cases.iter().map(|case| ids(&case["input_ids"])).collect();
    let prompts: Vec<Prompt<'_>> = prompts.iter().map(|prompt| Prompt::new(prompt)).collect();
    let sampled = Sampled {
        n: 8,
        temperature: 1.0,
        max_tokens: 6,
        end_token: END,
        seed: 7,
    };
    let (mut compared, mut beyond) = (0, 0);
    for (case, group) in cases.iter().zip(sampler().complete(&prompts, &sampled)) {
        let (top, logits) = (ids(&case["last_top10_ids"]), &case["last_top10_logits"]);
        let mut firsts = vec![];
        let group = match group {
            Ok(group) => group,
            // It answered with fewer tokens than it drew.
            Err(error) => {
                println!("{error}");
                assert!(
                    error.to_string().contains("end inside of a character"),
                    "{error}"
                );
                continue;
            }
        };
        for completion in group {
            let ends = completion.tokens.iter().filter(|id| **id == END).count();
            assert_eq!(completion.ended, completion.tokens.last() == Some(&END));
            assert_eq!(ends, usize::from(completion.ended));
            assert!(completion.ended || completion.tokens.len() == sampled.max_tokens);
            assert!(completion.log_probs.iter().all(|log_prob| *log_prob <= 0.0));
            match top.iter().position(|id| *id == completion.tokens[0]) {
                Some(place) => {
                    firsts.push((logits[place].as_f64().unwrap(), completion.log_probs[0]))
                }
                None => beyond += 1,
            }
        }
        // Two tokens' logits are as far apart as their log-probabilities. Its cache is in f16.
        for pair in firsts.windows(2) {
            let apart = f64::from(pair[1].1) - f64::from(pair[0].1);
            assert!((apart - (pair[1].0 - pair[0].0)).abs() < 0.02, "{pair:?}");
            compared += usize::from(pair[0].0 != pair[1].0);
        }
    }
    println!("{compared} pairs of tokens agree; {beyond} of 32 first tokens are not among the ten");
    assert!(compared > 0);
}

/// Near temperature 0 it writes what transformers writes.
#[test]
#[ignore = "needs llama.cpp's server: llama_cpp.sh"]
fn writes_the_greedy_tokens_of_transformers() {
    let numbers = golden("real_models.json");
    for case in numbers["smollm2"]["cases"].as_array().unwrap() {
        let (prompt, greedy) = (ids(&case["input_ids"]), ids(&case["greedy_48"]));
        let sampled = Sampled {
            n: 1,
            temperature: 1e-4,
            max_tokens: 48,
            end_token: END,
            seed: 1,
        };
        let mut groups = sampler().complete(&[Prompt::new(&prompt)], &sampled);
        match groups.remove(0) {
            Ok(group) => assert_eq!(group[0].tokens, greedy),
            // One of them has an emoji of several tokens.
            Err(error) => {
                assert!(greedy.contains(&10813), "{error}");
                assert!(error.to_string().contains("42 tokens of 48"), "{error}");
            }
        }
    }
}

#[test]
#[ignore = "needs llama.cpp's server: llama_cpp.sh"]
fn answers_chats_and_says_what_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::open(folder.path().join("ledger.jsonl")).unwrap());
    let settings = ChatSettings {
        model: "smollm2".into(),
        temperature: Some(0.0),
        ..ChatSettings::default()
    };
    let model = HttpChat::new(settings, server("CONVREC_LLAMA_CPP"), ledger).unwrap();
    let request = |text: &str, max_tokens| ChatRequest {
        turns: vec![Turn::user(text)],
        max_tokens,
    };
    let requests = [
        request("Recommend five films, one a line.", 64),
        request("Recommend five films, one a line.", 3),
        request("Rate Heat (1995) from -2 to 2. Answer with a number.", 8),
    ];
    let answers = model.answer(&requests, &|_| ());
    let answers: Vec<String> = answers.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| !answer.trim().is_empty()));
    assert!(answers[0].starts_with(answers[1].trim_end()), "{answers:?}");
    let usage = model.usage();
    assert!(usage.cut >= 1, "{usage}");
    // Again from the ledger.
    assert_eq!(
        model.answer(&requests, &|_| ())[0].as_ref().unwrap(),
        &answers[0]
    );
    assert_eq!(model.usage().from_ledger, 3);
}

#[test]
#[ignore = "needs llama.cpp's server: llama_cpp.sh"]
fn embeds_as_sentence_transformers() {
    let numbers = &golden("real_models.json")["minilm"];
    let list = |value: &Value| serde_json::from_value::<Vec<f32>>(value.clone()).unwrap();
    let sentences: Vec<String> = serde_json::from_value(numbers["sentences"].clone()).unwrap();
    for base64 in [false, true] {
        let settings = EmbedderSettings {
            model: "minilm".into(),
            width: 384,
            base64,
            ..EmbedderSettings::default()
        };
        let embedder = HttpEmbedder::new(settings, server("CONVREC_LLAMA_CPP_EMBED")).unwrap();
        let rows = embedder.embed(&sentences).unwrap();
        for (place, row) in rows.outer_iter().enumerate() {
            // Blank texts are not sent. Long ones are not cut as sentence-transformers cuts them.
            if sentences[place].trim().is_empty() || sentences[place].len() > 500 {
                continue;
            }
            let expected = list(&numbers["embeddings"][place]);
            let cosine: f32 = row.iter().zip(&expected).map(|(a, b)| a * b).sum();
            println!(
                "{cosine:.6}: {}",
                sentences[place].chars().take(40).collect::<String>()
            );
            assert!(cosine > 0.9999, "{cosine}");
        }
    }
}
