//! How the processes of a group find each other.
//!
//! Every process but the first connects to the first, and says its rank, the size of the group, and
//! the port at which it listens itself. When all have come, the first sends everybody the addresses
//! of all. Each process then connects to those between the first and itself.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::TcpSettings;
use crate::error::GroupError;

/// The first bytes of a process of this version. The number is in the order of the machine, as the
/// numbers of sums are.
const MAGIC: [u8; 8] = (0x0143_4F4C_4C45_4354_u64).to_ne_bytes();

/// Magic, rank, size, port.
const HELLO: usize = 18;

/// How long somebody who connects may take to say who it is.
const GREETING: Duration = Duration::from_secs(5);

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// Who connected.
struct Hello {
    rank: usize,
    size: usize,
    port: u16,
}

pub(super) fn failed(settings: &TcpSettings, problem: String) -> GroupError {
    GroupError::Meeting {
        rank: settings.rank,
        size: settings.size,
        problem,
    }
}

/// Process 0 receives the others, and tells each of them the addresses of all.
pub(super) fn meet(
    listener: &TcpListener,
    settings: &TcpSettings,
) -> Result<Vec<Option<TcpStream>>, GroupError> {
    let deadline = Instant::now() + settings.patience;
    let mut streams: Vec<Option<TcpStream>> = (0..settings.size).map(|_| None).collect();
    let mut addresses = String::new();
    let mut places: Vec<Option<SocketAddr>> = vec![None; settings.size];
    receive(
        listener,
        settings,
        deadline,
        1,
        &mut streams,
        |hello, ip| {
            places[hello.rank] = Some(SocketAddr::new(ip, hello.port));
        },
    )?;
    for place in places.iter().flatten() {
        addresses += &format!("{place}\n");
    }
    for stream in streams.iter_mut().flatten() {
        let length = (addresses.len() as u32).to_le_bytes();
        let send = |stream: &mut TcpStream| {
            stream.write_all(&length)?;
            stream.write_all(addresses.as_bytes())
        };
        send(stream).map_err(|e| failed(settings, format!("a process left again ({e})")))?;
    }
    Ok(streams)
}

/// Another process goes to the first one, then to those before it, and receives those behind it.
pub(super) fn meet_at_first(settings: &TcpSettings) -> Result<Vec<Option<TcpStream>>, GroupError> {
    let deadline = Instant::now() + settings.patience;
    let error = |problem: String| failed(settings, problem);
    let mut first = connect(settings, deadline)?;
    let listen = || TcpListener::bind((first.local_addr()?.ip(), 0));
    let listener = listen().map_err(|e| error(format!("cannot listen at a free port ({e})")))?;
    let port = listener
        .local_addr()
        .map_err(|e| error(e.to_string()))?
        .port();
    let addresses = greet(&mut first, settings, port)
        .and_then(|()| read_addresses(&mut first, deadline))
        .map_err(|e| {
            error(format!(
                "process 0 at {}:{} did not take it ({e}); its own message says why",
                settings.host, settings.port
            ))
        })?;
    let mut streams: Vec<Option<TcpStream>> = (0..settings.size).map(|_| None).collect();
    streams[0] = Some(first);
    for (n, address) in addresses.iter().enumerate().take(settings.rank - 1) {
        let meet = || {
            let mut stream = TcpStream::connect_timeout(address, left(deadline))?;
            greet(&mut stream, settings, port)?;
            Ok::<_, io::Error>(stream)
        };
        let rank = n + 1;
        let stream = meet().map_err(|e| error(format!("process {rank} at {address}: {e}")))?;
        streams[rank] = Some(stream);
    }
    receive(
        &listener,
        settings,
        deadline,
        settings.rank + 1,
        &mut streams,
        |_, _| {},
    )?;
    Ok(streams)
}

/// The connection to process 0, which may not be there yet.
fn connect(settings: &TcpSettings, deadline: Instant) -> Result<TcpStream, GroupError> {
    loop {
        match TcpStream::connect((settings.host.as_str(), settings.port)) {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(e) => {
                return Err(failed(
                    settings,
                    format!(
                        "nobody answers at {}:{} ({e}); MASTER_ADDR is the address of the host of \
                         process 0, and MASTER_PORT the same port for all",
                        settings.host, settings.port
                    ),
                ));
            }
        }
    }
}

/// Takes the connections of all processes from rank `from` on.
fn receive(
    listener: &TcpListener,
    settings: &TcpSettings,
    deadline: Instant,
    from: usize,
    streams: &mut [Option<TcpStream>],
    mut came: impl FnMut(&Hello, IpAddr),
) -> Result<(), GroupError> {
    let error = |e: io::Error| failed(settings, format!("cannot take connections ({e})"));
    listener.set_nonblocking(true).map_err(error)?;
    while streams[from..].iter().any(Option::is_none) {
        let (mut stream, address) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                thread::sleep(PAUSE);
                continue;
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let missing = (from..settings.size).filter(|rank| streams[*rank].is_none());
                let missing: Vec<String> = missing.map(|rank| rank.to_string()).collect();
                let seconds = settings.patience.as_secs();
                let missing = missing.join(", ");
                let problem = format!("after {seconds} s these have not come: {missing}");
                return Err(failed(settings, problem));
            }
            Err(e) => return Err(error(e)),
        };
        let hello = match read_hello(&mut stream) {
            Ok(hello) => hello,
            Err(e) => {
                log::warn!("{address} connected and is no process of the group: {e}");
                continue;
            }
        };
        let Hello { rank, size, .. } = hello;
        if size != settings.size {
            let problem = format!("process {rank} says that there are {size} processes");
            return Err(failed(settings, problem));
        }
        if rank < from || rank >= size || streams[rank].is_some() {
            let problem = format!("two processes say that they are process {rank}");
            return Err(failed(settings, problem));
        }
        came(&hello, address.ip());
        streams[rank] = Some(stream);
    }
    Ok(())
}

fn greet(stream: &mut TcpStream, settings: &TcpSettings, port: u16) -> io::Result<()> {
    let mut hello = [0; HELLO];
    hello[..8].copy_from_slice(&MAGIC);
    hello[8..12].copy_from_slice(&(settings.rank as u32).to_le_bytes());
    hello[12..16].copy_from_slice(&(settings.size as u32).to_le_bytes());
    hello[16..].copy_from_slice(&port.to_le_bytes());
    stream.write_all(&hello)
}

fn read_hello(stream: &mut TcpStream) -> io::Result<Hello> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(GREETING))?;
    let mut hello = [0; HELLO];
    stream.read_exact(&mut hello)?;
    if hello[..8] != MAGIC {
        return Err(io::Error::other(
            "other bytes than this version greets with",
        ));
    }
    let word = |from: usize| {
        let bytes = hello[from..from + 4]
            .try_into()
            .expect("4 bytes of the greeting");
        u32::from_le_bytes(bytes) as usize
    };
    Ok(Hello {
        rank: word(8),
        size: word(12),
        port: u16::from_le_bytes([hello[16], hello[17]]),
    })
}

/// The addresses of processes 1, 2 and so on.
fn read_addresses(stream: &mut TcpStream, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
    stream.set_read_timeout(Some(left(deadline)))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut text = String::new();
    stream
        .take(u32::from_le_bytes(length).into())
        .read_to_string(&mut text)?;
    let address = |line: &str| line.parse().map_err(io::Error::other);
    text.lines().map(address).collect()
}

/// The time until then; never 0, which would mean no limit.
fn left(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left.max(Duration::from_millis(1))
}
