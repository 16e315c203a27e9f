//! New weights and catalogs while requests go on.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use convrec_policy::{ModelConfig, Policy, SaveOptions};
use serde_json::{Value, json};

use crate::common::*;

fn list(serving: &convrec_serve::Serving) -> Value {
    let body = json!({ "messages": [{ "role": "user", "content": "Something good?" }] });
    let answer = post(serving, "/v1/recommend", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    // Scores are the same to rounding.
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item["name"].clone()).collect()
}

fn draw(serving: &convrec_serve::Serving) -> Value {
    let body =
        json!({ "prompt": [5, 6], "n": 4, "seed": 1, "max_tokens": 12, "return_token_ids": true });
    post(serving, "/v1/completions", &body).json()["choices"].clone()
}

fn save(seed: u64, folder: &Path) {
    policy(seed)
        .save_folder(folder, &SaveOptions::default())
        .unwrap();
}

#[test]
fn a_bad_folder_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let serving = start_below(1, root.path(), Some(catalog()));
    let before = (draw(&serving), list(&serving));
    let path = |name: &str| root.path().join(name);
    let wide = ModelConfig::small(262, 64, 2, 2);
    let wide = Policy::new(&wide, 1, &Device::flex()).unwrap();
    wide.save_folder(path("wide"), &SaveOptions::default())
        .unwrap();
    save(2, &path("cut"));
    let weights = path("cut").join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 1000]).unwrap();
    save(2, &path("huge"));
    let mut huge = bytes.clone();
    huge[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    std::fs::write(path("huge").join("model.safetensors"), huge).unwrap();
    save(2, outside.path());
    let mut cases = vec![
        (
            json!({ "path": path("wide") }),
            400,
            "a model of another shape",
        ),
        (json!({ "path": path("none") }), 400, "field `path`"),
        (json!({ "path": path("cut") }), 400, "field `path`"),
        (json!({ "path": path("huge") }), 400, "field `path`"),
        (json!({ "path": root.path() }), 400, "config.json"),
        (
            json!({ "path": outside.path() }),
            403,
            "expected something below",
        ),
        (
            json!({ "path": path("wide").join("../../") }),
            403,
            "expected something below",
        ),
        (json!({ "path": "a\u{0}b" }), 400, "field `path`"),
        (
            json!({ "catalog": path("wide").join("config.json") }),
            400,
            "field `catalog`",
        ),
        (
            json!({ "remove": ["Heet (1995)"] }),
            400,
            "the nearest items are \"Heat (1995)\"",
        ),
        (json!({ "remove": [0] }), 400, "field `remove[0]`"),
        (
            json!({ "add": [{ "title": "Heat", "year": 1995 }] }),
            400,
            "both",
        ),
        (
            json!({ "remove": ["Heat (1995)", "Up (2009)", "Her (2013)", "Alien (1979)"] }),
            400,
            "field `catalog`",
        ),
        (json!({ "weights": "x" }), 400, "weights"),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(outside.path(), path("link")).unwrap();
        cases.push((
            json!({ "path": path("link") }),
            403,
            "expected something below",
        ));
        // A pipe would wait for a writer.
        save(2, &path("pipe"));
        let weights = path("pipe").join("model.safetensors");
        std::fs::remove_file(&weights).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&weights)
                .status()
                .unwrap()
                .success()
        );
        cases.push((json!({ "path": path("pipe") }), 400, "not a regular file"));
        cases.push((
            json!({ "catalog": weights }),
            400,
            "expected a file or a folder on disk",
        ));
    }
    for (body, status, part) in cases {
        let answer = operate(&serving, "/admin/reload", &body);
        assert!(
            answer.status == status && answer.message().contains(part),
            "{body}: {} {}",
            answer.status,
            answer.body
        );
        assert!(!answer.message().contains("/proc/"), "{}", answer.message());
        assert_eq!((draw(&serving), list(&serving)), before, "{body}");
    }
    serving.stop().unwrap();
}

#[test]
fn items_come_and_go() {
    let root = tempfile::tempdir().unwrap();
    let serving = start_below(1, root.path(), Some(catalog()));
    let reload = |body: Value| {
        let answer = operate(&serving, "/admin/reload", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    let only = |name: &str| {
        let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "only": [name] });
        post(&serving, "/v1/recommend", &body)
    };
    let film = json!({ "title": "Dune", "year": 2021, "genres": ["Science Fiction"] });
    let answer = reload(json!({ "add": [film], "remove": ["Heat (1995)"] }));
    assert_eq!(
        (&answer["version"], &answer["items"]),
        (&json!(2), &json!(5))
    );
    assert_eq!(
        only("Dune (2021)").json()["items"][0]["name"],
        "Dune (2021)"
    );
    assert_eq!(only("Heat (1995)").status, 400);
    let file = root.path().join("films.jsonl");
    std::fs::write(
        &file,
        "{\"title\": \"Ran\", \"year\": 1985}\n{\"title\": \"Ikiru\", \"year\": 1952}\n",
    )
    .unwrap();
    reload(json!({ "catalog": file }));
    let names = list(&serving);
    let mut names: Vec<&str> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["Ikiru (1952)", "Ran (1985)"]);
    assert_eq!(get(&serving, "/ready").json()["version"], 3);
    serving.stop().unwrap();
}

/// Every answer is wholly of one version, and none is lost.
#[test]
fn requests_under_way_finish_on_what_they_began_with() {
    let root = tempfile::tempdir().unwrap();
    let folders = [root.path().join("one"), root.path().join("two")];
    save(1, &folders[0]);
    save(2, &folders[1]);
    let serving = start_below(1, root.path(), Some(catalog()));
    let expected = [draw(&serving), draw(&start(2, None))];
    assert_ne!(expected[0], expected[1]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = [0, 0];
                    while !over.load(Ordering::SeqCst) {
                        let found = draw(&serving);
                        let which = expected.iter().position(|one| *one == found);
                        seen[which.unwrap_or_else(|| panic!("{found}"))] += 1;
                    }
                    seen
                })
            })
            .collect();
        for turn in 1..=10 {
            let answer = operate(
                &serving,
                "/admin/reload",
                &json!({ "path": folders[turn % 2] }),
            );
            assert_eq!(answer.status, 200, "{}", answer.body);
            // It says so once they are in use.
            assert_eq!(draw(&serving), expected[turn % 2]);
        }
        over.store(true, Ordering::SeqCst);
        let seen: Vec<[usize; 2]> = asking
            .into_iter()
            .map(|asking| asking.join().unwrap())
            .collect();
        assert!(
            seen.iter().all(|counts| counts.iter().sum::<usize>() > 0),
            "{seen:?}"
        );
    });
    serving.stop().unwrap();
}
