//! The commands of README and docs: their flags are known, and the five steps work as written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use convrec::core::jsonl;
use convrec::world::{World, WorldConfig};

/// The beginning of a documented command.
const CARGO: &str = "cargo run --release ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A built example; tests and examples lie beside each other.
fn program(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().unwrap().with_file_name("examples");
    Command::new(examples.join(name))
}

/// A documented command: the name of the example and its arguments.
struct Documented {
    page: String,
    example: String,
    arguments: Vec<String>,
}

/// The commands in the shell blocks of a page. Lines that end in a backslash go on.
fn commands(page: &Path) -> Vec<Documented> {
    let text = fs::read_to_string(page).unwrap().replace("\\\n", " ");
    let mut is_shell = false;
    let mut found = vec![];
    // The variable of a loop, with its first value.
    let mut variable = None;
    for line in text.lines() {
        if let Some(head) = line.trim().strip_prefix("for ").filter(|_| is_shell) {
            let mut words = head.trim_end_matches("; do").split_whitespace();
            variable = words.next().zip(words.nth(1));
        }
        let line = match variable {
            Some((name, value)) => line.replace(&format!("${name}"), value),
            None => line.to_string(),
        };
        if line.starts_with("```") {
            is_shell = line == "```sh";
        }
        let Some(start) = line
            .find(CARGO)
            .filter(|_| is_shell && !line.starts_with('#'))
        else {
            continue;
        };
        let words = shlex::split(&line[start + CARGO.len()..]);
        let words = words.unwrap_or_else(|| panic!("{}: {line}", page.display()));
        let other_package = words.iter().any(|word| word == "-p");
        let mut words = words
            .into_iter()
            .skip_while(|word| word != "--example")
            .skip(1);
        // Programs of other packages, and outlines of commands, are not walked.
        let Some(example) = words.next() else {
            continue;
        };
        let arguments: Vec<String> = words.skip(1).collect();
        if !other_package && !arguments.iter().any(|word| word == "...") {
            found.push(Documented {
                page: page.display().to_string(),
                example,
                arguments,
            });
        }
    }
    found
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for folder in ["docs", "docs/results"] {
        let listed = fs::read_dir(root().join(folder)).unwrap();
        pages.extend(listed.map(|file| file.unwrap().path()));
    }
    for package in fs::read_dir(root().join("crates")).unwrap() {
        pages.push(package.unwrap().path().join("README.md"));
    }
    pages.retain(|page| page.extension().is_some_and(|ending| ending == "md"));
    pages
}

fn printed(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    texts.concat()
}

#[test]
fn every_documented_flag_is_known() {
    let all: Vec<Documented> = pages().iter().flat_map(|page| commands(page)).collect();
    assert!(all.len() > 25, "only {} commands found", all.len());
    for Documented {
        page,
        example,
        arguments,
    } in all
    {
        // Flags are read before the one for help is met; a wrong one ends the program.
        let output = program(&example).args(&arguments).arg("--help").output();
        let output = output.unwrap_or_else(|e| panic!("{page}: {example}: {e}"));
        assert!(
            output.status.success(),
            "{page}: {example}: {}",
            printed(&output)
        );
    }
}

/// A folder with the files that README's five steps name.
fn own_data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let world = World::embedded();
    let sizes = WorldConfig {
        seed: 3,
        n_train: 48,
        n_validation: 6,
        n_test: 12,
    };
    let split = world.generate(&sizes);
    let mut films = String::from("title,year\n");
    for item in world.catalog() {
        let year = item.year.map(|year| year.to_string()).unwrap_or_default();
        films += &format!("\"{}\",{year}\n", item.title);
    }
    fs::write(folder.path().join("films.csv"), films).unwrap();
    let parts = [
        ("train", &split.train),
        ("valid", &split.validation),
        ("test", &split.test),
    ];
    for (name, examples) in parts {
        let path = folder.path().join(name).with_extension("jsonl");
        jsonl::write_file(path, examples).unwrap();
    }
    folder
}

#[test]
fn the_five_steps_of_the_readme_work_as_written() {
    let folder = own_data();
    let readme = commands(&root().join("README.md"));
    let steps = [
        "evaluate",
        "build_demonstrations",
        "train_sft",
        "train_rank_grpo",
        "recommend",
    ];
    for step in steps {
        let documented = readme.iter().find(|command| command.example == step);
        let arguments = &documented
            .unwrap_or_else(|| panic!("README has no {step}"))
            .arguments;
        let mut command = program(step);
        command.args(arguments).current_dir(&folder);
        if step.starts_with("train") {
            command.args(["--max-steps", "2", "--evaluate-every", "0"]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{step}: {}", printed(&output));
        if step == "recommend" {
            let lines = printed(&output)
                .lines()
                .filter(|line| line.contains(". "))
                .count();
            assert_eq!(lines, 20, "{}", printed(&output));
        }
    }
}
