//! Pages about runs.

use std::fs;
use std::path::Path;

use convrec_watch::report::{Line, Report, TrainingRun, page};
use convrec_watch::{
    CompletionRecord, DoctorConfig, Journal, ListedItem, Record, StepView, Timing, WatchConfig,
};
use serde_json::json;

fn record(step: usize, lift: f64) -> Record {
    let done = step as f64 / 100.0;
    let record = json!({
        "step": step, "loss": 1.0 - done, "reward": lift * done, "kl": 0.01 * done, "learning_rate": 1e-5,
        "grad_norm": 0.1, "rank_relevance": [0.3 + lift * done, 0.2], "eval_NDCG@10": 0.1, "<new>": step,
    });
    record.as_object().unwrap().clone()
}

/// A run of 100 steps with lists for one conversation.
fn write(folder: &Path, lift: f64) {
    let config = WatchConfig {
        completions_every: 50,
        ..WatchConfig::default()
    };
    let mut journal = Journal::open(Some(folder.into()), 0, config).unwrap();
    for step in 1..=100 {
        let item = |name: &str, hit| ListedItem {
            name: name.into(),
            in_catalog: !name.contains('?'),
            hit,
        };
        let items = vec![
            item("Heat <1995>", step > 50),
            item("Up?", false),
            item("Heat <1995>", false),
        ];
        let completion = CompletionRecord {
            step,
            id: "dialog-7".into(),
            items,
            ..CompletionRecord::default()
        };
        let view = StepView {
            record: &record(step, lift),
            completions: &[completion],
            timing: Timing {
                seconds: 3.0,
                rollout_seconds: 1.0,
                tokens: 33,
            },
            total_steps: 100,
        };
        journal.step(&view).unwrap();
    }
    let manifest = json!({ "run": { "optimizer": { "learning_rate": lift }, "seed": 7, "loss": { "kl": 0.001 } } });
    fs::create_dir(folder.join("checkpoint-000100")).unwrap();
    fs::write(
        folder.join("checkpoint-000100/manifest.json"),
        manifest.to_string(),
    )
    .unwrap();
}

#[test]
fn runs_are_compared_on_one_page() {
    let folder = tempfile::tempdir().unwrap();
    let runs = ["low", "high"].map(|name| folder.path().join(name));
    write(&runs[0], 0.1);
    write(&runs[1], 0.4);
    fs::write(
        runs[1].join("config.toml"),
        "[optimizer]\nname = \"adamw\"\n",
    )
    .unwrap();
    let runs = TrainingRun::read_all(&runs).unwrap();
    let report = page("Two runs", &runs, &DoctorConfig::default()).unwrap();
    let out = folder.path().join("report.html");
    report.write(&out).unwrap();
    let text = fs::read_to_string(&out).unwrap();
    let expected = [
        "Two runs",
        "low: 100 steps, high: 100 steps",
        "low: nothing.",
        "optimizer.learning_rate",
        "optimizer.name",
        "adamw",
        "<td>minutes</td><td>5.000</td>",
        "<td>tokens a second</td><td>11.00</td>",
        "dialog-7",
        "step 1",
        "step 100",
        "Heat &lt;1995&gt;",
        "Up? (not in the catalog)",
        "class=\"repeated\"",
        "class=\"relevant\"",
        "&lt;new&gt;",
    ];
    expected
        .iter()
        .for_each(|part| assert!(text.contains(part), "{part}"));
    assert!(
        !text.contains("<new>") && !text.contains("<1995>"),
        "texts are escaped, in charts too"
    );
    let curves = text.find("<svg").unwrap();
    assert!(
        curves < text.find("<table").unwrap(),
        "curves come before the table"
    );
    assert!(text.contains("prefers-color-scheme: dark"));
    assert!(
        !text.contains("<td>seed</td>"),
        "settings that agree are left out"
    );
    assert!(
        !text.contains("http")
            || text.matches("http").count() == text.matches("http://www.w3.org").count()
    );
    let plots = folder.path().join("plots");
    let n = report.write_plots(&plots).unwrap();
    assert_eq!(
        (n, fs::read_dir(&plots).unwrap().count()),
        (text.matches("<svg").count(), n)
    );
    assert!(
        fs::read_to_string(plots.join("loss.svg"))
            .unwrap()
            .starts_with("<svg")
    );
}

