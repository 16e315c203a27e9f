//! Operations of a group, over threads and over TCP, and what becomes of them when a process fails.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use convrec_collective::{GroupError, ProcessGroup, Tcp, TcpSettings, threads};
use proptest::prelude::*;

/// The members of a group that meets at a free port.
fn over_tcp(size: usize, timeout: Duration) -> Vec<ProcessGroup> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = |rank| TcpSettings {
        rank,
        size,
        port: listener.local_addr().unwrap().port(),
        timeout,
        ..TcpSettings::default()
    };
    let others: Vec<_> = (1..size)
        .map(|rank| {
            let settings = settings(rank);
            thread::spawn(move || ProcessGroup::new(Tcp::join(&settings).unwrap()))
        })
        .collect();
    let first = ProcessGroup::new(Tcp::host(listener.try_clone().unwrap(), &settings(0)).unwrap());
    let others = others.into_iter().map(|other| other.join().unwrap());
    [first].into_iter().chain(others).collect()
}

/// Runs `work` in each member, and returns the results in the order of ranks.
fn on_each<T: Send>(members: Vec<ProcessGroup>, work: impl Fn(ProcessGroup) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let workers: Vec<_> = members
            .into_iter()
            .map(|member| scope.spawn(move || work(member)))
            .collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap());
        results.collect()
    })
}

fn both(size: usize) -> [Vec<ProcessGroup>; 2] {
    [threads(size), over_tcp(size, Duration::from_secs(60))]
}

