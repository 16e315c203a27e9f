//! Policies as services: answers together equal the single ones, and a judge's order is that of the
//! policy's probabilities.

use std::path::Path;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::{CatalogItem, Example, Item, Turn};
use convrec_policy::{ModelConfig, Policy, Sampling, SaveOptions};
use convrec_services::{ChatModel, ChatRequest, Judge, Teacher, ratings_by_order};
use convrec_testdata::model_path;
use convrec_text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec_train::evaluate::{Decoding, evaluate};
use convrec_train::{PolicyChat, PolicyJudge, PolicyTeacher, Task};

fn catalog() -> Catalog {
    let item = |n: usize| CatalogItem {
        title: format!(
            "Film {}{}",
            ["One", "Two", "Three"][n % 3],
            "!".repeat(n / 3)
        ),
        year: Some(1990 + n as i32),
        genres: vec![],
        metadata: String::new(),
    };
    Catalog::new((0..20).map(item).collect()).unwrap()
}

fn task() -> Task {
    let catalog = catalog();
    let lines = catalog.iter().map(|(_, item)| format!("{}\n", item.item()));
    let corpus: Vec<String> = lines.chain(["something with robots".to_string()]).collect();
    let config = TrainConfig {
        vocab_size: 320,
        ..Default::default()
    };
    let tokenizer = TextTokenizer::train(corpus.iter(), &config).unwrap();
    Task::new(
        catalog,
        PromptFormat::default().prompter(&tokenizer).unwrap(),
        3,
    )
}

fn policy(task: &Task) -> Policy {
    let shape = ModelConfig::small(task.prompter().tokenizer().vocab_size(), 16, 2, 2);
    Policy::new(&shape, 1, &Device::flex().autodiff()).unwrap()
}

/// Ground truth may be anything here, as nothing reads it.
fn examples() -> Vec<Example> {
    let catalog = catalog();
    let names: Vec<Item> = catalog.iter().map(|(_, item)| item.item()).collect();
    let example = |n: usize| Example {
        id: format!("d{n}-1"),
        dialog: vec![
            Turn::user("robots ".repeat(1 + n)),
            Turn::assistant("Hm."),
            Turn::user(format!("more {n}")),
        ],
        seen: names[..n % 4].to_vec(),
        ground_truth: vec![Item::new("not in the catalog", None)],
    };
    (0..9).map(example).collect()
}

fn sampled() -> Decoding {
    Decoding {
        sampling: Sampling::default(),
        max_new_tokens: 30,
        max_rows: 4,
        seed: 7,
    }
}

#[test]
fn a_teacher_answers_many_as_it_answers_one() {
    let (task, examples) = (task(), examples());
    let policy = policy(&task);
    let constrained = task.clone().constrained().unwrap();
    for task in [&task, &constrained] {
        for decoding in [sampled(), Decoding::greedy(30, 4)] {
            let teacher = PolicyTeacher::new("tiny", &policy, task.clone(), decoding);
            let asked: Vec<&Example> = examples.iter().collect();
            let count = std::sync::atomic::AtomicUsize::new(0);
            let done = |n| _ = count.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
            let all = teacher.recommend_all(&asked, 3, &done);
            assert_eq!(count.into_inner(), 9);
            for (example, found) in examples.iter().zip(&all) {
                assert_eq!(*found, teacher.recommend(example, 3), "{}", example.id);
            }
            let reversed: Vec<&Example> = examples.iter().rev().collect();
            let mut reversed = teacher.recommend_all(&reversed, 2, &|_| ());
            reversed.reverse();
            assert_eq!(all, reversed);
            for (example, text) in examples.iter().zip(&all).filter(|_| task.is_constrained()) {
                let list = task.prompter().list().parse(text.as_ref().unwrap());
                let names: Vec<&Item> = list.items().collect();
                assert!(
                    names.len() == 3
                        && names.iter().all(|item| task.catalog().find(item).is_some()),
                    "{text:?}"
                );
                assert!(
                    names.iter().all(|item| !example.seen.contains(item)),
                    "{text:?}"
                );
            }
            assert!(
                all.iter().any(|text| *text != all[0]) || decoding.sampling == Sampling::greedy()
            );
        }
    }
    // The lists that `evaluate` lets it write.
    let plain: Vec<Example> = examples
        .iter()
        .map(|x| Example {
            ground_truth: vec![],
            ..x.clone()
        })
        .collect();
    let samples: Vec<_> = plain
        .iter()
        .map(|x| constrained.sample(x).unwrap())
        .collect();
    let greedy = Decoding::greedy(30, 4);
    let expected = evaluate(&policy, &constrained, &samples, &greedy);
    let teacher = PolicyTeacher::new("tiny", &policy, constrained, greedy);
    for (example, expected) in examples.iter().zip(expected.samples) {
        assert_eq!(teacher.recommend(example, 3).unwrap(), expected.answer.text);
    }
}

