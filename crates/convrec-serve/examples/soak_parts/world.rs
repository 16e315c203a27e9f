//! What all clients know: the questions, their answers, and where the server is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use burn::tensor::Device;
use convrec_policy::{Policy, SaveOptions};
use serde_json::{Value, json};

use super::life::Life;
use crate::support::client::{Answer, Client};
use crate::support::flags::Flags;
use crate::support::model;

/// Something that is asked.
pub struct Question {
    pub path: &'static str,
    pub body: String,
}

/// What came of requests.
#[derive(Default)]
pub struct Counts {
    /// Right at the first try, with the time in milliseconds.
    pub first: Mutex<Vec<f64>>,
    /// Right after the server was gone.
    pub retried: AtomicU64,
    pub busy: AtomicU64,
    pub lost: AtomicU64,
    pub wrong: Mutex<Vec<String>>,
    pub left: AtomicU64,
    pub hostile: Mutex<std::collections::BTreeMap<&'static str, u64>>,
    pub reloads: AtomicU64,
    pub refused_reloads: AtomicU64,
    /// Ends that were not as they should be.
    pub bad_ends: AtomicU64,
}

pub struct World {
    pub questions: Vec<Question>,
    /// Of each weights to each question.
    answers: [Vec<String>; 2],
    pub folder: tempfile::TempDir,
    pub key: String,
    lives: Mutex<Vec<Arc<Life>>>,
    pub counts: Counts,
}

pub fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl World {
    /// Saves both weights, and asks a server that nobody disturbs what the answers are.
    pub fn new(flags: &Flags) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::flex();
        let catalog = model::catalog(flags);
        let model = model::model(flags, &catalog, &device);
        let other = Policy::new(model.policy.config(), 99, &device).unwrap();
        for (n, policy) in [&model.policy, &other].into_iter().enumerate() {
            let options = SaveOptions::default();
            policy
                .save_folder(folder.path().join(n.to_string()), &options)
                .unwrap();
        }
        let file = flags.text("catalog").unwrap_or_default();
        std::fs::copy(file, folder.path().join("catalog.jsonl")).unwrap();
        let key = format!("{:032x}", rand::random::<u128>());
        let world = Self {
            questions: questions(catalog.len()),
            answers: [vec![], vec![]],
            lives: vec![Arc::new(Life::start(folder.path(), &key))].into(),
            folder,
            key,
            counts: Counts::default(),
        };
        let life = world.life();
        let mut client = Client::new(life.address);
        let mut ask = || {
            let questions = world.questions.iter();
            let answers = questions.map(|question| {
                let answer = client.post(question.path, &question.body).unwrap();
                assert_eq!(answer.status, 200, "{} {}", question.body, answer.body);
                essence(&answer).unwrap().0
            });
            answers.collect::<Vec<String>>()
        };
        let first = ask();
        let body = json!({ "path": world.weights(1) }).to_string();
        let mut operator = Client::new(life.address).with_key(&world.key);
        let reloaded = operator.post("/admin/reload", &body).unwrap();
        assert_eq!(reloaded.status, 200, "{}", reloaded.body);
        life.versions.lock().unwrap().push(1);
        let answers = [first, ask()];
        assert_ne!(answers[0], answers[1]);
        Self { answers, ..world }
    }

    pub fn weights(&self, n: usize) -> PathBuf {
        self.folder.path().join(n.to_string())
    }

    /// The server now.
    pub fn life(&self) -> Arc<Life> {
        self.lives.lock().unwrap().last().unwrap().clone()
    }

    /// Starts another server.
    pub fn restart(&self) {
        let life = Life::start(self.folder.path(), &self.key);
        self.lives.lock().unwrap().push(life.into());
    }

    /// Ends the last server, and gives all.
    pub fn end(&self) -> Vec<Arc<Life>> {
        if !self.life().end(false) {
            add(&self.counts.bad_ends);
        }
        self.lives.lock().unwrap().clone()
    }

    /// Why an answer is wrong, where it is.
    pub fn problem(&self, question: usize, answer: &Answer, life: &Life) -> Option<String> {
        let asked = &self.questions[question];
        let about = |problem: &str| {
            let body: String = answer.body.chars().take(600).collect();
            Some(format!(
                "{problem}: {} {} -> {} {body}",
                asked.path, asked.body, answer.status
            ))
        };
        if answer.status != 200 {
            return about("status");
        }
        let Some((found, version)) = essence(answer) else {
            return about("no whole answer");
        };
        let versions = life.versions.lock().unwrap().clone();
        let weights = version.map(|version| versions.get(version - 1).copied());
        let is_right = match weights {
            Some(None) => return about("a version that there is not"),
            Some(Some(weights)) => self.answers[weights][question] == found,
            None => self
                .answers
                .iter()
                .any(|answers| answers[question] == found),
        };
        if is_right {
            None
        } else {
            about("another answer")
        }
    }
}

/// What must be the same each time, and the version where the answer says it.
fn essence(answer: &Answer) -> Option<(String, Option<usize>)> {
    let version = |value: &Value| usize::try_from(value["version"].as_u64()?).ok();
    let ids = |items: &mut dyn Iterator<Item = &Value>| {
        let ids: Vec<String> = items.map(|item| item["id"].to_string()).collect();
        ids.join(" ")
    };
    if answer.body.starts_with('{') {
        let body: Value = serde_json::from_str(&answer.body).ok()?;
        return match body["items"].as_array() {
            Some(items) => Some((ids(&mut items.iter()), version(&body))),
            None => Some((
                body["choices"]
                    .as_array()?
                    .iter()
                    .map(|c| c["text"].to_string())
                    .collect(),
                None,
            )),
        };
    }
    let data = answer
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("data:"));
    let events: Vec<Value> = data
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .ok()?;
    // The last event is `done`.
    events.last().filter(|last| **last == json!({}))?;
    let mut items = events.iter().filter(|event| event["rank"].is_u64());
    Some((ids(&mut items), version(events.first()?)))
}

fn questions(items: usize) -> Vec<Question> {
    let said = [
        "I loved Heat (1995). Something like it?",
        "Anything funny for four people, one of them fourteen years old?",
        "A western please, and nothing too new.",
        "Something sad, with a good ending, that is not too long for a weekday.",
    ];
    let mut questions = vec![];
    for (n, text) in said.iter().enumerate() {
        let mut messages = vec![json!({ "role": "user", "content": text })];
        for (path, more) in [
            ("/v1/recommend", json!({})),
            ("/v1/recommend", json!({ "stream": true })),
            (
                "/v1/recommend",
                json!({ "n": 5, "temperature": 1.0, "seed": n, "exclude": [n, items - 1 - n] }),
            ),
        ] {
            let mut body = more;
            body["messages"] = messages.clone().into();
            questions.push(Question {
                path,
                body: body.to_string(),
            });
        }
        messages.push(json!({ "role": "assistant", "content": "Do you know these?" }));
        messages.push(json!({ "role": "user", "content": "I know them all. What else?" }));
        questions.push(Question {
            path: "/v1/recommend",
            body: json!({ "messages": messages, "alternatives": 1, "n": 3 }).to_string(),
        });
        let body = json!({ "prompt": [1, 2, 3 + n], "seen": [], "seed": n, "n": 2 });
        questions.push(Question {
            path: "/v1/completions",
            body: body.to_string(),
        });
        let body = json!({ "prompt": text, "seed": n, "max_tokens": 20 });
        questions.push(Question {
            path: "/v1/completions",
            body: body.to_string(),
        });
    }
    questions
}
