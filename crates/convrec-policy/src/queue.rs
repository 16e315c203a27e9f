//! Requests that wait for room, fair among clients.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use crate::engine::Ticket;
use crate::request::Request;

pub(crate) struct Waiting<'a> {
    pub(crate) ticket: Ticket,
    pub(crate) request: Request<'a>,
    /// Whether it came together with others and is not counted beside them.
    pub(crate) rides: bool,
}

/// A line for each client.
#[derive(Default)]
pub(crate) struct Queue<'a> {
    lines: BTreeMap<u64, VecDeque<Waiting<'a>>>,
    /// When each client had its last turn.
    turns: HashMap<u64, u64>,
    turn: u64,
    /// Requests that are counted.
    requests: usize,
    rows: usize,
}

/// Clients whose last turns are remembered while they have nothing that waits.
const REMEMBERED: usize = 4096;

impl<'a> Queue<'a> {
    pub(crate) fn push(&mut self, waiting: Waiting<'a>) {
        self.requests += usize::from(!waiting.rides);
        self.rows += waiting.request.rows();
        let line = self.lines.entry(waiting.request.client).or_default();
        line.push_back(waiting);
    }

    /// The client whose turn it is: the one with the fewest rows under way, of those the one whose
    /// last turn is longest ago, and of those the one that has waited longest.
    pub(crate) fn next_client(&self, under_way: &HashMap<u64, usize>) -> Option<u64> {
        let rows = |client: &u64| under_way.get(client).copied().unwrap_or(0);
        let lines = self.lines.iter();
        lines
            .min_by_key(|(client, line)| {
                let last = self.turns.get(client).copied().unwrap_or(0);
                let first = line.front().map(|first| first.ticket);
                (rows(client), last, first)
            })
            .map(|(client, _)| *client)
    }

    pub(crate) fn first_of(&self, client: u64) -> Option<&Request<'a>> {
        Some(&self.lines.get(&client)?.front()?.request)
    }

    pub(crate) fn pop(&mut self, client: u64) -> Option<Waiting<'a>> {
        let line = self.lines.get_mut(&client)?;
        let first = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&client);
        }
        self.requests -= usize::from(!first.rides);
        self.rows -= first.request.rows();
        self.turn += 1;
        if self.turns.len() >= REMEMBERED {
            let lines = &self.lines;
            self.turns.retain(|client, _| lines.contains_key(client));
        }
        self.turns.insert(client, self.turn);
        Some(first)
    }

    /// Takes out the requests that `is_over` says.
    pub(crate) fn remove(
        &mut self,
        is_over: impl Fn(Ticket, Option<Instant>) -> bool,
    ) -> Vec<Ticket> {
        let mut removed = vec![];
        let (requests, rows) = (&mut self.requests, &mut self.rows);
        self.lines.retain(|_, line| {
            line.retain(|waiting| {
                let over = is_over(waiting.ticket, waiting.request.deadline);
                if over {
                    *requests -= usize::from(!waiting.rides);
                    *rows -= waiting.request.rows();
                    removed.push(waiting.ticket);
                }
                !over
            });
            !line.is_empty()
        });
        removed
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}
