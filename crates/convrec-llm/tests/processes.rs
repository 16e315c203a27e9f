//! The example `ask` as a process: killed, on a full disk, twice on one ledger, with a key.
#![cfg(unix)]

#[path = "../examples/ask.rs"]
#[allow(dead_code, reason = "its main is not used here")]
mod ask;
mod common;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use base64::Engine;
use common::{Reply, TestServer, echo, echoed};
use rand::{RngExt, SeedableRng};

const KEY: &str = "sk-proj-0123456789abcdef-secret";
const CONCURRENCY: usize = 8;

/// The variable with the arguments of the example in a process of its own, one a line.
const ARGUMENTS: &str = "CONVREC_TEST_ASK";

/// This is no test of its own, but the process that the other tests start.
#[test]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
    let arguments: Vec<String> = arguments.lines().map(String::from).collect();
    if let Err(error) = ask::run(&arguments) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new(server: &TestServer, prompts: usize) -> Self {
        Self::with(server, prompts, "")
    }

    /// With further settings of the server.
    fn with(server: &TestServer, prompts: usize, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = format!(
            "[server]\nbase_url = \"{}\"\napi_key_env = \"CONVREC_TEST_KEY\"\nconcurrency = \
             {CONCURRENCY}\nfirst_delay = 0.01\nmax_delay = 0.01\nmax_retries = 2\n{more}\n[chat]\n\
             model = \"test-model\"\n",
            server.base_url
        );
        std::fs::write(folder.path().join("settings.toml"), settings).unwrap();
        let prompts: String = (0..prompts).map(|i| format!("prompt {i}\n")).collect();
        std::fs::write(folder.path().join("prompts.txt"), prompts).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the example by `program`, which is followed by this test's file and its arguments.
    fn command_by(&self, program: &[&str]) -> Command {
        let this = std::env::current_exe().unwrap();
        let mut words = program.iter().map(OsStr::new).chain([this.as_os_str()]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(["child", "--exact", "--nocapture"]);
        let files = [
            "settings.toml",
            "prompts.txt",
            "ledger.jsonl",
            "answers.jsonl",
        ];
        command.env(
            ARGUMENTS,
            files
                .map(|name| self.file(name).to_str().unwrap().to_string())
                .join("\n"),
        );
        command
            .env("CONVREC_TEST_KEY", KEY)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn command(&self) -> Command {
        self.command_by(&[])
    }

    fn output(&self) -> Output {
        self.command().output().unwrap()
    }

    /// The keys of the whole lines of the ledger, read without its own code.
    fn keys(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("ledger.jsonl")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let key = |line: &str| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["key"]
                .as_str()
                .unwrap()
                .to_string()
        };
        whole.lines().map(key).collect()
    }
}

fn error_of(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn killed_again_and_again_it_goes_on() {
    const PROMPTS: usize = 1000;
    let server = TestServer::start(|seen| {
        thread::sleep(Duration::from_millis(10));
        echoed(seen)
    });
    let run = Run::new(&server, PROMPTS);
    let mut chance = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let mut kept: HashSet<String> = HashSet::new();
    let mut asked: HashMap<String, usize> = HashMap::new();
    let mut kills = 0;
    loop {
        let mut child = run.command().spawn().unwrap();
        thread::sleep(Duration::from_millis(chance.random_range(20..200)));
        let killed = kills < 8 && child.try_wait().unwrap().is_none();
        if killed {
            child.kill().unwrap();
            kills += 1;
        }
        let output = child.wait_with_output().unwrap();
        // Answers that were in the ledger before this process were not asked again.
        let now = server.asked();
        assert!(kept.iter().all(|key| now[key] == asked[key]));
        let keys = run.keys();
        kept.extend(keys.iter().cloned());
        // No answer is lost, and none is there twice.
        assert_eq!(kept.len(), keys.len());
        asked = server.asked();
        if !killed {
            assert!(output.status.success(), "{}", error_of(&output));
            let answers = std::fs::read_to_string(run.file("answers.jsonl")).unwrap();
            let expected = |i: usize| {
                let prompt = format!("prompt {i}");
                serde_json::json!({ "prompt": prompt, "answer": echo(&prompt) }).to_string() + "\n"
            };
            assert_eq!(answers, (0..PROMPTS).map(expected).collect::<String>());
            break;
        }
    }
    let paid: usize = server.answered().values().sum();
    println!("{kills} kills: {paid} answers paid for {PROMPTS} prompts");
    assert!(kills >= 5, "only {kills} kills came in time");
    assert_eq!(kept.len(), PROMPTS);
    // Only requests under way at a kill may be paid again.
    assert!(paid - PROMPTS <= kills * CONCURRENCY, "{paid}");
}

#[test]
fn on_a_full_disk_nothing_more_is_asked() {
    let server = TestServer::start(echoed);
    let run = Run::new(&server, 500);
    // A limit of 16 blocks of 512 or 1,024 bytes on files stands for the disk. Ignored, the signal
    // becomes an error.
    let output = run
        .command_by(&["sh", "-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"])
        .output()
        .unwrap();
    let error = error_of(&output);
    assert!(
        error.contains("answers cannot be kept: cannot write") && error.contains("ledger.jsonl"),
        "{error}"
    );
    let kept = run.keys();
    assert!((10..100).contains(&kept.len()), "{} answers", kept.len());
    // No half line stays, and only answers under way were paid without being kept.
    assert!(
        std::fs::read(run.file("ledger.jsonl"))
            .unwrap()
            .ends_with(b"\n")
    );
    let paid = server.answered().len();
    assert!(
        paid <= kept.len() + CONCURRENCY,
        "{paid} paid, {} kept",
        kept.len()
    );
    // With room again, it goes on.
    assert!(run.output().status.success());
    assert_eq!(run.keys().len(), 500);
    let twice = server
        .answered()
        .values()
        .filter(|&&times| times > 1)
        .count();
    assert!(twice <= CONCURRENCY, "{twice} were paid twice");
}

#[test]
fn two_processes_do_not_share_a_ledger() {
    let server = TestServer::start(|seen| {
        thread::sleep(Duration::from_millis(20));
        echoed(seen)
    });
    let run = Run::new(&server, 400);
    let first = run.command().spawn().unwrap();
    while !run.file("ledger.jsonl").exists() || run.keys().is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    let error = error_of(&run.output());
    assert!(
        error.contains("ledger.jsonl is in use by another process"),
        "{error}"
    );
    assert!(first.wait_with_output().unwrap().status.success());
    assert!(server.answered().values().all(|&times| times == 1) && run.keys().len() == 400);
}

#[test]
fn the_key_goes_to_the_server_and_nowhere_else() {
    let echo_key = |seen: &common::Seen| {
        let header = seen
            .head
            .lines()
            .find(|line| line.to_lowercase().starts_with("authorization"))
            .unwrap()
            .to_string();
        let failed = |message: String| {
            let body = serde_json::json!({ "error": { "message": message } }).to_string();
            Reply::Text(400, String::new(), body)
        };
        let base64 = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
        match common::prompt(&seen.body) {
            // The key stands at the edge of the shown text, so that shortening alone would leave a
            // part.
            "prompt 0" => failed(format!("{}{header}", ".".repeat(220))),
            "prompt 1" => Reply::Text(401, String::new(), header),
            "prompt 2" => Reply::Text(200, String::new(), format!("<html>{header}</html>")),
            "prompt 3" => Reply::json(serde_json::json!({ "choices": header })),
            "prompt 4" => Reply::Text(
                302,
                format!("Location: http://127.0.0.1/Bearer/{KEY}\r\n"),
                String::new(),
            ),
            "prompt 5" => failed(format!("Bearer {}", &KEY[..KEY.len() / 2])),
            "prompt 6" => failed(format!("Bearer {}", &KEY[KEY.len() / 2..])),
            "prompt 7" => failed(format!("Bearer {}", KEY.to_uppercase())),
            "prompt 8" => failed(format!("Bearer {}", KEY.chars().rev().collect::<String>())),
            "prompt 9" => failed(format!("Bearer {}", base64(KEY))),
            "prompt 10" => failed(format!("Bearer {}", base64(&header))),
            _ => Reply::completion(&header),
        }
    };
    let secrets = [
        "sk-proj", "secret", "SECRET", "terces", "jorp", "c2VjcmV0", "MDEyMzQ1",
    ];
    for show_replies in [false, true] {
        let server = TestServer::start(echo_key);
        let more = format!("show_replies = {show_replies}\ngive_up_after = 100");
        let run = Run::with(&server, 12, &more);
        let output = run.output();
        let ledger = std::fs::read_to_string(run.file("ledger.jsonl")).unwrap();
        let (out, error) = (
            std::fs::read_to_string(run.file("answers.jsonl")).unwrap(),
            String::from_utf8_lossy(&output.stderr),
        );
        for text in [&*ledger, &*out, &*error] {
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
        assert!(
            ledger.contains("Bearer [key]"),
            "the answer is missing: {ledger}"
        );
        // The words of servers are shown only where the setting asks for them.
        let shown = out
            .lines()
            .filter(|line| line.contains("the server said: "))
            .count();
        let hidden = out
            .lines()
            .filter(|line| line.contains("`server.show_replies = true`"))
            .count();
        assert_eq!(
            (shown, hidden),
            if show_replies { (11, 0) } else { (0, 11) },
            "{out}"
        );
        if show_replies {
            assert!(out.lines().all(|line| line.contains("[key]")), "{out}");
        }
        assert!(
            server
                .heads()
                .iter()
                .all(|head| head.contains(&format!("Bearer {KEY}\r\n")))
        );
    }
}