#[test]
fn a_single_run_shows_its_settings_and_diagnoses() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0.1);
    let mut run = TrainingRun::read(folder.path()).unwrap();
    run.records
        .iter_mut()
        .for_each(|record| drop(record.insert("grad_norm".into(), json!(0.0))));
    let report = page("One run", &[run], &DoctorConfig::default()).unwrap();
    let out = folder.path().join("report.html");
    report.write(&out).unwrap();
    let text = fs::read_to_string(&out).unwrap();
    for part in ["<td>seed</td>", "steps 1 to 100", "What to do"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn runs_without_a_penalty_measure_no_kl() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0.1);
    fs::write(
        folder.path().join("checkpoint-000100/manifest.json"),
        r#"{"run": {"loss": {"kl": null}}}"#,
    )
    .unwrap();
    let twice = TrainingRun::read_all(&[folder.path(), &folder.path().join("log.jsonl")]).unwrap();
    assert!(twice[0].curve("kl").is_empty());
    assert_eq!(
        twice[1].name,
        format!("{} 2", twice[0].name),
        "runs are told apart"
    );
    fs::write(folder.path().join("config.toml"), "seed = 1\nkl = = 2\n").unwrap();
    let error = TrainingRun::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("config.toml, line 2"), "{error}");
}

#[test]
fn small_and_constant_values_have_ticks_that_differ() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = Report::new("ticks", "");
    for (name, values) in [
        ("small", [1e-7, 3e-7, 2e-7]),
        ("constant", [0.25, 0.25, 0.25]),
    ] {
        let line = Line::of_values(name, &values);
        report.chart(name, "step", &[line]).unwrap();
    }
    report.write_plots(folder.path()).unwrap();
    let texts = |name: &str| -> Vec<String> {
        let svg = fs::read_to_string(folder.path().join(name)).unwrap();
        let texts = svg
            .split("</text>")
            .filter_map(|part| part.rsplit('>').next());
        texts.map(|text| text.trim().to_string()).collect()
    };
    let small = texts("small.svg");
    assert!(
        small.contains(&"1.0e-7".into()) && small.contains(&"2.0e-7".into()),
        "{small:?}"
    );
    let constant = texts("constant.svg");
    assert!(
        constant.contains(&"0.20".into()) || constant.contains(&"0.2".into()),
        "{constant:?}"
    );
}

#[test]
fn long_curves_are_thinned_and_empty_charts_left_out() {
    let line = Line::of_points(
        "long",
        (0..100_000)
            .map(|n| (f64::from(n), f64::from(n % 7)))
            .collect(),
    )
    .thinned(300);
    let mut report = Report::new("long", "");
    report.chart("nothing", "step", &[]).unwrap();
    report.chart("the same", "step", &[line]).unwrap();
    report
        .chart("the same", "step", &[Line::of_values("x", &[1.0])])
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(report.write_plots(folder.path()).unwrap(), 2);
    assert!(
        fs::metadata(folder.path().join("the-same.svg"))
            .unwrap()
            .len()
            < 30_000
    );
    assert!(folder.path().join("the-same-2.svg").exists());
}

/// Escape sequences of models and people never reach a page raw.
#[test]
fn a_page_holds_no_escape_sequences() {
    let bad = "Heat\u{1b}[2J\u{7}\u{202e}";
    let mut report = Report::new(bad, bad);
    report.section(bad, bad);
    report.chat(&[convrec_core::Turn::user(bad)]);
    report.note(bad);
    let marked = convrec_watch::report::Marked {
        text: bad.into(),
        relevant: true,
        repeated: false,
    };
    report.lists(&[(bad.to_string(), vec![marked])]);
    let mut table = convrec_watch::report::Table::new([bad, "b"]);
    table.row(bad, [bad.to_string()]);
    report.table(&table);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.html");
    report.write(&path).unwrap();
    let page = fs::read_to_string(path).unwrap();
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t' || c == '\u{202e}';
    assert!(!page.contains(is_harmful));
    assert!(page.contains("Heat\u{fffd}[2J\u{fffd}\u{fffd}"));
}
