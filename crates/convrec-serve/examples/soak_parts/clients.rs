//! Clients that wait for their answers, and clients that do not.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::rest;
use super::world::{World, add};
use crate::support::client::Client;

/// After so long without an answer a request is lost.
const PATIENCE: Duration = Duration::from_secs(120);

/// Asks at a pace, checks each answer, and asks again where the server is gone.
pub fn patient(world: &World, n: usize, pace: Duration, until: Instant) {
    let mut kept: Option<(SocketAddr, Client)> = None;
    let mut asked = n * 5;
    loop {
        let began = Instant::now();
        let question = asked % world.questions.len();
        asked += 1;
        let mut tries = 0;
        loop {
            tries += 1;
            let life = world.life();
            let (address, mut client) = kept
                .take()
                .filter(|(address, _)| *address == life.address)
                .unwrap_or_else(|| (life.address, Client::new(life.address)));
            let asking = &world.questions[question];
            let counts = &world.counts;
            match client.post(asking.path, &asking.body) {
                Some(answer) if matches!(answer.status, 429 | 503) => add(&counts.busy),
                Some(answer) => {
                    kept = Some((address, client));
                    match world.problem(question, &answer, &life) {
                        Some(problem) => counts.wrong.lock().unwrap().push(problem),
                        None if tries > 1 => add(&counts.retried),
                        None => {
                            let time = began.elapsed().as_secs_f64() * 1e3;
                            counts.first.lock().unwrap().push(time);
                        }
                    }
                    break;
                }
                None => {}
            }
            if began.elapsed() > PATIENCE {
                add(&counts.lost);
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if !rest(pace.saturating_sub(began.elapsed()), until) {
            return;
        }
    }
}

/// Asks, and leaves before or while the answer comes.
pub fn impatient(world: &World, until: Instant) {
    let mut asked = 0;
    while rest(Duration::from_millis(700), until) {
        let question = &world.questions[asked % world.questions.len()];
        asked += 1;
        let Ok(mut stream) = TcpStream::connect(world.life().address) else {
            continue;
        };
        let (path, body) = (question.path, &question.body);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(request.as_bytes()).is_ok() {
            std::thread::sleep(Duration::from_millis(asked as u64 * 37 % 60));
            add(&world.counts.left);
        }
    }
}
