//! Examples in ids of a catalog.

use std::collections::HashSet;

use convrec_core::{Example, Item, ItemId};

use crate::{Catalog, UnknownName};

/// The items of an example in ids.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExampleIds {
    /// The items that were seen ([`Catalog::seen`]), each once. Seen items outside the catalog need
    /// no id, as they cannot be recommended.
    pub seen: Vec<ItemId>,
    /// The relevant items ([`Catalog::meant`]), each once. Seen items are left out, as no list may
    /// have them.
    pub ground_truth: Vec<ItemId>,
}

/// An example cannot be used for training or evaluation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sample `{id}`, field `{field}`: {problem}")]
#[non_exhaustive]
pub struct ExampleError {
    /// The sample.
    pub id: String,
    /// The field that is wrong.
    pub field: &'static str,
    /// What was found, what is expected and what to do.
    pub problem: String,
}

impl Catalog {
    /// The items of an example in ids.
    ///
    /// Names of merged twins become their representatives, so twins are seen and judged together.
    ///
    /// # Errors
    /// [`ExampleError`] when a relevant item is not in the catalog, or means several items. The
    /// error names the sample and the nearest items.
    pub fn example_ids(&self, example: &Example) -> Result<ExampleIds, ExampleError> {
        let seen = self.seen_ids(&example.seen);
        let mut ground_truth = Vec::new();
        for item in &example.ground_truth {
            let id = self
                .meant(item)
                .map_err(|unknown| wrong_ground_truth(example, &unknown))?;
            if !seen.contains(&id) && !ground_truth.contains(&id) {
                ground_truth.push(id);
            }
        }
        Ok(ExampleIds { seen, ground_truth })
    }

    /// The items that count as seen when `items` were seen ([`seen`](Self::seen)), each once.
    #[must_use]
    pub fn seen_ids(&self, items: &[Item]) -> Vec<ItemId> {
        self.representatives(items.iter().flat_map(|item| self.seen(item)))
    }

    /// Checks that all examples can be trained or measured on: each has an id of its own and ground
    /// truth, and the ground truth is in the catalog.
    ///
    /// # Errors
    /// [`ExampleError`] for the first example that cannot be used.
    pub fn check_examples(&self, examples: &[Example]) -> Result<(), ExampleError> {
        let mut ids = HashSet::new();
        for example in examples {
            let wrong = |field, problem: &str| ExampleError {
                id: example.id.clone(),
                field,
                problem: problem.into(),
            };
            if !ids.insert(&example.id) {
                let problem = "it was used before; expected an id of its own for each sample";
                return Err(wrong("id", problem));
            }
            if example.ground_truth.is_empty() {
                let problem = "it is empty, so nothing can be learned or measured here; add the \
                               relevant items, or remove the sample";
                return Err(wrong("ground_truth", problem));
            }
            self.example_ids(example)?;
        }
        Ok(())
    }
}

fn wrong_ground_truth(example: &Example, unknown: &UnknownName) -> ExampleError {
    ExampleError {
        id: example.id.clone(),
        field: "ground_truth",
        problem: match unknown.ambiguous {
            true => format!("{unknown}, or remove it from the sample"),
            false => format!("{unknown}; add it to the catalog, or remove it from the sample"),
        },
    }
}

#[cfg(test)]
mod tests {
    use convrec_core::Turn;

    use super::*;
    use crate::testing::catalog;

    fn example(seen: &[Item], ground_truth: &[Item]) -> Example {
        Example {
            id: "d-1".into(),
            dialog: vec![Turn::user("hi")],
            seen: seen.to_vec(),
            ground_truth: ground_truth.to_vec(),
        }
    }

    #[test]
    fn names_become_ids_by_the_rules_for_people() {
        let films = catalog(&[
            ("Coco", Some(2017)),
            ("Dune", Some(1984)),
            ("Dune", Some(2021)),
            ("Heat (1995)", None),
        ]);
        let truth = |title: &str, year: Option<i32>| {
            films
                .example_ids(&example(&[], &[Item::new(title, year)]))
                .map(|ids| ids.ground_truth)
        };
        // The names have another case, no year, a year nearby, or a title that holds its year.
        for (title, year) in [("coco", Some(2017)), ("Coco", None), ("Coco", Some(2018))] {
            assert_eq!(truth(title, year).unwrap(), [ItemId(0)]);
        }
        assert_eq!(truth("Heat", Some(1995)).unwrap(), [ItemId(3)]);
        assert_eq!(truth("Heat (1995)", None).unwrap(), [ItemId(3)]);
        assert_eq!(
            truth("Dune", None).unwrap_err().to_string(),
            "sample `d-1`, field `ground_truth`: \"Dune\" means several items of the catalog: name \
             one of \"Dune (1984)\", \"Dune (2021)\", or remove it from the sample"
        );
        let far = truth("Cocoo", Some(2017)).unwrap_err().to_string();
        assert!(
            far.contains("is not in the catalog; the nearest items are \"Coco (2017)\""),
            "{far}"
        );

        let (coco, dune) = (Item::new("Coco", 2017), Item::new("Dune", None));
        let ids = films
            .example_ids(&example(&[dune], &[coco.clone(), coco.clone()]))
            .unwrap();
        assert_eq!(
            (ids.seen, ids.ground_truth),
            (vec![ItemId(1), ItemId(2)], vec![ItemId(0)])
        );
        // A seen item is no ground truth.
        let ids = films
            .example_ids(&example(
                std::slice::from_ref(&coco),
                std::slice::from_ref(&coco),
            ))
            .unwrap();
        assert_eq!((ids.seen, ids.ground_truth), (vec![ItemId(0)], vec![]));
    }

    #[test]
    fn examples_without_use_are_named() {
        let films = catalog(&[("Coco", Some(2017))]);
        let good = example(&[], &[Item::new("Coco", 2017)]);
        assert_eq!(films.check_examples(std::slice::from_ref(&good)), Ok(()));
        let twice = films.check_examples(&[good.clone(), good]).unwrap_err();
        assert_eq!(twice.field, "id");
        let empty = films.check_examples(&[example(&[], &[])]).unwrap_err();
        assert!(
            empty.to_string().contains("`ground_truth`: it is empty"),
            "{empty}"
        );
    }
}
