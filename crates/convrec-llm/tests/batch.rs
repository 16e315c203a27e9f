//! Batch files: missing requests go out, and results are checked.

mod common;

use std::path::{Path, PathBuf};

use common::{chat_settings, echo, new_ledger, prompt, requests};
use convrec_llm::{BatchLimits, BatchWriter, read_results};
use convrec_services::ChatModel;
use serde_json::{Value, json};

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn write(path: PathBuf, lines: &[Value]) -> PathBuf {
    std::fs::write(
        &path,
        lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>(),
    )
    .unwrap();
    path
}

/// A line of a file of results, as the provider writes it.
fn result(line: &Value) -> Value {
    let content = echo(prompt(&line["body"]));
    let choice = json!({ "index": 0, "message": { "role": "assistant", "content": content }, "finish_reason": "stop" });
    let body =
        json!({ "choices": [choice], "usage": { "prompt_tokens": 7, "completion_tokens": 5 } });
    let response = json!({ "status_code": 200, "request_id": "r", "body": body });
    json!({ "id": "batch_1", "custom_id": line["custom_id"], "response": response, "error": null })
}

#[test]
fn what_is_missing_goes_out_and_comes_back() {
    let (folder, ledger) = new_ledger();
    let writer = BatchWriter::new(chat_settings(), ledger.clone()).unwrap();
    let asked = requests(10);
    // The request is asked twice, as a teacher and a judge may ask, and written once.
    for _ in 0..2 {
        let answers = writer.answer(&asked, &|_| ());
        assert!(answers.iter().all(|answer| {
            answer
                .as_ref()
                .is_err_and(|e| e.to_string().contains("batch file"))
        }));
    }
    let out = folder.path().join("batch");
    let files = writer
        .write(
            &out,
            BatchLimits {
                requests: 4,
                ..BatchLimits::default()
            },
        )
        .unwrap()
        .written;
    assert_eq!(
        files
            .iter()
            .map(|file| lines(file).len())
            .collect::<Vec<_>>(),
        [4, 4, 2]
    );
    assert!(files[2].ends_with("requests-0003.jsonl"));
    let sent: Vec<Value> = files.iter().flat_map(|file| lines(file)).collect();
    assert!(
        sent.iter()
            .all(|line| line["method"] == "POST" && line["url"] == "/v1/chat/completions")
    );
    assert!(
        sent.iter()
            .all(|line| line["body"]["max_tokens"] == 64 && line["body"]["model"] == "test-model")
    );

    // The first fails at first, the second is forgotten, the third comes twice, and there is one
    // that nobody asked for.
    let failure = json!({ "status_code": 400, "body": { "error": { "message": "too long" } } });
    let failure = json!({ "custom_id": sent[0]["custom_id"], "response": failure, "error": null });
    let expired = json!({ "code": "batch_expired", "message": "too late" });
    let expired = json!({ "custom_id": sent[3]["custom_id"], "response": null, "error": expired });
    let mut back: Vec<Value> = sent[4..].iter().map(result).collect();
    back.extend([
        result(&sent[2]),
        result(&sent[2]),
        json!({ "custom_id": "other", "response": null, "error": "x" }),
    ]);
    let results = write(folder.path().join("results.jsonl"), &back);
    let errors = write(folder.path().join("errors.jsonl"), &[failure, expired]);
    let report = read_results(&ledger, &files, &[results.clone(), errors.clone()]).unwrap();
    assert_eq!(
        (report.kept, report.repeated, report.unknown.len()),
        (7, 1, 1)
    );
    let key = |line: &Value| line["custom_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(report.missing, [key(&sent[1])]);
    assert_eq!(
        report
            .failed
            .iter()
            .map(|(key, _)| *key)
            .collect::<Vec<_>>(),
        [key(&sent[0]), key(&sent[3])]
    );
    assert!(report.failed[0].1.contains("status 400") && report.failed[1].1.contains("too late"));
    assert!(
        report
            .to_string()
            .starts_with("7 answers kept, 1 repeated, 2 failed (the first: "),
        "{report}"
    );
    let kept = ledger.get(&key(&sent[4])).unwrap().unwrap();
    assert_eq!(
        (kept.model.as_str(), kept.tokens.input, kept.tokens.output),
        ("test-model", 7, 5)
    );

    // The rest comes later. Earlier results are not taken twice.
    let rest = write(
        folder.path().join("rest.jsonl"),
        &sent[..4].iter().map(result).collect::<Vec<_>>(),
    );
    let report = read_results(&ledger, &files, &[results, errors, rest]).unwrap();
    assert_eq!(
        (report.kept, report.failed.len(), report.missing.len()),
        (3, 0, 0)
    );
    for (request, answer) in asked.iter().zip(writer.answer(&asked, &|_| ())) {
        assert_eq!(answer.unwrap().text, echo(&request.turns[0].content));
    }
    assert!(
        writer
            .write(folder.path().join("nothing"), BatchLimits::default())
            .unwrap()
            .written
            .is_empty()
    );
}

#[test]
fn several_rounds_go_through_one_folder() {
    let (folder, ledger) = new_ledger();
    let out = folder.path().join("batch");
    // Each round asks the requests of the round before, and more. The last asks nothing new.
    let mut all = Vec::new();
    for (round, (asked, new, skipped)) in [(4, 4, 0), (6, 2, 2), (6, 0, 4)].into_iter().enumerate()
    {
        // The same happens in another run.
        let writer = BatchWriter::new(chat_settings(), ledger.clone()).unwrap();
        writer.answer(&requests(asked), &|_| ());
        let files = writer
            .write(
                &out,
                BatchLimits {
                    requests: 3,
                    ..BatchLimits::default()
                },
            )
            .unwrap();
        let sent: Vec<Value> = files.written.iter().flat_map(|file| lines(file)).collect();
        assert_eq!((sent.len(), files.skipped), (new, skipped), "round {round}");
        all.extend(files.written);
        if round == 0 {
            // Two are answered, one fails, one does not come back: the last two may not be asked
            // twice.
            let failure =
                json!({ "custom_id": sent[2]["custom_id"], "response": null, "error": "too late" });
            let back = write(
                folder.path().join("back.jsonl"),
                &[result(&sent[0]), result(&sent[1]), failure],
            );
            assert_eq!(read_results(&ledger, &all, &[back]).unwrap().kept, 2);
        }
    }
    let names: Vec<_> = all
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "requests-0001.jsonl",
            "requests-0002.jsonl",
            "requests-0003.jsonl"
        ]
    );
    let mut ids: Vec<String> = all
        .iter()
        .flat_map(|file| lines(file))
        .map(|line| line["custom_id"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    // Another folder asks again for requests without an answer.
    let writer = BatchWriter::new(chat_settings(), ledger.clone()).unwrap();
    writer.answer(&requests(6), &|_| ());
    let other = writer
        .write(folder.path().join("other"), BatchLimits::default())
        .unwrap();
    assert_eq!((lines(&other.written[0]).len(), other.skipped), (4, 0));
}

#[test]
fn a_live_model_finds_what_a_batch_brought() {
    let server = common::TestServer::start(common::echoed);
    let (folder, ledger) = new_ledger();
    let writer = BatchWriter::new(chat_settings(), ledger.clone()).unwrap();
    writer.answer(&requests(5), &|_| ());
    let files = writer
        .write(folder.path().join("batch"), BatchLimits::default())
        .unwrap()
        .written;
    let back: Vec<Value> = lines(&files[0]).iter().map(result).collect();
    read_results(
        &ledger,
        &files,
        &[write(folder.path().join("results.jsonl"), &back)],
    )
    .unwrap();
    let model = common::model(common::quick(&server), &ledger);
    assert!(common::ask(&model, &requests(6)).iter().all(Result::is_ok));
    assert_eq!((server.requests(), model.usage().from_ledger), (1, 5));
}

#[test]
fn wrong_files_are_named() {
    let (folder, ledger) = new_ledger();
    let writer = BatchWriter::new(chat_settings(), ledger.clone()).unwrap();
    writer.answer(&requests(3), &|_| ());
    let small = BatchLimits {
        bytes: 100,
        ..BatchLimits::default()
    };
    assert!(
        writer
            .write(folder.path(), small)
            .unwrap_err()
            .to_string()
            .contains("expected at most 100")
    );
    // A request has about 200 bytes, so two fit.
    let sized = BatchLimits {
        bytes: 500,
        ..BatchLimits::default()
    };
    let files = writer.write(folder.path(), sized).unwrap().written;
    assert_eq!(files.len(), 2);
    assert!(
        files
            .iter()
            .all(|file| std::fs::metadata(file).unwrap().len() <= 500)
    );

    let error = |results: &[Value], requests: &[PathBuf]| {
        let results = write(folder.path().join("results.jsonl"), results);
        read_results(&ledger, requests, &[results])
            .unwrap_err()
            .to_string()
    };
    let ok = result(&lines(&files[0])[0]);
    let text = error(&[ok.clone(), json!({ "custom_id": 3 })], &files);
    assert!(
        text.contains("results.jsonl, line 2, field `custom_id`"),
        "{text}"
    );
    let text = error(
        &[json!({ "custom_id": "x", "response": null, "error": null })],
        &files,
    );
    assert!(text.contains("neither a response nor an error"), "{text}");
    let mut changed = lines(&files[0]);
    changed[0]["body"]["max_tokens"] = 1.into();
    let changed = write(folder.path().join("changed.jsonl"), &changed);
    let text = error(&[ok], &[changed]);
    assert!(
        text.contains("changed.jsonl: the request") && text.contains("was changed"),
        "{text}"
    );
    assert!(ledger.is_empty());
}
