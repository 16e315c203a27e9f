//! From hidden states to the next tokens.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::group::{Group, Work};
use crate::constraint::add_prior;
use crate::decoder::{Policy, indices};
use crate::row::{Row, Settings};
use crate::search::Searching;

/// What goes on from one hidden state, or from one for each beginning of a search.
pub(super) enum Site<'g, 'a> {
    /// Rows that go on from the same hidden state.
    Rows {
        prompt: &'g [u32],
        settings: Settings,
        rows: Vec<&'g mut Row<'a>>,
    },
    Search {
        settings: Settings,
        search: &'g mut Searching<'a>,
    },
}

/// What may come next at a hidden state, and what is known of it.
type Asked<'s> = (Option<&'s [u32]>, Option<&'s [f32]>);

impl<'a> Group<'a> {
    /// All that begins at once.
    pub(super) fn all(&mut self) -> Site<'_, 'a> {
        let settings = self.settings;
        match &mut self.work {
            Work::Rows(rows) => Site::Rows {
                prompt: &self.prompt,
                settings,
                rows: rows.iter_mut().collect(),
            },
            Work::Search(search) => Site::Search { settings, search },
        }
    }

    /// Each row that is not done by itself.
    pub(super) fn active(&mut self) -> Vec<Site<'_, 'a>> {
        let (prompt, settings) = (&*self.prompt, self.settings);
        match &mut self.work {
            Work::Rows(rows) => {
                let active = rows.iter_mut().filter(|row| !row.is_done(&settings));
                let site = |row| Site::Rows {
                    prompt,
                    settings,
                    rows: vec![row],
                };
                active.map(site).collect()
            }
            Work::Search(search) => vec![Site::Search { settings, search }],
        }
    }
}

impl Site<'_, '_> {
    /// For each hidden state. Rows of one site begin together, so that what is allowed is the same
    /// for all of them.
    fn asked(&self) -> Vec<Asked<'_>> {
        match self {
            Self::Rows { rows, .. } => {
                let first = rows.first();
                vec![first.map_or((None, None), |row| (row.allowed(), row.prior()))]
            }
            Self::Search { search, .. } => {
                let open = search.open.iter();
                open.map(|beam| (Some(beam.allowed()), beam.prior()))
                    .collect()
            }
        }
    }
}

/// Draws for sites, of which `hidden` holds the states, `[states, D]`.
pub(super) fn draw<'g, 'a: 'g>(
    policy: &Policy,
    hidden: Tensor<2>,
    sites: impl Iterator<Item = Site<'g, 'a>>,
) {
    let sites: Vec<Site<'g, 'a>> = sites.collect();
    let asked: Vec<Vec<Asked<'_>>> = sites.iter().map(Site::asked).collect();
    let ends = asked.iter().scan(0, |end, of_site| {
        *end += of_site.len();
        Some(*end - of_site.len()..*end)
    });
    let states: Vec<Range<usize>> = ends.collect();
    let logits = Logits::new(policy, hidden, &asked.concat());
    let mut work = vec![];
    for (site, states) in sites.into_iter().zip(states) {
        match site {
            Site::Rows {
                prompt,
                settings,
                rows,
            } => {
                let logits = logits.of(states.start);
                work.extend(rows.into_iter().map(|row| Task::Row {
                    row,
                    logits,
                    prompt,
                    settings,
                }));
            }
            Site::Search { settings, search } => work.push(Task::Search {
                search,
                logits: states.map(|state| logits.of(state)).collect(),
                settings,
            }),
        }
    }
    work.into_par_iter().for_each(Task::go_on);
}

enum Task<'g, 'a> {
    Row {
        row: &'g mut Row<'a>,
        logits: &'g [f32],
        prompt: &'g [u32],
        settings: Settings,
    },
    Search {
        search: &'g mut Searching<'a>,
        logits: Vec<&'g [f32]>,
        settings: Settings,
    },
}

impl Task<'_, '_> {
    fn go_on(self) {
        match self {
            Self::Row {
                row,
                logits,
                prompt,
                settings,
            } => row.go_on(logits, prompt, &settings),
            Self::Search {
                search,
                logits,
                settings,
            } => search.step(&logits, &settings),
        }
    }
}

/// The logits of hidden states: of the allowed tokens where there is a constraint, else of all.
struct Logits {
    constrained: Vec<f32>,
    free: Vec<f32>,
    /// For each state its part of the one or the other.
    parts: Vec<(bool, Range<usize>)>,
}

impl Logits {
    fn new(policy: &Policy, hidden: Tensor<2>, asked: &[Asked<'_>]) -> Self {
        let (mut allowed, mut constrained, mut free) = (vec![], vec![], vec![]);
        let (mut ends, mut parts) = ([0, 0], vec![]);
        for (n, (tokens, _)) in asked.iter().enumerate() {
            let (is_constrained, size) = match tokens {
                Some(tokens) => {
                    allowed.push(*tokens);
                    constrained.push(n);
                    (true, tokens.len())
                }
                None => {
                    free.push(n);
                    (false, policy.config().vocab_size)
                }
            };
            let end = &mut ends[usize::from(is_constrained)];
            parts.push((is_constrained, *end..*end + size));
            *end += size;
        }
        // Where all are of one kind, which is the rule, nothing is picked out.
        let pick = |hidden: Tensor<2>, places: Vec<usize>| match places.len() == asked.len() {
            true => hidden,
            false => hidden.select(0, indices(places.into_iter(), &policy.device())),
        };
        let mut found = Self {
            constrained: vec![],
            free: vec![],
            parts,
        };
        if !constrained.is_empty() {
            let hidden = pick(hidden.clone(), constrained);
            found.constrained = floats(policy.logits_constrained(hidden, &allowed));
            for ((_, prior), (is_constrained, range)) in asked.iter().zip(&found.parts) {
                if *is_constrained {
                    add_prior(&mut found.constrained[range.clone()], *prior);
                }
            }
        }
        if !free.is_empty() {
            let hidden = pick(hidden, free);
            found.free = floats(policy.logits(hidden).flatten(0, 1));
        }
        found
    }

    fn of(&self, state: usize) -> &[f32] {
        let (is_constrained, range) = &self.parts[state];
        match is_constrained {
            true => &self.constrained[range.clone()],
            false => &self.free[range.clone()],
        }
    }
}

fn floats(logits: Tensor<1>) -> Vec<f32> {
    logits
        .into_data()
        .try_into_vec_as::<f32>()
        .expect("logits are floats")
}
