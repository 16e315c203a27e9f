//! One server process, from its start to its end.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use super::child::KEY;

/// What a process held at a time.
#[derive(Clone, Copy)]
pub struct Sample {
    pub seconds: f64,
    pub memory: u64,
    pub descriptors: usize,
}

pub struct Life {
    pub address: SocketAddr,
    pub process: String,
    pub born: Instant,
    child: Mutex<Child>,
    /// Which weights each version has, from version 1 on.
    pub versions: Mutex<Vec<usize>>,
    pub samples: Mutex<Vec<Sample>>,
    /// How it ended.
    pub end: Mutex<String>,
}

impl Life {
    /// Starts a server with the arguments of this program, and waits until it listens.
    pub fn start(weights: &std::path::Path, key: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(std::env::args().skip(1))
            .arg("--child")
            .arg("--weights")
            .arg(weights)
            .env(KEY, key)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        Self {
            address: line.trim().parse().unwrap(),
            process: child.id().to_string(),
            born: Instant::now(),
            child: child.into(),
            versions: vec![0].into(),
            samples: Mutex::default(),
            end: Mutex::default(),
        }
    }

    /// Ends it, and says whether it ended as it should.
    pub fn end(&self, by_force: bool) -> bool {
        let mut child = self.child.lock().unwrap();
        if by_force {
            child.kill().unwrap();
        } else {
            let told = Command::new("kill").args(["-TERM", &self.process]).status();
            assert!(told.unwrap().success());
        }
        let status = child.wait().unwrap();
        let name = if by_force { "SIGKILL" } else { "SIGTERM" };
        *self.end.lock().unwrap() = match status.code() {
            Some(code) => format!("{name}, exit code {code}"),
            None => name.to_string(),
        };
        by_force || status.code() == Some(0)
    }
}
