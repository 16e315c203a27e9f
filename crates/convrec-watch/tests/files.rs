//! The files of a run's folder are written, cut off, resumed, read and followed.

use std::fs;
use std::io::Write;
use std::path::Path;

use convrec_watch::{
    CompletionRecord, Completions, Follow, Journal, ListedItem, Log, Record, StepView, Timing,
    Trouble, WatchConfig, completions, log, step,
};
use serde_json::json;

fn record(step: usize) -> Record {
    let record = json!({ "step": step, "loss": 1.0 / step as f64, "rank_relevance": [0.5, 0.25] });
    record.as_object().unwrap().clone()
}

fn steps(records: &[Record]) -> Vec<usize> {
    records.iter().map(|record| step(record).unwrap()).collect()
}

/// All files of a folder with their contents.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries
        .filter(|path| path.is_file())
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_string(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    all.sort();
    all
}

fn write(folder: &Path, from: usize, to: usize) {
    let mut log = Log::rotating(folder, from, 4).unwrap();
    (from + 1..=to).for_each(|step| log.append(&record(step)).unwrap());
}

fn append(path: &Path, text: &str) {
    fs::File::options()
        .append(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

#[test]
fn a_resumed_run_writes_the_same_files() {
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), 0, 11);
    let names: Vec<String> = contents(whole.path())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["log-000005.jsonl", "log-000009.jsonl", "log.jsonl"]);
    assert_eq!(
        steps(&log::read(whole.path()).unwrap()),
        (1..=11).collect::<Vec<_>>()
    );
    for cut in 0..=11 {
        for resumed_at in 0..=cut {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), 0, cut);
            let last = log::read(folder.path()).unwrap().len().saturating_sub(1) / 4 * 4 + 1;
            let name = if last == 1 {
                "log.jsonl".into()
            } else {
                format!("log-{last:06}.jsonl")
            };
            append(&folder.path().join(name), "{\"step\": 9");
            assert_eq!(
                steps(&log::read(folder.path()).unwrap()).len(),
                cut,
                "the cut line is left out"
            );
            write(folder.path(), resumed_at, 11);
            assert_eq!(
                contents(folder.path()),
                contents(whole.path()),
                "cut at {cut}, resumed at {resumed_at}"
            );
        }
    }
}

#[test]
fn errors_name_the_file_and_the_line() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0, 6);
    let path = folder.path().join("log-000005.jsonl");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replacen("{", "<", 1)).unwrap();
    let error = log::read(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("log-000005.jsonl, line 1") && error.contains("mend the line"),
        "{error}"
    );
    // A run goes on without the line, which is set aside.
    drop(Log::rotating(folder.path(), 6, 4).unwrap());
    let aside = fs::read_to_string(folder.path().join("log-damaged.txt")).unwrap();
    assert!(aside.starts_with('<'), "{aside}");
    fs::write(&path, good).unwrap();
    let error = Log::rotating(folder.path(), 6, 5).unwrap_err().to_string();
    assert!(
        error.contains("line 1") && error.contains("5 steps"),
        "{error}"
    );
    let mut log = Log::rotating(folder.path(), 6, 4).unwrap();
    assert!(
        Log::rotating(folder.path(), 6, 4)
            .unwrap_err()
            .to_string()
            .contains("in use")
    );
    let error = log.append(&Record::new()).unwrap_err().to_string();
    assert!(error.contains("step"), "{error}");
    let nothing = tempfile::tempdir().unwrap();
    assert!(
        log::read(nothing.path())
            .unwrap_err()
            .to_string()
            .contains("holds no log")
    );
}

#[test]
fn logs_of_trl_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let state = r#"{"log_history": [{"step": 10, "loss": NaN, "kl": 0.1}, {"step": 10, "eval_loss": 2.5}]}"#;
    fs::write(folder.path().join("trainer_state.json"), state).unwrap();
    let records = log::read(folder.path()).unwrap();
    assert_eq!(steps(&records), [10, 10]);
    assert!(records[0]["loss"].is_null() && records[1]["eval_loss"] == 2.5);
    assert_eq!(
        log::read(folder.path().join("trainer_state.json")).unwrap(),
        records
    );
}

