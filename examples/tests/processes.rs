//! Training over several processes, as a launcher starts them: real processes that meet on
//! loopback. One is killed, and the run goes on.

#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use common::model;
use convrec::core::{ItemId, jsonl};
use convrec::prelude::{Demonstration, Device, Example, Turn};
use rand::{RngExt, SeedableRng};

const SFT: &str = "train_sft --demonstrations train.jsonl --validation train.jsonl";
const RL: &str = "train_rank_grpo --conversations train.jsonl --validation train.jsonl \
                  --prompts-per-step 3 --num-generations 3";

/// How long processes may take in all. They are beside others on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A folder with a model, a catalog and demonstrations, which are conversations as well.
fn data() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    model(&Device::flex()).save(path("model")).unwrap();
    let films = "title,year\nHeat,1995\nUp,2009\nAlien,1979\nHer,2013\nRan,1985\n";
    fs::write(path("films.csv"), films).unwrap();
    let catalog = convrec::read_catalog(path("films.csv")).unwrap();
    let item = |n: u32| catalog[ItemId(n % 5)].item();
    let row = |n: u32| Demonstration {
        example: Example {
            id: format!("c-{n}"),
            dialog: vec![Turn::user(format!("Something good, number {n}?"))],
            seen: vec![],
            ground_truth: vec![item(n)],
        },
        list: vec![item(n), item(n + 1)],
    };
    let rows: Vec<Demonstration> = (0..9).map(row).collect();
    jsonl::write_file(path("train.jsonl"), &rows).unwrap();
    folder
}

/// A training that prints into a file.
struct Process {
    child: Child,
    prints: PathBuf,
}

impl Process {
    fn start(mut command: Command, prints: PathBuf) -> Self {
        let file = File::create(&prints).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap();
        Self { child, prints }
    }

    fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.prints).unwrap()).into_owned()
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// The exit code, and what it printed. A process that does not end is ended.
    fn end(mut self) -> (Option<i32>, String) {
        let started = Instant::now();
        while !self.has_ended() {
            if started.elapsed() > PATIENCE {
                self.kill();
            }
            thread::sleep(Duration::from_millis(5));
        }
        (self.child.wait().unwrap().code(), self.printed())
    }

    /// Its end, which must be a success.
    fn succeed(self) -> String {
        let (code, printed) = self.end();
        assert_eq!(code, Some(0), "{printed}");
        printed
    }
}

fn command(folder: &Path, training: &str, steps: usize, out: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let examples = test.parent().unwrap().with_file_name("examples");
    let mut words = training.split_whitespace();
    let mut command = Command::new(examples.join(words.next().unwrap()));
    command
        .current_dir(folder)
        .args(words)
        .args("--catalog films.csv --model model --evaluate-every 4".split(' '))
        .args("--checkpoint-every 1 --resume --seed 3".split(' '))
        .args(["--max-steps", &steps.to_string(), "--out", out]);
    command
}

/// A port that was free a moment ago. Another program may have taken it since.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

/// Starts two processes of a run, and returns when they have met.
fn start(folder: &Path, training: &str, steps: usize, out: &str) -> [Process; 2] {
    loop {
        let port = free_port();
        let [mut first, mut second] = ["0", "1"].map(|rank| {
            let mut command = command(folder, training, steps, out);
            command.env("RANK", rank).env("WORLD_SIZE", "2");
            command.env("MASTER_PORT", &port);
            Process::start(command, folder.join(format!("{out}-{rank}.txt")))
        });
        // The first one speaks when they have met.
        while !first.printed().contains("parameters: ") && !first.has_ended() {
            thread::sleep(Duration::from_millis(1));
        }
        if !first.printed().contains("cannot listen") {
            return [first, second];
        }
        second.kill();
        second.end();
    }
}

