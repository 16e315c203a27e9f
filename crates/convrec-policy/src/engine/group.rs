//! A request under way: its prompt, what is written for it, and where that lies in the cache.

use std::borrow::Cow;
use std::time::Instant;

use super::Ticket;
use crate::prefix::Known;
use crate::queue::Waiting;
use crate::request::Written;
use crate::row::{Row, Settings};
use crate::search::Searching;

/// A prompt and its completions.
pub(super) struct Group<'a> {
    pub(super) ticket: Ticket,
    pub(super) client: u64,
    pub(super) deadline: Option<Instant>,
    pub(super) prompt: Cow<'a, [u32]>,
    pub(super) settings: Settings,
    pub(super) work: Work<'a>,
    /// Completions that there is room for.
    pub(super) slots: usize,
    /// The place of the prompt; those of the rows follow.
    pub(super) first: usize,
    /// Places of each row.
    pub(super) room: usize,
    /// What was known of the prompt when it came.
    pub(super) known: Known,
}

/// Tokens a completion that there is room for to begin with.
const FIRST_ROOM: usize = 128;

/// What is written for a prompt.
pub(super) enum Work<'a> {
    Rows(Vec<Row<'a>>),
    Search(Searching<'a>),
}

/// A completion under way.
pub(super) struct Head<'g> {
    /// Its place among those of its prompt.
    pub(super) slot: usize,
    pub(super) tokens: &'g [u32],
    /// How many of them have their keys and values in the cache.
    pub(super) cached: usize,
}

impl<'a> Group<'a> {
    /// A request as it comes in. It has no places yet.
    pub(super) fn new(waiting: Waiting<'a>, known: Known) -> Self {
        let Waiting {
            ticket, request, ..
        } = waiting;
        let settings = Settings {
            sampling: request.sampling,
            max_new_tokens: request.max_new_tokens,
            end_token: request.end_token,
            top: request.top,
        };
        let slots = request.rows();
        Self {
            ticket,
            client: request.client,
            deadline: request.deadline,
            prompt: request.prompt,
            settings,
            slots,
            work: match request.search {
                Some(search) => Work::Search(Searching::new(search)),
                None => Work::Rows(request.writers.into_iter().map(Row::new).collect()),
            },
            first: 0,
            room: request.max_new_tokens.min(FIRST_ROOM),
            known,
        }
    }

    pub(super) fn places(&self) -> usize {
        self.prompt.len() + self.slots * self.room
    }

    pub(super) fn own(&self, slot: usize) -> usize {
        self.first + self.prompt.len() + slot * self.room
    }

    /// The tokens that it may come to.
    pub(super) fn promised(&self) -> usize {
        self.prompt.len() + self.slots * self.settings.max_new_tokens
    }

    pub(super) fn is_done(&self) -> bool {
        match &self.work {
            Work::Rows(rows) => rows.iter().all(|row| row.is_done(&self.settings)),
            Work::Search(search) => search.is_done(),
        }
    }

    /// The completions that go on.
    pub(super) fn heads(&self) -> Vec<Head<'_>> {
        match &self.work {
            Work::Rows(rows) => {
                let rows = rows.iter().enumerate();
                rows.filter(|(_, row)| !row.is_done(&self.settings))
                    .map(|(slot, row)| Head {
                        slot,
                        tokens: &row.completion.tokens,
                        cached: row.cached(),
                    })
                    .collect()
            }
            Work::Search(search) => search
                .open
                .iter()
                .map(|beam| Head {
                    slot: beam.slot,
                    tokens: beam.tokens(),
                    cached: beam.cached,
                })
                .collect(),
        }
    }

    pub(super) fn written(self) -> Vec<Written> {
        match self.work {
            Work::Rows(rows) => rows.into_iter().map(Row::written).collect(),
            Work::Search(search) => search.written(),
        }
    }
}
