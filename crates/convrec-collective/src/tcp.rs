//! Processes that are connected by TCP, each with each.

mod meeting;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::GroupError;
use crate::transport::Transport;

/// What a frame holds.
const DATA: u8 = 1;
const ABORT: u8 = 2;

/// Kind, number of the exchange, length.
const HEADER: usize = 17;

/// No process sends more at once.
const LARGEST: u64 = 1 << 32;

/// How long a process that stops gives the others to hear why.
const FAREWELL: Duration = Duration::from_secs(2);

/// A process of a group, and where the group meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSettings {
    /// This process, from 0.
    pub rank: usize,
    /// The number of processes.
    pub size: usize,
    /// The address of process 0, as the others reach it. Process 0 listens there.
    pub host: String,
    /// A free port of that host.
    pub port: u16,
    /// How long the processes wait for each other at the start.
    pub patience: Duration,
    /// How long a process may send nothing while others wait for it.
    pub timeout: Duration,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            rank: 0,
            size: 1,
            host: "127.0.0.1".into(),
            port: 29_500,
            patience: Duration::from_secs(300),
            timeout: Duration::from_secs(1800),
        }
    }
}

/// A process that is connected to all others of its group.
#[derive(Debug)]
pub struct Tcp {
    rank: usize,
    timeout: Duration,
    /// The connection to each process; none to itself.
    peers: Vec<Option<Peer>>,
    exchanges: AtomicU64,
    /// The first error. No operation works after it.
    failed: OnceLock<GroupError>,
}

#[derive(Debug)]
struct Peer {
    stream: TcpStream,
    /// Held while a frame is written.
    writing: Mutex<()>,
}

impl Tcp {
    /// Joins a group, and returns when all its processes have. Process 0 listens at the address of
    /// the settings. The others connect to it, and then to each other at free ports.
    ///
    /// # Errors
    /// [`GroupError::Meeting`] when process 0 cannot listen or be reached, two processes have one
    /// rank or different sizes, or some do not come within [`TcpSettings::patience`].
    pub fn join(settings: &TcpSettings) -> Result<Self, GroupError> {
        if settings.rank > 0 {
            return Self::new(settings, meeting::meet_at_first(settings)?);
        }
        let listener = TcpListener::bind((settings.host.as_str(), settings.port));
        let listener = listener.map_err(|e| {
            meeting::failed(
                settings,
                format!(
                    "cannot listen at {}:{} ({e}); MASTER_ADDR is an address of the host of \
                     process 0, MASTER_PORT a port that is free there",
                    settings.host, settings.port
                ),
            )
        })?;
        Self::host(listener, settings)
    }

    /// Process 0 of a group that meets at `listener`.
    ///
    /// # Errors
    /// [`GroupError::Meeting`] as of [`join`](Self::join).
    pub fn host(listener: TcpListener, settings: &TcpSettings) -> Result<Self, GroupError> {
        Self::new(settings, meeting::meet(&listener, settings)?)
    }

