//! `rerank`: a run in, the same documents out, in the policy's order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use convrec::burn::tensor::Device;
use convrec::core::{Candidates, CatalogItem, jsonl};
use convrec::metrics::trec::Run;
use convrec::policy::ModelConfig;
use convrec::prelude::*;
use convrec::text::{PromptFormat, TextTokenizer, TrainConfig};
use convrec::train::{Prompts, TaskFormat};

/// The length of the model's lists.
const N: usize = 3;

fn rerank() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().unwrap().with_file_name("examples");
    examples.join("rerank")
}

/// An untrained model in `model`, eight films in `films.jsonl`, and two conversations in
/// `asked.jsonl`.
fn files(folder: &Path) -> (Model, Catalog, Vec<Example>) {
    let mut tokens = TrainConfig {
        vocab_size: 262,
        ..TrainConfig::default()
    };
    let special = ["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"];
    tokens.special_tokens = special.map(String::from).to_vec();
    let tokenizer = TextTokenizer::train(["a"].iter(), &tokens).unwrap();
    let shape = ModelConfig::small(tokenizer.vocab_size(), 8, 1, 1);
    let format = TaskFormat {
        prompts: Prompts::Marked(PromptFormat::default()),
        n_ranks: N,
        max_new_tokens: 60,
    };
    let model = Model {
        policy: Policy::new(&shape, 3, &Device::flex()).unwrap(),
        language: Language::small(tokenizer, format),
    };
    model.save(folder.join("model")).unwrap();
    let film = |title: &str| CatalogItem {
        title: title.into(),
        year: Some(1990),
        genres: vec![],
        metadata: String::new(),
    };
    let films = [
        "Heat", "Up", "Alien", "Ronin", "Big", "Fargo", "Her", "Speed",
    ]
    .map(film);
    jsonl::write_file(folder.join("films.jsonl"), &films).unwrap();
    let example = |(id, seen): (&str, &str)| Example {
        id: id.into(),
        dialog: vec![Turn::user("something like it?")],
        seen: vec![Item::new(seen, 1990)],
        ground_truth: vec![],
    };
    let asked = [("a-1", "Heat"), ("b-1", "Her")].map(example);
    jsonl::write_file(folder.join("asked.jsonl"), &asked).unwrap();
    (model, Catalog::new(films.to_vec()).unwrap(), asked.to_vec())
}

fn call(folder: &Path, run: &str) -> (bool, String) {
    std::fs::write(folder.join("found.run"), run).unwrap();
    let mut command = Command::new(rerank());
    command.current_dir(folder).args(["--model", "model"]);
    command.args(["--catalog", "films.jsonl", "--conversations", "asked.jsonl"]);
    command.args([
        "--candidates",
        "found.run",
        "--depth",
        "4",
        "--out",
        "ranked.run",
    ]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).to_string();
    (output.status.success(), said)
}

fn lines(query: &str, documents: &[&str]) -> String {
    let line = |(n, document)| format!("{query} Q0 {document} {} {} bm25\n", n + 1, 9 - n as i32);
    documents.iter().enumerate().map(line).collect()
}

#[test]
fn a_run_is_ranked_as_the_recommender_ranks_its_first_candidates() {
    let folder = tempfile::tempdir().unwrap();
    let (model, catalog, asked) = files(folder.path());
    // The first of these was seen.
    let found = ["r0", "r5", "r2", "r7", "r4", "r1"];
    let (is_done, said) = call(folder.path(), &lines("a-1", &found));
    assert!(is_done, "{said}");
    let ranked = Run::read_file(folder.path().join("ranked.run")).unwrap();
    assert_eq!(
        ranked.queries().collect::<Vec<_>>(),
        ["a-1"],
        "b-1 has no candidates"
    );
    let list: Vec<&str> = ranked.ranking("a-1").collect();

    let recommender = model.recommender(catalog).unwrap();
    let candidates = Candidates::new([0, 5, 2, 7].map(ItemId));
    let best = recommender.recommend_among(&asked[0].dialog, &[ItemId(0)], candidates, N);
    let best: Vec<String> = best
        .unwrap()
        .iter()
        .map(|x| format!("r{}", x.id.0))
        .collect();
    assert_eq!(list[..N], best);
    assert_eq!(
        BTreeSet::from_iter(list[..N].iter()),
        BTreeSet::from(["r5", "r2", "r7"].each_ref())
    );
    assert_eq!(
        list[N..],
        ["r0", "r4", "r1"],
        "the others stay behind, in their order"
    );
}

#[test]
fn documents_of_another_catalog_and_queries_of_other_conversations_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    for (run, expected) in [
        (
            lines("a-1", &["r1", "r8"]),
            "query `a-1`: found document `r8`, expected `r0` to `r7`",
        ),
        (
            lines("z-1", &["r1"]),
            "found.run: no query is the id of a conversation",
        ),
    ] {
        let (is_done, said) = call(folder.path(), &run);
        assert!(!is_done && said.contains(expected), "{said}");
        assert!(!folder.path().join("ranked.run").exists());
    }
}
