//! A run of 2,000 steps holds no more memory and no more files at its end than after its beginning.
//! It keeps no more checkpoints and completions than the settings say. The test has a binary of its
//! own, as it counts the allocations of the whole process.
#![cfg(target_os = "linux")]

mod common;

use common::{options, run_observed, world};
use convrec_testdata::memory::{Counting, now};
use convrec_train::{RunOptions, StepView};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const STEPS: usize = 2000;

#[test]
fn memory_and_files_stay_as_they_are() {
    let (world, folder) = (world(), tempfile::tempdir().unwrap());
    let options = RunOptions {
        checkpoint_every: 50,
        keep_checkpoints: 3,
        evaluate_every: 100,
        ..options(&folder.path().join("run"), false)
    };
    let mut seen: Vec<(usize, usize)> = Vec::with_capacity(STEPS);
    let mut observe =
        |_: &StepView<'_>| seen.push((now(), std::fs::read_dir("/proc/self/fd").unwrap().count()));
    run_observed(&world, "everything", STEPS, &options, &mut observe).unwrap();
    // The largest figure in a hundred steps, as single steps hold more where an evaluation is due.
    let most = |steps: &[(usize, usize)]| {
        (
            steps.iter().map(|s| s.0).max().unwrap(),
            steps.iter().map(|s| s.1).max().unwrap(),
        )
    };
    let (early, late) = (most(&seen[200..300]), most(&seen[STEPS - 100..]));
    println!("bytes held and files open: {early:?} at steps 200-300, {late:?} at the end");
    assert!(
        late.0 < early.0 + early.0 / 50,
        "bytes: {} then {}",
        early.0,
        late.0
    );
    assert_eq!(late.1, early.1, "open files");

    let count = |folder: &str, prefix: &str| {
        let entries = std::fs::read_dir(options.folder.as_ref().unwrap().join(folder)).unwrap();
        entries
            .filter(|e| {
                e.as_ref()
                    .unwrap()
                    .file_name()
                    .to_str()
                    .unwrap()
                    .starts_with(prefix)
            })
            .count()
    };
    assert_eq!(
        (
            count("", "checkpoint-"),
            count("", ".part-"),
            count("completions", "step-")
        ),
        (3, 0, 3)
    );
}