#[test]
fn a_teacher_refuses_what_it_cannot_do() {
    let (task, examples) = (task(), examples());
    let policy = policy(&task);
    let teacher = PolicyTeacher::new("tiny", &policy, task.clone(), sampled());
    let error = teacher.recommend(&examples[0], 4).unwrap_err().to_string();
    assert!(
        error.contains("tiny: asked for 4 items, but the policy writes lists of 3"),
        "{error}"
    );
    let long = Decoding {
        max_new_tokens: 3000,
        ..sampled()
    };
    let error = PolicyTeacher::new("tiny", &policy, task.clone(), long)
        .recommend(&examples[0], 3)
        .unwrap_err()
        .to_string();
    assert!(error.contains("2048 positions; shorten"), "{error}");
    // A request that cannot be answered does not spoil the others.
    let constrained = PolicyTeacher::new(
        "tiny",
        &policy,
        task.clone().constrained().unwrap(),
        sampled(),
    );
    let seen = catalog().iter().map(|(_, item)| item.item()).collect();
    let hopeless = Example {
        seen,
        ..examples[1].clone()
    };
    let found = constrained.recommend_all(&[&examples[0], &hopeless, &examples[2]], 3, &|_| ());
    assert_eq!(
        found.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, true]
    );
    assert_eq!(found[2], constrained.recommend(&examples[2], 3));
}

/// The log-probability of a text behind a prompt, token by token from the logits of the whole
/// sequence.
fn slow_log_prob(policy: &Policy, prompt: &[u32], text: &[u32]) -> f64 {
    use burn::module::Module;
    use burn::tensor::{Int, Tensor, TensorData};
    let ids: Vec<i64> = prompt.iter().chain(text).map(|id| i64::from(*id)).collect();
    let t = ids.len();
    let policy = policy.valid();
    let hidden = policy.hidden(Tensor::<2, Int>::from_data(
        TensorData::new(ids, [1, t]),
        &policy.device(),
    ));
    let logits = policy
        .logits(hidden.squeeze_dim(0))
        .into_data()
        .try_into_vec_as::<f32>()
        .unwrap();
    let v = policy.config().vocab_size;
    let place = |(n, token): (usize, &u32)| {
        let row: Vec<f64> = logits[(prompt.len() + n - 1) * v..][..v]
            .iter()
            .map(|x| f64::from(*x))
            .collect();
        row[*token as usize] - row.iter().map(|x| x.exp()).sum::<f64>().ln()
    };
    text.iter().enumerate().map(place).sum()
}

