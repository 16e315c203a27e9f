use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::error::GroupError;
use crate::group::ProcessGroup;
use crate::transport::Transport;

/// A group of `size` threads of this process: one member for each thread, in the order of ranks.
#[must_use]
pub fn threads(size: usize) -> Vec<ProcessGroup> {
    // `senders[from][to]` leads to `receivers[to][from]`.
    let mut receivers: Vec<Vec<Mutex<Receiver<Message>>>> = (0..size).map(|_| vec![]).collect();
    let mut senders = Vec::new();
    for _ in 0..size {
        let mut of_one = Vec::new();
        for receivers in &mut receivers {
            let (sender, receiver) = channel();
            of_one.push(sender);
            receivers.push(Mutex::new(receiver));
        }
        senders.push(of_one);
    }
    let members = senders.into_iter().zip(receivers).enumerate();
    members
        .map(|(rank, (senders, receivers))| {
            ProcessGroup::new(Threads {
                rank,
                senders,
                receivers,
            })
        })
        .collect()
}

enum Message {
    Data(Vec<u8>),
    Abort(String),
}

#[derive(Debug)]
struct Threads {
    rank: usize,
    senders: Vec<Sender<Message>>,
    receivers: Vec<Mutex<Receiver<Message>>>,
}

impl Transport for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.senders.len()
    }

    fn exchange(&self, to_each: &[&[u8]]) -> Result<Vec<Vec<u8>>, GroupError> {
        let size = self.size();
        let gone = |rank| GroupError::Gone {
            rank,
            size,
            problem: "its thread ended".into(),
        };
        for (rank, bytes) in to_each.iter().enumerate() {
            if rank != self.rank {
                // A receiver that is gone may have said why; that is read below.
                let _ = self.senders[rank].send(Message::Data(bytes.to_vec()));
            }
        }
        let from = |rank: usize| {
            if rank == self.rank {
                return Ok(vec![]);
            }
            let receiver = self.receivers[rank].lock();
            let receiver = receiver.expect("no thread panics while it receives");
            match receiver.recv() {
                Ok(Message::Data(bytes)) => Ok(bytes),
                Ok(Message::Abort(reason)) => Err(GroupError::Stopped { rank, size, reason }),
                Err(_) => Err(gone(rank)),
            }
        };
        (0..size).map(from).collect()
    }

    fn abort(&self, reason: &str) {
        for sender in &self.senders {
            let _ = sender.send(Message::Abort(reason.into()));
        }
    }
}
