//! From hidden states to the next tokens.

use std::ops::Range;

use burn::tensor::Tensor;
use rayon::prelude::*;

use super::Group;
use crate::constraint::add_prior;
use crate::decoder::{Policy, indices};
use crate::row::{Row, Settings};

/// Rows that go on from the same hidden state.
pub(super) struct Site<'g, 'a> {
    prompt: &'g [u32],
    settings: Settings,
    rows: Vec<&'g mut Row<'a>>,
}

impl<'a> Group<'a> {
    /// All rows at once, as they begin.
    pub(super) fn all(&mut self) -> Site<'_, 'a> {
        Site {
            prompt: &self.prompt,
            settings: self.settings,
            rows: self.rows.iter_mut().collect(),
        }
    }

    /// Each row that is not done by itself.
    pub(super) fn active(&mut self) -> impl Iterator<Item = Site<'_, 'a>> {
        let (prompt, settings) = (&*self.prompt, self.settings);
        let active = self
            .rows
            .iter_mut()
            .filter(move |row| !row.is_done(&settings));
        active.map(move |row| Site {
            prompt,
            settings,
            rows: vec![row],
        })
    }
}

impl Site<'_, '_> {
    /// Rows of one site begin together, so that what is allowed is the same for all of them.
    fn allowed(&self) -> Option<&[u32]> {
        self.rows.first()?.allowed()
    }

    fn prior(&self) -> Option<&[f32]> {
        self.rows.first()?.prior()
    }
}

/// Draws for sites, of which `hidden` holds the states, `[sites, D]`.
pub(super) fn draw<'g, 'a: 'g>(
    policy: &Policy,
    hidden: Tensor<2>,
    sites: impl Iterator<Item = Site<'g, 'a>>,
) {
    let sites: Vec<Site<'g, 'a>> = sites.collect();
    let logits = Logits::new(policy, hidden, &sites);
    let work = sites.into_iter().enumerate().flat_map(|(n, site)| {
        let Site {
            prompt, settings, ..
        } = site;
        let (rows, logits) = (site.rows.into_iter(), logits.of(n));
        rows.map(move |row| (row, prompt, settings, logits))
    });
    let work: Vec<_> = work.collect();
    work.into_par_iter()
        .for_each(|(row, prompt, settings, logits)| row.go_on(logits, prompt, &settings));
}

/// The logits of sites: of the allowed tokens where there is a constraint, else of all.
struct Logits {
    constrained: Vec<f32>,
    free: Vec<f32>,
    /// For each site its part of the one or the other.
    parts: Vec<(bool, Range<usize>)>,
}

impl Logits {
    fn new(policy: &Policy, hidden: Tensor<2>, sites: &[Site<'_, '_>]) -> Self {
        let (mut allowed, mut constrained, mut free) = (vec![], vec![], vec![]);
        let (mut ends, mut parts) = ([0, 0], vec![]);
        for (n, site) in sites.iter().enumerate() {
            let (is_constrained, size) = match site.allowed() {
                Some(tokens) => {
                    allowed.push(tokens);
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
        // Where all sites are of one kind, which is the rule, nothing is picked out.
        let pick = |hidden: Tensor<2>, places: Vec<usize>| match places.len() == sites.len() {
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
            let matrix = policy.output_matrix();
            found.constrained = floats(convrec_kernels::logits_constrained(
                hidden, matrix, &allowed,
            ));
            for (site, (is_constrained, range)) in sites.iter().zip(&found.parts) {
                if *is_constrained {
                    add_prior(&mut found.constrained[range.clone()], site.prior());
                }
            }
        }
        if !free.is_empty() {
            let hidden = pick(hidden, free);
            found.free = floats(policy.logits(hidden).flatten(0, 1));
        }
        found
    }

    fn of(&self, site: usize) -> &[f32] {
        let (is_constrained, range) = &self.parts[site];
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
