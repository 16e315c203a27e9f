//! Which group this process belongs to, as the program that started it says.

use std::time::Duration;

use crate::error::GroupError;
use crate::group::ProcessGroup;
use crate::tcp::{Tcp, TcpSettings};

/// Pairs of variables with the rank and the size. The first are those of `torchrun`, then come
/// those of Open MPI's `mpirun` and of other implementations of MPI.
const RANK_AND_SIZE: [[&str; 2]; 3] = [
    ["RANK", "WORLD_SIZE"],
    ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"],
    ["PMI_RANK", "PMI_SIZE"],
];

/// The processes on this host, as Open MPI counts them.
const LOCAL_SIZE: &str = "OMPI_COMM_WORLD_LOCAL_SIZE";

/// Joins the group that the environment names, and waits for its other processes. Without these
/// variables the process is alone.
///
/// | variable | meaning |
/// |---|---|
/// | `RANK`, `WORLD_SIZE` | this process, from 0, and the number of processes. Under `mpirun` its own variables say so |
/// | `MASTER_ADDR` | the address of process 0 that the others reach; 127.0.0.1 without it |
/// | `MASTER_PORT` | a free port there; 29500 without it |
/// | `CONVREC_GROUP_TIMEOUT` | seconds that a process may send nothing; 1800 without it |
///
/// With the feature `mpi`, processes that a launcher of MPI started use MPI, and no address.
///
/// # Errors
/// [`GroupError::Variable`] when a variable is wrong, [`GroupError::Meeting`] when the processes do
/// not find each other within 5 minutes.
pub fn from_environment() -> Result<ProcessGroup, GroupError> {
    #[cfg(feature = "mpi")]
    if under_mpi(&|name| std::env::var(name).ok()) {
        return Ok(ProcessGroup::new(crate::Mpi::join()?));
    }
    match settings(&|name| std::env::var(name).ok())? {
        None => Ok(ProcessGroup::alone()),
        Some(settings) => Ok(ProcessGroup::new(Tcp::join(&settings)?)),
    }
}

/// Whether a launcher of MPI started this process, and nobody says otherwise.
#[cfg(feature = "mpi")]
fn under_mpi(get: &dyn Fn(&str) -> Option<String>) -> bool {
    let [torch, mpi @ ..] = RANK_AND_SIZE;
    get(torch[0]).is_none() && mpi.iter().any(|[rank, _]| get(rank).is_some())
}

/// The settings in the variables; none where the process is alone.
fn settings(get: &dyn Fn(&str) -> Option<String>) -> Result<Option<TcpSettings>, GroupError> {
    let set = |[rank, size]: &[&'static str; 2]| get(rank).is_some() || get(size).is_some();
    let Some([rank_name, size_name]) = RANK_AND_SIZE.into_iter().find(set) else {
        return Ok(None);
    };
    let size: usize = number(get, size_name, None, "the number of processes, at least 1")?;
    let expected = format!("the number of this process, below {size_name} ({size})");
    let rank: usize = number(get, rank_name, None, &expected)?;
    if rank >= size {
        let rank = rank.to_string();
        return Err(wrong(rank_name, &rank, &expected));
    }
    if size == 1 {
        return Ok(None);
    }
    let local: usize = number(get, LOCAL_SIZE, Some(size), "a number of processes")?;
    let host = match get("MASTER_ADDR") {
        Some(host) if !host.is_empty() => host,
        _ if local == size => "127.0.0.1".into(),
        _ => {
            let expected = "the address of the host of process 0, as there are several hosts \
                            (mpirun -x MASTER_ADDR=...)";
            return Err(wrong("MASTER_ADDR", "", expected));
        }
    };
    let port: u16 = number(get, "MASTER_PORT", Some(29_500), "a port, 1 to 65535")?;
    let expected = "a number of seconds, at least 1";
    let timeout: u64 = number(get, "CONVREC_GROUP_TIMEOUT", Some(1800), expected)?;
    if timeout == 0 {
        return Err(wrong("CONVREC_GROUP_TIMEOUT", "0", expected));
    }
    Ok(Some(TcpSettings {
        rank,
        size,
        host,
        port,
        timeout: Duration::from_secs(timeout),
        ..TcpSettings::default()
    }))
}

fn number<T: std::str::FromStr>(
    get: &dyn Fn(&str) -> Option<String>,
    name: &str,
    default: Option<T>,
    expected: &str,
) -> Result<T, GroupError> {
    match (get(name), default) {
        (None, Some(default)) => Ok(default),
        (None, None) => Err(wrong(name, "", expected)),
        (Some(text), _) => text.parse().map_err(|_| wrong(name, &text, expected)),
    }
}

fn wrong(name: &str, found: &str, expected: &str) -> GroupError {
    GroupError::Variable {
        name: name.into(),
        found: found.into(),
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<TcpSettings>, GroupError> {
        let get = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        };
        settings(&get)
    }

    #[test]
    fn nothing_said_or_one_process_is_alone() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(None));
        // Set in every job, whether or not there are several processes.
        assert_eq!(of(&[("MASTER_ADDR", "a"), ("SLURM_NTASKS", "8")]), Ok(None));
    }

    #[test]
    fn launchers_are_understood() {
        let torch = [
            ("RANK", "1"),
            ("WORLD_SIZE", "4"),
            ("MASTER_ADDR", "10.0.0.1"),
            ("MASTER_PORT", "400"),
            ("CONVREC_GROUP_TIMEOUT", "7"),
        ];
        let settings = of(&torch).unwrap().unwrap();
        assert_eq!((settings.rank, settings.size), (1, 4));
        assert_eq!((settings.host.as_str(), settings.port), ("10.0.0.1", 400));
        assert_eq!(settings.timeout, Duration::from_secs(7));
        let mpi = [
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
        ];
        let settings = of(&mpi).unwrap().unwrap();
        assert_eq!((settings.rank, settings.size), (3, 4));
        assert_eq!(
            (settings.host.as_str(), settings.port),
            ("127.0.0.1", 29_500)
        );
    }

    #[test]
    fn wrong_variables_are_named() {
        let error = |variables: &[(&str, &str)]| of(variables).unwrap_err().to_string();
        assert_eq!(
            error(&[("RANK", "0")]),
            "WORLD_SIZE=: expected the number of processes, at least 1"
        );
        assert!(error(&[("RANK", "2"), ("WORLD_SIZE", "2")]).starts_with("RANK=2: expected"));
        assert!(error(&[("RANK", "x"), ("WORLD_SIZE", "2")]).starts_with("RANK=x: expected"));
        let base = [("RANK", "0"), ("WORLD_SIZE", "2")];
        for (name, value) in [("MASTER_PORT", "70000"), ("CONVREC_GROUP_TIMEOUT", "0")] {
            let error = error(&[&base[..], &[(name, value)]].concat());
            assert!(
                error.starts_with(&format!("{name}={value}: expected")),
                "{error}"
            );
        }
        let two_hosts = [
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
        ];
        assert!(error(&two_hosts).contains("several hosts"));
    }
}