    fn new(settings: &TcpSettings, streams: Vec<Option<TcpStream>>) -> Result<Self, GroupError> {
        let prepare = |stream: TcpStream| {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(settings.timeout))?;
            stream.set_write_timeout(Some(settings.timeout))?;
            Ok::<_, io::Error>(Peer {
                stream,
                writing: Mutex::new(()),
            })
        };
        let peers = streams
            .into_iter()
            .map(|stream| stream.map(prepare).transpose());
        let peers = peers.collect::<Result<_, _>>();
        Ok(Self {
            rank: settings.rank,
            timeout: settings.timeout,
            peers: peers.map_err(|e| meeting::failed(settings, e.to_string()))?,
            exchanges: AtomicU64::new(0),
            failed: OnceLock::new(),
        })
    }

    fn others(&self) -> impl Iterator<Item = (usize, &Peer)> {
        let peers = self.peers.iter().enumerate();
        peers.filter_map(|(rank, peer)| peer.as_ref().map(|peer| (rank, peer)))
    }

    fn send(&self, rank: usize, peer: &Peer, place: u64, bytes: &[u8]) -> Result<(), GroupError> {
        let _one_frame = peer.writing.lock();
        let write = || {
            let mut stream = &peer.stream;
            stream.write_all(&header(DATA, place, bytes.len()))?;
            stream.write_all(bytes)
        };
        write().map_err(|e| self.broken(rank, &e))
    }

    fn receive(&self, rank: usize, peer: &Peer, place: u64) -> Result<Vec<u8>, GroupError> {
        let size = self.size();
        let out_of_step = |problem: String| GroupError::OutOfStep {
            rank,
            size,
            problem,
        };
        let read = |bytes: &mut [u8]| {
            let mut stream = &peer.stream;
            stream.read_exact(bytes).map_err(|e| self.broken(rank, &e))
        };
        let mut head = [0; HEADER];
        read(&mut head)?;
        let number = |from: usize| {
            u64::from_le_bytes(
                head[from..from + 8]
                    .try_into()
                    .expect("8 bytes of the header"),
            )
        };
        let (kind, at, length) = (head[0], number(1), number(9));
        if length > LARGEST || ![DATA, ABORT].contains(&kind) {
            return Err(out_of_step("it sent what is no frame".into()));
        }
        let mut bytes = vec![0; length as usize];
        read(&mut bytes)?;
        if kind == ABORT {
            let reason = String::from_utf8_lossy(&bytes).into_owned();
            return Err(GroupError::Stopped { rank, size, reason });
        }
        if at != place {
            return Err(out_of_step(format!(
                "it is at exchange {at}, this one at {place}"
            )));
        }
        Ok(bytes)
    }

    fn broken(&self, rank: usize, error: &io::Error) -> GroupError {
        let size = self.size();
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => GroupError::Silent {
                rank,
                size,
                seconds: self.timeout.as_secs(),
            },
            ErrorKind::UnexpectedEof => GroupError::Gone {
                rank,
                size,
                problem: "it closed the connection".into(),
            },
            _ => GroupError::Gone {
                rank,
                size,
                problem: error.to_string(),
            },
        }
    }

    /// Keeps the first error, tells the others, and wakes the threads that wait for them.
    fn fail(&self, error: GroupError) {
        if self.failed.set(error.clone()).is_ok() {
            self.tell(&error.to_string());
            for (_, peer) in self.others() {
                let _ = peer.stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Sends the reason to all that can take it at once.
    fn tell(&self, reason: &str) {
        for (_, peer) in self.others() {
            // A frame that is half written cannot be followed by another one.
            let Ok(_one_frame) = peer.writing.try_lock() else {
                continue;
            };
            let mut stream = &peer.stream;
            let _ = stream.set_write_timeout(Some(FAREWELL));
            let frame = [&header(ABORT, 0, reason.len())[..], reason.as_bytes()].concat();
            let _ = stream.write_all(&frame);
        }
    }
}

impl Transport for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.peers.len()
    }

    fn exchange(&self, to_each: &[&[u8]]) -> Result<Vec<Vec<u8>>, GroupError> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        let place = self.exchanges.fetch_add(1, Ordering::Relaxed);
        // A thread for each direction: nobody waits for a process that waits for a third one.
        let received = thread::scope(|scope| {
            let (mut readers, mut writers) = (Vec::new(), Vec::new());
            for (rank, peer) in self.others() {
                let bytes = to_each[rank];
                writers.push(scope.spawn(move || self.send(rank, peer, place, bytes)));
                let read = move || {
                    let received = self.receive(rank, peer, place);
                    received.map_err(|error| self.fail(error)).ok()
                };
                readers.push((rank, scope.spawn(read)));
            }
            let mut received = vec![Some(vec![]); self.size()];
            for (rank, reader) in readers {
                received[rank] = reader.join().expect("a reader does not panic");
            }
            // Where a connection broke, its reader knows more: it may have read the reason.
            for writer in writers {
                let written = writer.join().expect("a writer does not panic");
                written.unwrap_or_else(|error| self.fail(error));
            }
            received
        });
        match (self.failed.get(), received.into_iter().collect()) {
            (None, Some(received)) => Ok(received),
            (Some(error), _) => Err(error.clone()),
            (None, None) => unreachable!("a reader without bytes has an error"),
        }
    }

    fn abort(&self, reason: &str) {
        if self.failed.get().is_some() {
            return;
        }
        self.tell(reason);
        // Bytes that nobody has read would cut off what was told when this process ends.
        let deadline = Instant::now() + FAREWELL;
        for (_, peer) in self.others() {
            let _ = peer.stream.shutdown(Shutdown::Write);
            let mut rest = [0; 1 << 16];
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                let set = peer.stream.set_read_timeout(Some(left));
                let mut stream = &peer.stream;
                if left.is_zero() || set.is_err() || stream.read(&mut rest).unwrap_or(0) == 0 {
                    break;
                }
            }
        }
    }
}

fn header(kind: u8, place: u64, length: usize) -> [u8; HEADER] {
    let mut header = [kind; HEADER];
    header[1..9].copy_from_slice(&place.to_le_bytes());
    header[9..].copy_from_slice(&(length as u64).to_le_bytes());
    header
}