#[test]
fn a_judge_rates_by_the_probabilities_of_its_policy() {
    let (task, examples) = (task(), examples());
    let policy = policy(&task);
    let judge = PolicyJudge::new("tiny", &policy, task.clone());
    let stranger = CatalogItem {
        title: "Unknown".into(),
        year: Some(1999),
        genres: vec![],
        metadata: String::new(),
    };
    let items: Vec<&CatalogItem> = task
        .catalog()
        .iter()
        .map(|(_, item)| item)
        .chain([&stranger])
        .collect();
    for example in &examples {
        let found = judge.log_probs(example, &items).unwrap();
        let prompt = task
            .prompter()
            .prompt(&example.dialog, &example.seen)
            .unwrap();
        for (item, found) in items.iter().zip(&found) {
            let line = task
                .prompter()
                .tokenizer()
                .encode(&format!("{}\n", item.item()))
                .unwrap();
            let expected = slow_log_prob(&policy, &prompt, &line);
            assert!(
                (f64::from(found.unwrap()) - expected).abs() < 1e-3,
                "{}: {found:?}, {expected}",
                item.item()
            );
        }
        assert_eq!(
            judge.rate(example, &items).unwrap(),
            ratings_by_order(&found)
        );
    }
    let requests: Vec<_> = examples
        .iter()
        .map(|example| (example, items.clone()))
        .collect();
    for (example, ratings) in examples.iter().zip(judge.rate_all(&requests, &|_| ())) {
        assert_eq!(ratings, judge.rate(example, &items));
    }
    assert_eq!(judge.rate(&examples[0], &[]).unwrap(), []);
}

/// Among catalog items the probabilities of all unseen ones sum to 1.
#[test]
fn a_constrained_judge_knows_a_distribution() {
    let (task, examples) = (task().constrained().unwrap(), examples());
    let policy = policy(&task);
    let judge = PolicyJudge::new("tiny", &policy, task.clone());
    let stranger = CatalogItem {
        title: "Unknown".into(),
        year: Some(1999),
        genres: vec![],
        metadata: String::new(),
    };
    let items: Vec<&CatalogItem> = task
        .catalog()
        .iter()
        .map(|(_, item)| item)
        .chain([&stranger])
        .collect();
    for example in &examples {
        let found = judge.log_probs(example, &items).unwrap();
        let sum: f64 = found.iter().flatten().map(|x| f64::from(*x).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-4, "{sum}");
        for (item, found) in items.iter().zip(&found) {
            let known =
                task.catalog().find(&item.item()).is_some() && !example.seen.contains(&item.item());
            assert_eq!(found.is_some(), known, "{}", item.item());
        }
    }
}

/// A tiny chat model's folder.
fn chat_folder(folder: &Path) {
    let special_tokens = vec!["<|s|>".to_string(), "<|e|>".into(), "<|stop|>".into()];
    let config = TrainConfig {
        vocab_size: 280,
        special_tokens,
        ..TrainConfig::default()
    };
    let tokenizer = TextTokenizer::train(["what do you like and why"].iter(), &config).unwrap();
    tokenizer.save(folder.join("tokenizer.json")).unwrap();
    let template = "{% if messages[0].content == 'refuse' %}{{ raise_exception('no') }}{% endif %}\
        {% for m in messages %}<|s|>{{ m.role }}: {{ m.content }}<|e|>{% endfor %}\
        {% if add_generation_prompt %}<|s|>assistant: {% endif %}";
    let config = serde_json::json!({"chat_template": template, "eos_token": "<|e|>"});
    std::fs::write(folder.join("tokenizer_config.json"), config.to_string()).unwrap();
    let stop = tokenizer.special_id("<|stop|>").unwrap();
    std::fs::write(
        folder.join("generation_config.json"),
        format!("{{\"eos_token_id\": [{stop}]}}"),
    )
    .unwrap();
    let shape = ModelConfig {
        max_position_embeddings: 300,
        ..ModelConfig::small(tokenizer.vocab_size(), 16, 2, 2)
    };
    Policy::new(&shape, 5, &Device::flex())
        .unwrap()
        .save_folder(folder, &SaveOptions::default())
        .unwrap();
}

fn request(text: &str, max_tokens: usize) -> ChatRequest {
    ChatRequest {
        turns: vec![Turn::user(text)],
        max_tokens,
    }
}

