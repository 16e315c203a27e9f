//! Runs in processes of their own are killed at random moments and resumed. Their files equal those
//! of an uninterrupted run, byte for byte.
#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use common::{options, retrieved, run_with, world};
use convrec_train::{RunOptions, TrainError};
use rand::{RngExt, SeedableRng};

/// Kind and folder of the run of a process, one a line.
const RUN: &str = "CONVREC_TEST_RUN";
const STEPS: usize = 60;
const KILLS: usize = 15;

fn start_or_go_on(kind: &str, folder: &Path) -> Result<(), TrainError> {
    let options = RunOptions {
        keep_checkpoints: 2,
        ..options(folder, true)
    };
    let (world, kind) = match kind.strip_prefix("retriever: ") {
        Some(kind) => (retrieved(4, 1.0), kind),
        None => (world(), kind),
    };
    run_with(&world, kind, STEPS, &options).map(|_| ())
}

/// This is no test of its own, but the process that the other tests start.
#[test]
fn child() {
    let Ok(run) = std::env::var(RUN) else { return };
    let (kind, folder) = run.split_once('\n').unwrap();
    if let Err(error) = start_or_go_on(kind, Path::new(folder)) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn process(program: &[&str], kind: &str, folder: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let words: Vec<&str> = program
        .iter()
        .copied()
        .chain([this.to_str().unwrap(), "--exact", "child", "--nocapture"])
        .collect();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env(RUN, format!("{kind}\n{}", folder.display()));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// All files of a run without its times and the optimiser's file. burn writes the moments in an
/// order, and under ids, that are drawn anew in each process. Moments that differ would show in the
/// weights of later steps.
fn left(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let inner = left(&path);
            let name = PathBuf::from(path.file_name().unwrap());
            found.extend(
                inner
                    .into_iter()
                    .map(|(file, bytes)| (name.join(file), bytes)),
            );
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        match name {
            "timing.jsonl" | "optimizer.bpk" | "manifest.sha256" => {}
            "manifest.json" => {
                let manifest = std::fs::read_to_string(&path).unwrap();
                let lines = manifest
                    .lines()
                    .filter(|line| !line.contains("optimizer.bpk"));
                found.insert(name.into(), lines.collect::<String>().into_bytes());
            }
            _ => {
                found.insert(name.into(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn killed_thirty_times_a_run_ends_as_if_it_never_was() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    for kind in ["sft", "everything+async", "retriever: everything"] {
        // The retriever adds no file that is written; it is made anew by each process.
        let kills_in_all = if kind.starts_with("retriever") {
            5
        } else {
            KILLS
        };
        let folders = tempfile::tempdir().unwrap();
        let (whole, killed) = (folders.path().join("whole"), folders.path().join("killed"));
        let clock = Instant::now();
        start_or_go_on(kind, &whole).unwrap();
        let lasts = clock.elapsed();
        let (mut kills, mut mid_write) = (0, 0);
        while kills < kills_in_all {
            let mut child = process(&[], kind, &killed).spawn().unwrap();
            // Half of the kills come as a checkpoint is being written.
            if kills % 2 == 0 {
                thread::sleep(lasts.mul_f64(rng.random_range(0.01..0.15)));
            } else {
                while !writes(&killed) && child.try_wait().unwrap().is_none() {
                    thread::yield_now();
                }
            }
            if child.try_wait().unwrap().is_some() {
                // The run was done before the kill, so it starts from its beginning again.
                std::fs::remove_dir_all(&killed).unwrap();
                continue;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            mid_write += usize::from(writes(&killed));
        }
        let output = process(&[], kind, &killed).output().unwrap();
        assert!(
            output.status.success(),
            "{kind}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            mid_write > 2 || kills_in_all < KILLS,
            "{kind}: only {mid_write} kills came while a checkpoint was written"
        );
        let (whole, killed) = (left(&whole), left(&killed));
        assert_eq!(
            whole.keys().collect::<Vec<_>>(),
            killed.keys().collect::<Vec<_>>(),
            "{kind}"
        );
        for (file, bytes) in &whole {
            assert!(killed[file] == *bytes, "{kind}: {} differs", file.display());
        }
    }
}

/// Whether a checkpoint is half written.
fn writes(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(".part-"))
}

#[test]
fn on_a_full_disk_the_last_checkpoint_stays_good() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // A limit on the size of files stands for the disk: the log reaches it after some steps.
    // Ignored, the signal becomes an error.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 96; exec \"$@\"", "sh"];
    let output = process(&limited, "sft", &run).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("error: cannot write"),
        "{error}"
    );
    // With room again, the run goes on to the same end.
    start_or_go_on("sft", &run).unwrap();
    let whole = folder.path().join("whole");
    start_or_go_on("sft", &whole).unwrap();
    assert!(left(&run) == left(&whole));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run");
    std::fs::write(&file, "a file").unwrap();
    let error = start_or_go_on("sft", &file).unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_refused_and_the_one_before_is_good() {
    let folder = tempfile::tempdir().unwrap();
    let (run, whole) = (folder.path().join("run"), folder.path().join("whole"));
    start_or_go_on("sft", &whole).unwrap();
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(&str, Damage); 5] = [
        ("model.safetensors", |bytes| {
            bytes[..bytes.len() / 2].to_vec()
        }),
        ("optimizer.bpk", |mut bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            bytes
        }),
        ("manifest.json", |bytes| bytes[..bytes.len() - 20].to_vec()),
        ("manifest.json", |_| vec![0xFF, 0xFE]),
        // The file is still a manifest, but of another step.
        ("manifest.json", |bytes| {
            String::from_utf8(bytes)
                .unwrap()
                .replace("\"step\": ", "\"step\": 1")
                .into_bytes()
        }),
    ];
    for (file, damage) in damages {
        if run.exists() {
            std::fs::remove_dir_all(&run).unwrap();
        }
        start_or_go_on("sft", &run).unwrap();
        let newest = run.join(format!("checkpoint-{STEPS:06}"));
        let path = newest.join(file);
        std::fs::write(&path, damage(std::fs::read(&path).unwrap())).unwrap();
        let error = start_or_go_on("sft", &run).unwrap_err().to_string();
        assert!(
            error.contains(file) && error.contains(newest.to_str().unwrap()),
            "{error}"
        );
        assert!(error.contains("the checkpoint before it"), "{error}");
        std::fs::remove_dir_all(&newest).unwrap();
        start_or_go_on("sft", &run).unwrap();
        assert!(left(&run) == left(&whole), "{file}");
    }
}