#[test]
fn a_log_is_followed_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut follow = Follow::new(&run);
    assert!(!log::exists(&run).unwrap());
    assert!(follow.poll().unwrap().records.is_empty());
    let mut seen = Vec::new();
    let mut log = Log::rotating(&run, 0, 4).unwrap();
    for step in 1..=10 {
        log.append(&record(step)).unwrap();
        if step % 3 == 0 {
            let news = follow.poll().unwrap();
            assert!(!news.restarted);
            seen.extend(steps(&news.records));
        }
    }
    drop(log);
    assert!(log::exists(&run).unwrap());
    let last = run.join("log-000009.jsonl");
    append(&last, "{\"step\":11,");
    seen.extend(steps(&follow.poll().unwrap().records));
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    append(&last, "\"loss\":1}\n<\n");
    for _ in 0..2 {
        let error = follow.poll().unwrap_err().to_string();
        assert!(error.contains("log-000009.jsonl, line 4"), "{error}");
    }
}

#[test]
fn who_follows_hears_of_a_restart() {
    for resumed_at in [9, 6, 3, 0] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 0, 10);
        let mut follow = Follow::new(folder.path());
        assert_eq!(follow.poll().unwrap().records.len(), 10);
        drop(Log::rotating(folder.path(), resumed_at, 4).unwrap());
        let news = follow.poll().unwrap();
        assert!(news.restarted, "{resumed_at}");
        assert_eq!(news.records.len(), resumed_at);
        write(folder.path(), resumed_at, 10);
        let news = follow.poll().unwrap();
        assert_eq!(
            (news.restarted, news.records.len()),
            (false, 10 - resumed_at)
        );
    }
}

fn completion(step: usize) -> CompletionRecord {
    let item = ListedItem {
        name: "Heat (1995)".into(),
        in_catalog: true,
        hit: step.is_multiple_of(2),
    };
    CompletionRecord {
        step,
        id: "a-1".into(),
        items: vec![item],
        ended: true,
        ..CompletionRecord::default()
    }
}

#[test]
fn the_first_and_the_newest_completions_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept = || {
        completions::kept(folder.path())
            .unwrap()
            .into_iter()
            .map(|(step, _)| step)
            .collect::<Vec<_>>()
    };
    let table = Completions::open(folder.path(), 0, 3).unwrap();
    (1..=6).for_each(|n| {
        table
            .write(n * 10, &[completion(n * 10), completion(n)])
            .unwrap()
    });
    assert_eq!(kept(), [10, 40, 50, 60]);
    // A process was killed while it wrote.
    std::fs::write(folder.path().join("completions/.part-Ab12Cd"), "{").unwrap();
    let table = Completions::open(folder.path(), 55, 3).unwrap();
    assert!(!folder.path().join("completions/.part-Ab12Cd").exists());
    assert_eq!(kept(), [10, 40, 50]);
    (6..=8).for_each(|n| table.write(n * 10, &[completion(n * 10)]).unwrap());
    assert_eq!(kept(), [10, 60, 70, 80]);
    let path = folder.path().join("completions/step-000010.jsonl");
    assert_eq!(
        completions::read(&path).unwrap(),
        [completion(10), completion(1)]
    );
    append(&path, "{\"step\": \"x\"}\n");
    assert!(
        completions::read(&path)
            .unwrap_err()
            .to_string()
            .contains("step-000010.jsonl, line 3")
    );
}

