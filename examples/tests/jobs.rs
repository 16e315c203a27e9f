//! The job files of the demonstrations' parts. Their tasks run as processes, with the variables
//! that Slurm and Kubernetes set.

#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use convrec::core::jsonl;
use convrec::world::{World, WorldConfig};

const SHARDS: usize = 4;

fn jobs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs")
}

fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().unwrap().with_file_name("examples");
    examples.join("build_demonstrations")
}

/// A folder with the files that the jobs name.
fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let world = World::embedded();
    let sizes = WorldConfig {
        seed: 3,
        n_train: 60,
        n_validation: 1,
        n_test: 1,
    };
    let mut films = String::from("title,year\n");
    for item in world.catalog() {
        let year = item.year.map(|year| year.to_string()).unwrap_or_default();
        films += &format!("\"{}\",{year}\n", item.title);
    }
    fs::write(folder.path().join("films.csv"), films).unwrap();
    let train = world.generate(&sizes).train;
    jsonl::write_file(folder.path().join("train.jsonl"), &train).unwrap();
    folder
}

/// The arguments that the job files give, but for the services: a script answers.
fn with_data(command: &mut Command, folder: &Path) {
    command
        .current_dir(folder)
        .args("--catalog films.csv --conversations train.jsonl".split(' '))
        .stdin(Stdio::null());
}

/// A task of a job, `part` from 1.
fn task(folder: &Path, part: usize, by: &str) -> Command {
    let mut command = Command::new(jobs().join("shard.sh"));
    with_data(&mut command, folder);
    command
        .env("BUILD_DEMONSTRATIONS", program())
        .env("SHARDS", SHARDS.to_string());
    match by {
        "slurm" => command.env("SLURM_ARRAY_TASK_ID", part.to_string()),
        _ => command.env("JOB_COMPLETION_INDEX", (part - 1).to_string()),
    };
    command
}

fn succeeded(output: Output) -> String {
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{printed}");
    printed
}

#[test]
fn parts_of_a_job_are_one_run_though_a_task_was_killed() {
    let folder = data();
    let path = |name: &str| folder.path().join(name);
    let mut whole = Command::new(program());
    with_data(&mut whole, folder.path());
    succeeded(whole.args(["--out", "whole.jsonl"]).output().unwrap());

    let is_whole = |part: usize| path(&format!("runs/parts/{part}/shard.json")).exists();
    for by in ["slurm", "kubernetes"] {
        // One task is killed on its way. It has no part then, and is started again.
        let mut delay = Duration::from_millis(200);
        loop {
            let killed = task(folder.path(), 2, by).stdout(Stdio::null()).spawn();
            let mut killed: Child = killed.unwrap();
            std::thread::sleep(delay);
            killed.kill().unwrap();
            killed.wait().unwrap();
            if !is_whole(2) {
                break;
            }
            fs::remove_dir_all(path("runs/parts")).unwrap();
            delay /= 2;
        }
        // Tasks run side by side, as jobs run them.
        let tasks: Vec<Child> = (1..=SHARDS)
            .map(|part| {
                let mut task = task(folder.path(), part, by);
                task.stdout(Stdio::piped()).stderr(Stdio::piped());
                task.spawn().unwrap()
            })
            .collect();
        for task in tasks {
            succeeded(task.wait_with_output().unwrap());
        }
        assert!((1..=SHARDS).all(is_whole));
        let again = succeeded(task(folder.path(), 3, by).output().unwrap());
        assert_eq!(again, format!("part 3/{SHARDS} is there already\n"));

        let mut merge = Command::new(program());
        with_data(&mut merge, folder.path());
        let parts = (1..=SHARDS).map(|part| format!("runs/parts/{part}"));
        merge
            .arg("--merge")
            .args(parts)
            .args(["--out", "merged.jsonl"]);
        succeeded(merge.output().unwrap());
        let [whole, merged] = ["whole.jsonl", "merged.jsonl"].map(|name| fs::read(path(name)));
        assert!(!whole.as_ref().unwrap().is_empty());
        assert!(whole.unwrap() == merged.unwrap(), "{by}");
        fs::remove_dir_all(path("runs")).unwrap();
    }
}

#[test]
fn a_task_without_its_variables_says_which() {
    let folder = data();
    let error = |command: &mut Command| {
        let command = command.env_remove("SLURM_ARRAY_TASK_ID");
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let unnumbered = error(&mut task(folder.path(), 1, "slurm"));
    assert!(unnumbered.contains("JOB_COMPLETION_INDEX"), "{unnumbered}");
    let uncounted = error(task(folder.path(), 1, "kubernetes").env_remove("SHARDS"));
    assert!(uncounted.contains("SHARDS"), "{uncounted}");
}

/// The number of parts stands twice in each file.
#[test]
fn job_files_have_as_many_tasks_as_parts() {
    let text = |name: &str| fs::read_to_string(jobs().join(name)).unwrap();
    let slurm = text("demonstrations.slurm");
    assert!(slurm.contains("#SBATCH --array=1-8\n") && slurm.contains("export SHARDS=8\n"));
    assert!(slurm.contains("./shard.sh --catalog"));
    let kubernetes = text("demonstrations.yaml");
    assert!(kubernetes.contains("completions: 8\n") && kubernetes.contains("value: \"8\"\n"));
    assert!(kubernetes.contains("completionMode: Indexed\n"));
    // A shell reads what Slurm is given.
    for name in ["shard.sh", "demonstrations.slurm", "merge.slurm"] {
        let read = Command::new("bash")
            .arg("-n")
            .arg(jobs().join(name))
            .output();
        succeeded(read.unwrap());
    }
}