#[test]
fn a_chat_model_answers_many_as_it_answers_one() {
    let folder = tempfile::tempdir().unwrap();
    chat_folder(folder.path());
    let chat = || PolicyChat::load(folder.path(), &Device::flex()).unwrap();
    let requests: Vec<ChatRequest> = [
        request("what do you like?", 20),
        request("why?", 5),
        request("refuse", 5),
        request(&"why? ".repeat(300), 5),
        request("what <|e|> do you like, and why?", 20),
        request("why?", 0),
        request("why?", 5),
    ]
    .into();
    for chat in [
        chat(),
        chat().with_rows(0),
        chat().with_sampling(Sampling::default(), 3).unwrap(),
    ] {
        let all = chat.answer(&requests, &|_| ());
        assert_eq!(
            all.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, true, false, false, true, false, true]
        );
        for (request, found) in requests.iter().zip(&all) {
            assert_eq!(
                *found,
                chat.answer(std::slice::from_ref(request), &|_| ())
                    .remove(0)
            );
        }
        assert_eq!(all[1], all[6]);
        let error = |n: usize| all[n].as_ref().unwrap_err().to_string();
        assert!(
            error(2).contains("chat template refuses the conversation: no"),
            "{}",
            error(2)
        );
        assert!(
            error(3).contains("tokens and what follows up to 5, but the model has 300 positions"),
            "{}",
            error(3)
        );
        assert!(error(5).contains("0 tokens"), "{}", error(5));
    }
    let (greedy, drawn) = (
        chat(),
        chat().with_sampling(Sampling::default(), 3).unwrap(),
    );
    let other = chat().with_sampling(Sampling::default(), 4).unwrap();
    assert_ne!(
        drawn.answer(&requests, &|_| ())[0],
        other.answer(&requests, &|_| ())[0]
    );
    assert!(
        greedy.name().ends_with("(local, greedy)") && drawn.name() != other.name(),
        "{}",
        drawn.name()
    );
    assert!(
        chat()
            .with_sampling(
                Sampling {
                    temperature: -1.0,
                    ..Sampling::default()
                },
                0
            )
            .is_err()
    );
}

#[test]
fn answers_end_at_any_end_token() {
    let folder = tempfile::tempdir().unwrap();
    chat_folder(folder.path());
    let chat = PolicyChat::load(folder.path(), &Device::flex())
        .unwrap()
        .with_sampling(Sampling::default(), 1)
        .unwrap();
    let requests: Vec<ChatRequest> = (0..40)
        .map(|n| request(&format!("why {n}?"), 100))
        .collect();
    let free: Vec<String> = chat
        .answer(&requests, &|_| ())
        .into_iter()
        .map(|answer| answer.unwrap().text)
        .collect();
    std::fs::write(
        folder.path().join("generation_config.json"),
        "{\"eos_token_id\": [50]}",
    )
    .unwrap();
    let chat = PolicyChat::load(folder.path(), &Device::flex())
        .unwrap()
        .with_sampling(Sampling::default(), 1)
        .unwrap();
    let cut: Vec<String> = chat
        .answer(&requests, &|_| ())
        .into_iter()
        .map(|answer| answer.unwrap().text)
        .collect();
    // Token 50 instead of <|stop|> cuts texts that it stands in.
    assert!(
        free.iter()
            .zip(&cut)
            .any(|(free, cut)| cut.len() < free.len() && free.starts_with(cut.as_str()))
    );
    let error = {
        std::fs::remove_file(folder.path().join("tokenizer_config.json")).unwrap();
        PolicyChat::load(folder.path(), &Device::flex())
            .unwrap_err()
            .to_string()
    };
    assert!(error.contains("tokenizer_config.json"), "{error}");
}

/// A published chat model gives a sensible answer.
#[test]
fn smollm2_answers() {
    let Some(folder) = model_path("smollm2-135m-instruct") else {
        return;
    };
    let chat = PolicyChat::load(&folder, &Device::flex()).unwrap();
    assert_eq!(chat.name(), "smollm2-135m-instruct (local, greedy)");
    let requests = [
        request("What is the capital of France? Answer with one word.", 12),
        request("Say hello.", 12),
    ];
    let answers = chat.answer(&requests, &|_| ());
    assert!(
        answers[0].as_ref().unwrap().text.contains("Paris"),
        "{answers:?}"
    );
    assert!(
        !answers[1].as_ref().unwrap().text.contains("<|im_end|>"),
        "{answers:?}"
    );
}
