use convrec_catalog::Catalog;
use convrec_core::{Example, Item};

use super::{Mistakes, Scorer};
use crate::{ServiceError, Teacher, demonstration, seen_ids, stable};

/// A teacher that ranks the catalog by a [`Scorer`], leaves out seen items, and writes its list
/// with [`Mistakes`].
///
/// The same sample and seed give the same answer.
#[derive(Debug, Clone, Copy)]
pub struct ScriptedTeacher<'a, S> {
    /// The catalog of its items.
    pub catalog: &'a Catalog,
    /// The scorer that ranks them.
    pub scorer: S,
    /// The rates of its mistakes.
    pub mistakes: Mistakes,
    /// The seed of the mistakes.
    pub seed: u64,
}

impl<S: Scorer> Teacher for ScriptedTeacher<'_, S> {
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError> {
        let seen = seen_ids(self.catalog, example);
        let best = demonstration(&self.scorer.scores(example), n, &seen);
        let list: Vec<Item> = best
            .into_iter()
            .map(|item| self.catalog[item].item())
            .collect();
        Ok(self
            .mistakes
            .write(&list, n, &mut stable::rng(self.seed, &example.id)))
    }
}
