//! Models whose items are semantic ids: trained, kept, served, and refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_config::{Layer, Layers};
use convrec_core::{CatalogItem, Demonstration, Example, Item, ItemId, Turn};
use convrec_text::TrieError;
use convrec_train::{
    Language, Model, ModelError, RlData, RlSettings, RunError, Runner, SftData, SftSettings,
    StepView, Task, semantic_ids,
};

const ITEMS: usize = 40;

fn film(n: usize) -> CatalogItem {
    CatalogItem {
        title: format!("Film {n}"),
        year: Some(1960 + n as i32),
        genres: vec![["crime", "space", "love", "war"][n % 4].to_string()],
        metadata: format!("by director {}", n % 10),
    }
}

fn catalog(items: usize) -> Catalog {
    Catalog::new((0..items).map(film).collect()).unwrap()
}

/// After a film people accept the next one of its genre, and lists begin with it.
fn demonstrations() -> Vec<Demonstration> {
    let next = |n: usize, step: usize| film((n + 4 * step) % ITEMS).item();
    let demonstration = |n: usize| Demonstration {
        example: Example {
            id: format!("d{n}-1"),
            dialog: vec![Turn::user("another one?")],
            seen: vec![film(n).item()],
            ground_truth: vec![next(n, 1)],
        },
        list: (1..=3).map(|step| next(n, step)).collect(),
    };
    (0..ITEMS).map(demonstration).collect()
}

fn examples() -> Vec<Example> {
    demonstrations().into_iter().map(|x| x.example).collect()
}

fn layers(folder: &Path, text: &str, more: &str) -> Layers {
    let text = format!("{text}\n[run]\nfolder = {folder:?}\nevaluate_every = 0\n");
    Layers::new([text.as_str(), more].map(|x| Layer::parse(x, Path::new("run.toml")).unwrap()))
}

const SFT: &str = "max_steps = STEPS\nbatch_size = 20\nconstrained = true\n\
    [optimizer]\nlearning_rate = 0.01\n\
    [decoder]\nsemantic_ids = true\nwidth = 32\nlayers = 1\nheads = 2\nvocabulary = 300\n";

fn sft(folder: &Path, steps: usize, more: &str) -> Result<Runner, RunError> {
    let text = SFT.replace("STEPS", &steps.to_string());
    let settings = SftSettings::resolve(layers(folder, &text, more), Some(ITEMS)).unwrap();
    let data = SftData {
        catalog: catalog(ITEMS),
        demonstrations: demonstrations(),
        validation: vec![],
    };
    Runner::sft(settings, data, &[Device::flex()])
}

fn run(runner: Runner) {
    runner.run(&mut |_: &StepView<'_>| ()).unwrap();
}

/// The share of conversations whose first item is the accepted one. Every list is checked.
fn hits(model: &Model) -> f64 {
    let recommender = model.recommender(catalog(ITEMS)).unwrap();
    let mut hits = 0;
    for example in examples() {
        let seen = recommender.task().catalog().seen_ids(&example.seen);
        let list = recommender.recommend(&example.dialog, &seen, 3).unwrap();
        let items: BTreeSet<ItemId> = list.iter().map(|best| best.id).collect();
        assert!(items.len() == 3 && items.is_disjoint(&seen.iter().copied().collect()));
        hits += usize::from(list[0].item == example.ground_truth[0]);
    }
    hits as f64 / ITEMS as f64
}

#[test]
fn a_model_learns_its_items_by_codes_and_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let (sft_folder, rl_folder) = (folder.path().join("sft"), folder.path().join("rl"));
    let runner = sft(&sft_folder, 150, "").unwrap();
    let told: Vec<_> = runner
        .facts()
        .iter()
        .filter(|(name, _)| *name == "semantic ids")
        .collect();
    assert!(told[0].1.contains("for 40 items, 3 an item"), "{told:?}");
    run(runner);
    let model = Model::load(&sft_folder, &Device::flex()).unwrap();
    let (tokens, ids) = (
        &model.language.tokenizer,
        model.language.semantic_ids.as_ref().unwrap(),
    );
    // Seven codes a level at most, and not a token for each item.
    assert!(
        ids.len() == ITEMS && ids.tokens().len() <= 3 * 7 + 7,
        "{:?}",
        ids.tokens()
    );
    assert!(
        ids.tokens()
            .iter()
            .all(|token| tokens.special_id(token).is_ok())
    );
    let learned = hits(&model);
    assert!(learned > 0.5, "{learned}");

    // What is judged and shown are items, not codes.
    let task = model.task(catalog(ITEMS)).unwrap();
    let pair = task.pair(&demonstrations()[0]).unwrap();
    let answer = task.answer(&task.sample(&examples()[0]).unwrap(), &pair.completion);
    assert_eq!(
        answer.text,
        "Film 4 (1964)\nFilm 8 (1968)\nFilm 12 (1972)\n"
    );
    assert_eq!(answer.items, [4, 8, 12].map(|n| Some(ItemId(n))));
    let of_first = answer
        .segments
        .ranks
        .iter()
        .filter(|rank| **rank == 0)
        .count();
    assert_eq!(
        pair.accepted.iter().filter(|is_right| **is_right).count(),
        of_first
    );

    // Reinforcement learning goes on with the same items.
    let text = format!(
        "max_steps = 2\nprompts_per_step = 4\nnum_generations = 4\n[files]\nmodel = {sft_folder:?}"
    );
    let settings =
        RlSettings::resolve(layers(&rl_folder, &text, ""), None, &model.language).unwrap();
    let data = RlData {
        catalog: catalog(ITEMS),
        conversations: examples(),
        validation: vec![],
        blocklist: vec![],
    };
    run(Runner::rank_grpo(settings, data, &[Device::flex()]).unwrap());
    let trained = Model::load(&rl_folder, &Device::flex()).unwrap();
    assert_eq!(trained.language.semantic_ids, model.language.semantic_ids);
    assert!(hits(&trained) > 0.5);
}