/// Whether two runs have left the same model and the same log.
fn assert_same(folder: &Path, run: &str, other: &str) {
    let read = |run: &str, name: &str| {
        let path = folder.join(run).join(name);
        fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let log = |run: &str| String::from_utf8(read(run, "log.jsonl")).unwrap();
    for (line, other_line) in log(run).lines().zip(log(other).lines()) {
        assert_eq!(line, other_line, "{run} and {other}");
    }
    for name in ["log.jsonl", "model.safetensors"] {
        assert!(
            read(run, name) == read(other, name),
            "{run} and {other}: {name}"
        );
    }
}

#[test]
fn two_processes_leave_what_two_devices_leave() {
    let folder = data();
    for (name, training) in [("sft", SFT), ("rl", RL)] {
        let devices = format!("{name}-devices");
        let mut one = command(folder.path(), training, 6, &devices);
        one.env("CONVREC_DEVICE", "flex:0,1");
        Process::start(one, folder.path().join("one.txt")).succeed();
        let processes = start(folder.path(), training, 6, name);
        let [first, second] = processes.map(Process::succeed);
        assert!(first.contains("2 processes: this one sent"), "{first}");
        // Only the first one speaks of the run.
        assert!(
            !second.contains("parameters") && !second.contains("model"),
            "{second}"
        );
        assert_same(folder.path(), name, &devices);
    }
}

/// The steps in the log of a run.
fn logged(folder: &Path, out: &str) -> usize {
    fs::read_to_string(folder.join(out).join("log.jsonl")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_process_that_is_killed_ends_all_and_the_run_goes_on() {
    const STEPS: usize = 40;
    const KILLS: usize = 4;
    let folder = data();
    let _ = start(folder.path(), RL, STEPS, "whole").map(Process::succeed);
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let mut kills = 0;
    while kills < KILLS {
        let mut processes = start(folder.path(), RL, STEPS, "killed");
        let steps = rng.random_range(1..STEPS / KILLS);
        let at = logged(folder.path(), "killed") + steps;
        while logged(folder.path(), "killed") < at && !processes[0].has_ended() {
            thread::sleep(Duration::from_millis(1));
        }
        let victim = kills % 2;
        processes[victim].kill();
        let killed = Instant::now();
        let [first, second] = processes.map(Process::end);
        let (code, printed) = if victim == 0 { second } else { first };
        if code == Some(0) {
            // The run was done before the kill, so it begins again.
            fs::remove_dir_all(folder.path().join("killed")).unwrap();
            kills = 0;
            continue;
        }
        assert_eq!(code, Some(1), "{printed}");
        let expected = format!("error: process {victim} of 2 is gone");
        assert!(printed.contains(&expected), "{printed}");
        assert!(killed.elapsed() < PATIENCE, "the other one hung");
        kills += 1;
    }
    let _ = start(folder.path(), RL, STEPS, "killed").map(Process::succeed);
    assert_same(folder.path(), "killed", "whole");
}

#[test]
fn under_mpirun_processes_find_each_other() {
    let version = Command::new("mpirun").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no mpirun; install openmpi-bin");
        return;
    }
    let folder = data();
    let _ = start(folder.path(), SFT, 3, "by-hand").map(Process::succeed);
    let printed = loop {
        let program = command(folder.path(), SFT, 3, "launched");
        let mut launcher = Command::new("mpirun");
        launcher
            .current_dir(folder.path())
            .args("--allow-run-as-root --oversubscribe -np 2 -x MASTER_PORT".split(' '))
            .env("MASTER_PORT", free_port())
            // A container may lack ssh, which is for other hosts.
            .env("OMPI_MCA_plm_rsh_agent", "sh")
            .arg(program.get_program())
            .args(program.get_args());
        let process = Process::start(launcher, folder.path().join("mpirun.txt"));
        let (code, printed) = process.end();
        if !printed.contains("cannot listen") {
            assert_eq!(code, Some(0), "{printed}");
            break printed;
        }
    };
    assert!(printed.contains("2 processes: this one sent"), "{printed}");
    assert_same(folder.path(), "launched", "by-hand");
}

#[test]
fn a_process_with_a_wrong_rank_says_so() {
    let folder = data();
    let mut command = command(folder.path(), SFT, 3, "run");
    command.env("RANK", "2").env("WORLD_SIZE", "2");
    let process = Process::start(command, folder.path().join("wrong.txt"));
    let (code, printed) = process.end();
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("error: RANK=2: expected"), "{printed}");
    assert!(!folder.path().join("run").exists(), "{printed}");
}
