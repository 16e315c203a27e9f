//! A client on one connection, which it keeps.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// An answer.
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// When the first event of a stream that names an item was there.
    pub first_item: Option<Instant>,
}

/// Asks one server, again and again.
pub struct Client {
    address: SocketAddr,
    key: Option<String>,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            key: None,
            stream: None,
        }
    }

    /// Who asks with a bearer key.
    pub fn with_key(self, key: &str) -> Self {
        Self {
            key: Some(key.into()),
            ..self
        }
    }

    /// The answer to a request; none where the connection ends before.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).ok()?;
                stream
                    .set_read_timeout(Some(Duration::from_secs(150)))
                    .ok()?;
                BufReader::new(stream)
            }
        };
        let key = self.key.as_ref();
        let key = key.map_or_else(String::new, |key| {
            format!("Authorization: Bearer {key}\r\n")
        });
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{key}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes()).ok()?;
        let answer = read(&mut stream)?;
        self.stream = Some(stream);
        Some(answer)
    }

    pub fn post(&mut self, path: &str, body: &str) -> Option<Answer> {
        self.ask("POST", path, body)
    }
}

fn line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    line.truncate(line.trim_end().len());
    Some(line)
}

fn read(stream: &mut impl BufRead) -> Option<Answer> {
    let (mut status, mut length, mut chunked) = (0, 0, false);
    loop {
        let line = line(stream)?.to_ascii_lowercase();
        if line.starts_with("http/") {
            status = line.split(' ').nth(1)?.parse().ok()?;
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        } else if line.starts_with("transfer-encoding:") {
            chunked = true;
        } else if line.is_empty() {
            break;
        }
    }
    let (mut body, mut first_item) = (vec![], None);
    let take = |stream: &mut dyn BufRead, length: usize, body: &mut Vec<u8>| {
        let before = body.len();
        body.resize(before + length, 0);
        stream.read_exact(&mut body[before..]).ok()
    };
    if chunked {
        loop {
            let length = usize::from_str_radix(&line(stream)?, 16).ok()?;
            take(stream, length, &mut body)?;
            line(stream).or((length == 0).then(String::new))?;
            if length == 0 {
                break;
            }
            let piece = String::from_utf8_lossy(&body[body.len() - length..]);
            if first_item.is_none() && piece.contains("\"rank\"") {
                first_item = Some(Instant::now());
            }
        }
    } else {
        take(stream, length, &mut body)?;
    }
    let body = String::from_utf8(body).ok()?;
    Some(Answer {
        status,
        body,
        first_item,
    })
}

/// The time below which so large a share lies, of sorted times.
pub fn at(times: &[f64], share: f64) -> f64 {
    let place = (times.len() as f64 * share) as usize;
    let last = times.len().saturating_sub(1);
    times.get(place.min(last)).copied().unwrap_or(f64::NAN)
}