#[test]
fn a_journal_records_a_run_and_stops_an_ill_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = || Some(folder.path().to_path_buf());
    let config = WatchConfig {
        completions_every: 5,
        tensorboard: true,
        ..WatchConfig::default()
    };
    let timing = Timing {
        seconds: 1.0,
        rollout_seconds: 0.5,
        tokens: 100,
    };
    let unhealthy = |step: usize| {
        let mut record = record(step);
        if step > 11 {
            record.insert("loss".into(), json!(f64::NAN));
        }
        record
    };
    let go =
        |journal: &mut Journal, steps: std::ops::RangeInclusive<usize>| -> Result<(), Trouble> {
            for step in steps {
                let completions = if journal.wants_completions(step) {
                    vec![completion(step)]
                } else {
                    vec![]
                };
                journal.step(&StepView {
                    record: &unhealthy(step),
                    completions: &completions,
                    timing,
                    total_steps: 20,
                })?;
            }
            Ok(())
        };
    let mut journal = Journal::open(run(), 0, config.clone()).unwrap();
    let trouble = go(&mut journal, 1..=20).unwrap_err();
    assert!(
        matches!(&trouble, Trouble::Unhealthy(diagnosis) if diagnosis.last == 13),
        "{trouble}"
    );
    assert_eq!(
        log::read(folder.path()).unwrap().len(),
        13,
        "the unhealthy step is in the log"
    );
    drop(journal);
    let before = log::read(folder.path()).unwrap();
    // A run that is resumed from step 10 comes to the same end, as the doctor was shown the log.
    let mut journal = Journal::open(run(), 10, config.clone()).unwrap();
    assert!(
        matches!(go(&mut journal, 11..=20).unwrap_err(), Trouble::Unhealthy(diagnosis) if diagnosis.last == 13)
    );
    assert_eq!(log::read(folder.path()).unwrap(), before);
    let steps: Vec<usize> = completions::kept(folder.path())
        .unwrap()
        .into_iter()
        .map(|(step, _)| step)
        .collect();
    assert_eq!(steps, [1, 5, 10]);
    assert_eq!(
        fs::read_to_string(folder.path().join("timing.jsonl"))
            .unwrap()
            .lines()
            .count(),
        16
    );
    assert_eq!(
        fs::read_dir(folder.path().join("tensorboard"))
            .unwrap()
            .count(),
        2,
        "one for each start"
    );
    // Without a folder nothing is written, and the doctor still checks every record.
    assert!(go(&mut Journal::open(None, 0, config).unwrap(), 1..=20).is_err());
}

/// Removing the log of a run does not stop it, and later steps are not lost with it.
#[test]
fn a_log_that_was_removed_goes_on_in_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path(), 0).unwrap();
    (1..=2).for_each(|step| log.append(&record(step)).unwrap());
    fs::remove_file(folder.path().join("log.jsonl")).unwrap();
    (3..=4).for_each(|step| log.append(&record(step)).unwrap());
    drop(log);
    assert_eq!(steps(&log::read(folder.path()).unwrap()), [3, 4]);
}

/// Damage in the middle of a log: a resumed run goes on from its checkpoint, and the damaged lines
/// are kept aside.
#[test]
fn a_run_is_resumed_whatever_was_damaged_in_its_log() {
    let line = |step| serde_json::to_string(&record(step)).unwrap() + "\n";
    for damage in [
        b"garbage\n".to_vec(),
        vec![0; 40].into_iter().chain(*b"\n").collect(),
        b"\xff\xfe{\n".to_vec(),
        [line(2).trim_end().as_bytes(), line(3).as_bytes()].concat(),
        line(2).as_bytes()[..9]
            .iter()
            .copied()
            .chain(*b"\n")
            .collect(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let bytes = [
            line(1).as_bytes(),
            &damage,
            line(4).as_bytes(),
            line(5).as_bytes(),
        ]
        .concat();
        fs::write(&path, &bytes).unwrap();
        let config = WatchConfig::default();
        let mut journal = Journal::open(Some(folder.path().into()), 4, config).unwrap();
        let view = StepView {
            record: &record(5),
            completions: &[],
            timing: Timing::default(),
            total_steps: 5,
        };
        journal.step(&view).unwrap();
        drop(journal);
        assert_eq!(steps(&log::read(folder.path()).unwrap()), [1, 4, 5]);
        assert_eq!(
            fs::read(folder.path().join("log-damaged.txt")).unwrap(),
            damage
        );
    }
}

/// A checkpoint has all that a run needs to go on: lines that the log lacks do not stop it.
#[test]
fn a_run_is_resumed_whatever_its_log_lacks() {
    for kept in [&[][..], &[1], &[1, 3], &[4]] {
        let folder = tempfile::tempdir().unwrap();
        let lines = kept
            .iter()
            .map(|step| serde_json::to_string(&record(*step)).unwrap() + "\n");
        let text: String = lines.collect();
        if !kept.is_empty() {
            fs::write(folder.path().join("log.jsonl"), text).unwrap();
        }
        let config = WatchConfig::default();
        let mut journal = Journal::open(Some(folder.path().into()), 4, config).unwrap();
        let view = StepView {
            record: &record(5),
            completions: &[],
            timing: Timing::default(),
            total_steps: 5,
        };
        journal.step(&view).unwrap();
        drop(journal);
        let expected = [kept, &[5]].concat();
        assert_eq!(steps(&log::read(folder.path()).unwrap()), expected);
    }
}