#[test]
fn everybody_gets_what_everybody_gave() {
    for members in both(4) {
        on_each(members, |group| {
            let rank = group.rank() as u8;
            for round in 0..20 {
                let given = vec![rank; round * usize::from(rank)];
                let all = group.gather(given).unwrap();
                let lengths: Vec<usize> = all.iter().map(Vec::len).collect();
                assert_eq!(lengths, [0, round, 2 * round, 3 * round]);
                assert!(all[3].iter().all(|byte| *byte == 3));
                let first = group.broadcast(vec![rank + 7; 3]).unwrap();
                assert_eq!(first, [7; 3]);
            }
            assert!(group.any(rank == 2).unwrap());
            assert!(!group.any(false).unwrap());
            group.barrier().unwrap();
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// The bits of a loop over the ranks, whatever the numbers and however many there are.
    #[test]
    fn sums_are_those_of_a_loop_over_the_ranks(
        columns in prop::collection::vec(
            prop::collection::vec(-1e6f32..1e6, 5), 0..40),
        size in 2usize..=5,
    ) {
        let of_rank = |rank: usize| columns.iter().map(|c| c[rank]).collect::<Vec<f32>>();
        let mut expected = of_rank(0);
        for rank in 1..size {
            for (sum, x) in expected.iter_mut().zip(of_rank(rank)) {
                *sum += x;
            }
        }
        let sums = on_each(threads(size), |group| {
            let mut values = of_rank(group.rank());
            group.sum(&mut values).unwrap();
            values
        });
        for found in sums {
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&found), bits(&expected));
        }
    }

    #[test]
    fn shares_are_a_partition(n in 0usize..100, size in 1usize..9) {
        let shares = on_each(threads(size), |group| group.share(n));
        let all: Vec<usize> = shares.iter().cloned().flatten().collect();
        prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
        let lengths = shares.iter().map(|share| share.len());
        prop_assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
    }
}

/// More numbers than fit into one bucket, over TCP. 0.0 stays apart from -0.0, which changes
/// nothing in a sum.
#[test]
fn large_sums_come_in_buckets() {
    let n = (1 << 22) + 5;
    let sums = on_each(over_tcp(3, Duration::from_secs(60)), |group| {
        let mut values = vec![group.rank() as f32 + 0.25; n];
        values[0] = -0.0;
        group.sum(&mut values).unwrap();
        let traffic = group.traffic();
        (values, traffic.bytes_sent)
    });
    for (values, bytes) in sums {
        assert_eq!(values[0].to_bits(), (-0.0f32).to_bits());
        assert!(values[1..].iter().all(|x| *x == 3.75));
        // Two thirds of the numbers twice: to the owners of their parts, and as sums.
        let expected = n as f64 * 4.0 * 4.0 / 3.0;
        assert!((bytes as f64 / expected - 1.0).abs() < 0.01, "{bytes}");
    }
}

#[test]
fn one_process_alone_needs_nobody() {
    let group = ProcessGroup::alone();
    let mut values = [1.5, -2.0];
    group.sum(&mut values).unwrap();
    assert_eq!(values, [1.5, -2.0]);
    assert_eq!(group.gather(vec![1]).unwrap(), [[1]]);
    assert_eq!(group.share(7), 0..7);
    assert_eq!(group.traffic().bytes_sent, 0);
}

#[test]
fn a_member_that_is_gone_is_named() {
    for members in both(3) {
        let errors = on_each(members, |group| {
            group.barrier().unwrap();
            if group.rank() == 1 {
                return None;
            }
            Some(group.barrier().unwrap_err())
        });
        assert_eq!(errors.iter().flatten().count(), 2);
        for error in errors.into_iter().flatten() {
            // Over TCP the news may come from the third member.
            let text = error.to_string();
            assert!(text.contains("process 1 of 3 is gone"), "{text}");
        }
    }
}

#[test]
fn a_member_that_stops_says_why() {
    for members in both(3) {
        let errors = on_each(members, |group| {
            if group.rank() == 0 {
                group.abort("cannot write runs/x: no space left");
                return None;
            }
            Some(group.barrier().unwrap_err().to_string())
        });
        for error in errors.into_iter().flatten() {
            assert!(
                error.contains("process 0 of 3 stopped: cannot write"),
                "{error}"
            );
        }
    }
}

#[test]
fn a_member_that_hangs_is_waited_for_so_long() {
    let started = Instant::now();
    let errors = on_each(over_tcp(3, Duration::from_secs(1)), |group| {
        if group.rank() == 2 {
            // It hangs until the others have given it up.
            while started.elapsed() < Duration::from_secs(4) {
                thread::sleep(Duration::from_millis(50));
            }
            return None;
        }
        let error = group.barrier().unwrap_err();
        assert_eq!(group.barrier().unwrap_err(), error, "it stays broken");
        Some(error.to_string())
    });
    for error in errors.into_iter().flatten() {
        assert!(
            error.contains("process 2 of 3 has sent nothing for 1 s"),
            "{error}"
        );
    }
}

#[test]
fn members_out_of_step_are_found_out() {
    let errors = on_each(over_tcp(2, Duration::from_secs(60)), |group| {
        let mut values = vec![1.0; 10 + group.rank()];
        group.sum(&mut values).unwrap_err()
    });
    for error in errors {
        let out_of_step = matches!(error, GroupError::OutOfStep { .. });
        // The first to see it ends; the other one may hear of that first.
        assert!(
            out_of_step || matches!(error, GroupError::Gone { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_meeting_that_fails_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let settings = |rank, size| TcpSettings {
        rank,
        size,
        port,
        patience: Duration::from_secs(1),
        ..TcpSettings::default()
    };
    // Nobody else comes.
    let alone = Tcp::host(listener.try_clone().unwrap(), &settings(0, 3)).unwrap_err();
    assert!(alone.to_string().contains("have not come: 1, 2"), "{alone}");
    // The port is in use.
    let used = Tcp::join(&settings(0, 2)).unwrap_err().to_string();
    assert!(
        used.contains("cannot listen at 127.0.0.1") && used.contains("MASTER_PORT"),
        "{used}"
    );
    // Another size, and a stranger before it, who is let go.
    let stranger = TcpStream::connect(("127.0.0.1", port)).unwrap();
    drop(stranger);
    let other = thread::spawn({
        let settings = settings(1, 3);
        move || Tcp::join(&settings).unwrap_err().to_string()
    });
    let settings_of_first = TcpSettings {
        patience: Duration::from_secs(60),
        ..settings(0, 2)
    };
    let first = Tcp::host(listener, &settings_of_first)
        .unwrap_err()
        .to_string();
    assert!(
        first.contains("process 1 says that there are 3 processes"),
        "{first}"
    );
    let other = other.join().unwrap();
    assert!(
        other.contains("process 0") && other.contains("did not take it"),
        "{other}"
    );
}
