//! Asks a chat model the prompts of a file, one a line, and writes the answers as JSON lines.
//!
//! ```sh
//! cargo run --release -p convrec-llm --example ask -- settings.toml prompts.txt ledger.jsonl answers.jsonl
//! ```
//!
//! `settings.toml` has the tables `[server]` and `[chat]`. The same command goes on after a kill,
//! with a new budget, or with more room on the disk.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use convrec_core::{Turn, files, jsonl};
use convrec_llm::{ChatSettings, HttpChat, Ledger, Server, ServerSettings};
use convrec_services::{ChatModel, ChatRequest, ServiceError};

const MAX_TOKENS: usize = 512;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    server: ServerSettings,
    chat: ChatSettings,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = run(&arguments) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// The tests run this in processes of their own.
pub fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [settings, prompts, ledger, out] = arguments else {
        return Err(
            "expected four files: settings.toml prompts.txt ledger.jsonl answers.jsonl".into(),
        );
    };
    let settings: Settings = toml::from_str(&files::read_text(settings)?)?;
    let prompts = files::read_text(prompts)?;
    let prompts: Vec<&str> = prompts.lines().collect();
    let ledger = Arc::new(Ledger::open(ledger)?);
    if ledger.torn() > 0 {
        eprintln!(
            "{}: cut off {} bytes of an answer half written",
            ledger.path().display(),
            ledger.torn()
        );
    }
    let server = Arc::new(Server::new(settings.server, Arc::default())?);
    let model = HttpChat::new(settings.chat, server, ledger)?;

    let request = |prompt: &&str| ChatRequest {
        turns: vec![Turn::user(*prompt)],
        max_tokens: MAX_TOKENS,
    };
    let requests: Vec<ChatRequest> = prompts.iter().map(request).collect();
    let answers = with_progress(&model, &requests);

    let missing = answers.iter().filter(|answer| answer.is_err()).count();
    if let Some(first) = answers.iter().find_map(|answer| answer.as_ref().err()) {
        eprintln!(
            "{missing} of {} prompts have no answer; the first: {first}",
            prompts.len()
        );
    }
    let line = |(prompt, answer): (&&str, &Result<String, _>)| match answer {
        Ok(answer) => serde_json::json!({ "prompt": prompt, "answer": answer }),
        Err(error) => {
            serde_json::json!({ "prompt": prompt, "error": ServiceError::to_string(error) })
        }
    };
    let lines: Vec<_> = prompts.iter().zip(&answers).map(line).collect();
    jsonl::write_file(out, &lines)?;
    if missing == 0 {
        Ok(())
    } else {
        Err(format!("{missing} answers are missing").into())
    }
}

/// Answers the requests and prints a line every second: the answers so far, the rate, the usage,
/// and the rest.
fn with_progress(model: &HttpChat, requests: &[ChatRequest]) -> Vec<Result<String, ServiceError>> {
    let (done, start) = (AtomicUsize::new(0), Instant::now());
    let report = || {
        let (done, usage, seconds) = (
            done.load(Ordering::Relaxed),
            model.usage(),
            start.elapsed().as_secs_f64(),
        );
        let rate = (done as f64 - usage.from_ledger as f64).max(0.0) / seconds;
        let left = (requests.len() - done) as f64 / rate;
        let left = if left.is_finite() {
            format!(", {left:.0} s left")
        } else {
            String::new()
        };
        eprintln!(
            "{done} of {} done, {rate:.1} a second{left}; {usage}",
            requests.len()
        );
    };
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let answers = model.answer(requests, &|n| {
                done.fetch_add(n, Ordering::Relaxed);
            });
            answers.into_iter().map(|answer| Ok(answer?.text)).collect()
        });
        let mut reported = Instant::now();
        while !asking.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
            if reported.elapsed() > Duration::from_secs(1) {
                report();
                reported = Instant::now();
            }
        }
        report();
        asking
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