#[test]
fn a_run_that_is_cut_goes_on_with_its_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (cut, whole) = (folder.path().join("cut"), folder.path().join("whole"));
    run(sft(&whole, 4, "").unwrap());
    let stopped = sft(&cut, 4, "[run]\nstop_after = 2").unwrap();
    stopped.run(&mut |_: &StepView<'_>| ()).unwrap_err();
    run(sft(&cut, 4, "[run]\nresume = true").unwrap());
    for name in ["model.safetensors", "semantic_ids.jsonl", "tokenizer.json"] {
        let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
        assert!(read(&cut) == read(&whole), "{name}");
    }
    // Other codes are another run.
    let stopped = sft(&cut, 4, "[run]\nstop_after = 2").unwrap();
    stopped.run(&mut |_: &StepView<'_>| ()).unwrap_err();
    let other = sft(
        &cut,
        4,
        "[decoder]\nsemantic_levels = 2\n[run]\nresume = true",
    )
    .unwrap();
    let error = other
        .run(&mut |_: &StepView<'_>| ())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the checkpoint is of another run"),
        "{error}"
    );
}

fn language() -> Language {
    let folder = tempfile::tempdir().unwrap();
    run(sft(folder.path(), 1, "").unwrap());
    Language::load(folder.path()).unwrap()
}

#[test]
fn catalogs_may_lose_items_and_not_gain_them() {
    let language = language();
    let task = language.task(catalog(ITEMS - 5)).unwrap();
    assert_eq!(task.catalog().len(), ITEMS - 5);
    let error = language.task(catalog(ITEMS + 2)).unwrap_err();
    let ModelError::Trie(problem) = &error else {
        panic!("{error}")
    };
    assert!(matches!(
        problem,
        TrieError::NoSemanticId {
            missing: 2,
            all: 42,
            ..
        }
    ));
    let said = error.to_string();
    assert!(said.starts_with("2 of 42 items have no semantic id, \"Film 40 (2000)\" first"));
    let error = language
        .unconstrained_task(catalog(ITEMS))
        .unwrap_err()
        .to_string();
    assert!(error.contains("without `--unconstrained`"), "{error}");
}

/// An item that another one stands for needs no codes, as no list may hold it.
/// Only the file that was written with the weights will do.
#[test]
fn a_file_that_is_not_the_models_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(sft(folder.path(), 1, "").unwrap());
    let path = folder.path().join("semantic_ids.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let error = |text: &str| {
        fs::write(&path, text).unwrap();
        let error = Language::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("semantic_ids.jsonl: "), "{error}");
        error
    };
    let (first, rest) = text.split_once('\n').unwrap();
    let other = |codes: &str| {
        let (item, _) = first.split_once("\"codes\":").unwrap();
        format!("{item}\"codes\":{codes}}}\n")
    };
    let words = error(&format!("{text}{}", other("[0,0,0,0,0,0]")));
    assert!(words.contains("no token `<5:0>`"), "{words}");
    let words = error(&format!("{}{rest}", other("[900,0,0]")));
    assert!(words.contains("the code 900 at place 1"), "{words}");
    let words = error(&format!("{text}{first}\n"));
    assert!(
        words.contains("begin those of \"Film 0 (1960)\""),
        "{words}"
    );
    fs::remove_file(&path).unwrap();
    let words = Language::load(folder.path()).unwrap_err().to_string();
    assert!(words.contains("semantic_ids.jsonl: not there"), "{words}");
    fs::write(&path, &text).unwrap();
    Language::load(folder.path()).unwrap();
}

