//! Operations of a group under MPI. The test starts itself with `mpirun`.
#![cfg(feature = "mpi")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use convrec_collective::from_environment;

/// What the started processes do.
const WORK: &str = "CONVREC_TEST_WORK";

/// This is no test of its own, but the process that `mpirun` starts.
#[test]
fn child() {
    let Ok(work) = std::env::var(WORK) else {
        return;
    };
    let group = from_environment().unwrap();
    assert_eq!(group.size(), 3);
    let rank = group.rank();
    for round in 0..10 {
        let all = group.gather(vec![rank as u8; round * rank]).unwrap();
        let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
        assert_eq!(lengths, [0, round, 2 * round]);
    }
    assert_eq!(group.broadcast(vec![rank as u8; 4]).unwrap(), [0; 4]);
    let number = |rank: usize, n: usize| 0.1f32 * (rank * 7 + n % 13) as f32;
    let n = (1 << 22) + 5;
    let mut values: Vec<f32> = (0..n).map(|n| number(rank, n)).collect();
    group.sum(&mut values).unwrap();
    for (n, value) in values.iter().enumerate() {
        let expected = (number(0, n) + number(1, n)) + number(2, n);
        assert_eq!(value.to_bits(), expected.to_bits());
    }
    match work.as_str() {
        "kill" if rank == 1 => std::process::abort(),
        "stop" if rank == 1 => group.abort("the disk is full"),
        _ => {}
    }
    group.barrier().unwrap();
    println!("process {rank} is done");
}

/// Three processes; none where there is no `mpirun`.
fn run(work: &str) -> Option<Output> {
    let this = std::env::current_exe().unwrap();
    let output = Command::new("mpirun")
        .args("--allow-run-as-root --oversubscribe -np 3".split(' '))
        .args([this.to_str().unwrap(), "--exact", "child", "--nocapture"])
        .env(WORK, work)
        // Containers may lack ssh, which is for other hosts, and forbid what copies memory between
        // processes in one go.
        .env("OMPI_MCA_plm_rsh_agent", "sh")
        .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
        .output();
    if output.is_err() {
        eprintln!("SKIPPED: there is no mpirun; install openmpi-bin");
    }
    output.ok()
}

#[test]
fn a_group_works_under_mpi() {
    let Some(output) = run("all") else { return };
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}{errors}");
    for rank in 0..3 {
        assert!(
            printed.contains(&format!("process {rank} is done")),
            "{printed}"
        );
    }
}

#[test]
fn a_process_that_fails_ends_all() {
    for work in ["kill", "stop"] {
        let started = Instant::now();
        let Some(output) = run(work) else { return };
        assert!(!output.status.success(), "{work}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!printed.contains("is done"), "{work}: {printed}");
        assert!(started.elapsed() < Duration::from_secs(120), "{work}");
    }
}