#[test]
fn twins_and_tries_in_files() {
    let language = language();
    let mut items: Vec<CatalogItem> = (0..ITEMS).map(film).collect();
    items.push(CatalogItem {
        year: None,
        ..film(3)
    });
    let merged = Catalog::new(items).unwrap().merge_twins();
    assert_eq!(merged.aliases(), [ItemId(ITEMS as u32)]);
    let task = language.task(merged).unwrap();
    let lists = |task: &Task| {
        let mut cursor = task.list_cursor(3, &[ItemId(5)], None).unwrap().unwrap();
        while let Some(token) = cursor.allowed().last().copied() {
            cursor.push(token);
        }
        cursor.items().to_vec()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lists.trie");
    let made = task.clone().constrained_by_file(&path).unwrap();
    let written = fs::read(&path).unwrap();
    let opened = task.clone().constrained_by_file(&path).unwrap();
    assert_eq!((lists(&made), lists(&opened)), (lists(&task), lists(&task)));
    assert!(fs::read(&path).unwrap() == written);
}

fn safetensors(path: &Path, rows: &[Vec<f32>]) {
    let (n, width) = (rows.len(), rows[0].len());
    let end = 4 * n * width;
    let head = format!(
        "{{\"embeddings\":{{\"dtype\":\"F32\",\"shape\":[{n},{width}],\"data_offsets\":[0,{end}]}}}}"
    );
    let head = format!("{head:<128}");
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(head.as_bytes());
    bytes.extend(rows.iter().flatten().flat_map(|x| x.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

#[test]
fn codes_come_from_embeddings_where_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("items.safetensors");
    let files = format!("[files]\nitem_embeddings = {path:?}");
    // Five groups of equal vectors.
    let row = |n: usize| (0..5).map(|k| if n % 5 == k { 1.0 } else { 0.0 }).collect();
    let rows: Vec<Vec<f32>> = (0..ITEMS).map(row).collect();
    safetensors(&path, &rows);
    let out = folder.path().join("run");
    run(sft(&out, 1, &files).unwrap());
    let ids = Language::load(&out).unwrap().semantic_ids.unwrap();
    let codes: Vec<&[u32]> = ids.iter().map(|(_, codes)| codes).collect();
    for (n, own) in codes.iter().enumerate() {
        let same = |other: usize| codes[other][..3] == own[..3];
        assert!(
            (0..ITEMS).all(|other| same(other) == (n % 5 == other % 5)),
            "{codes:?}"
        );
    }
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), ITEMS);

    safetensors(&path, &rows[1..]);
    let error = sft(&out, 1, &files).unwrap_err().to_string();
    assert!(
        error.contains("`files.item_embeddings`") && error.contains("has 39 rows"),
        "{error}"
    );
    safetensors(&path, &vec![vec![2.0, 0.0]; ITEMS]);
    let error = sft(&out, 1, &files).unwrap_err().to_string();
    assert!(
        error.contains("row 0 (from 0)") && error.contains("items.safetensors"),
        "{error}"
    );
    fs::write(&path, "none").unwrap();
    let error = sft(&out, 1, &files).unwrap_err().to_string();
    assert!(error.contains("is no safetensors file"), "{error}");
}

#[test]
fn the_same_catalog_has_the_same_ids() {
    let ids = |seed| semantic_ids(&catalog(ITEMS), &demonstrations(), None, [3, 256], seed);
    assert_eq!(ids(0), ids(0));
    assert_ne!(ids(0), ids(1));
    let codes = |item: &Item| ids(0).iter().find(|(x, _)| *x == item).unwrap().1.to_vec();
    // Every item has its own.
    let all: BTreeSet<Vec<u32>> = (0..ITEMS).map(|n| codes(&film(n).item())).collect();
    assert_eq!(all.len(), ITEMS);
}
