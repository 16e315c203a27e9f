//! Ranking metrics with confidence intervals and paired tests.
//!
//! An evaluation answers three questions, and this crate keeps them apart:
//!
//! 1. **What counts?** Judging a list gives a [`JudgedList`]: the ranks that hit, and the number of
//!    relevant items. Lists of ids are judged by [`JudgedList::from_ids`], lists of titles and
//!    years by a [`protocol`], the files of the TREC community by [`trec::Qrels::judge`].
//! 2. **How good is it?** A [`Measure`] turns a judged list into one number: `NDCG@10`,
//!    `Recall@20`. Figures that need no judgement (share of the list in the catalog, duplicates,
//!    diversity, coverage, popularity) are in [`lists`].
//! 3. **How sure are we?** [`stats::cluster_bootstrap`] gives the mean with its 95% interval,
//!    [`stats::paired_test`] compares two systems on the same samples.
//!
//! ```
//! use std::collections::HashSet;
//!
//! use convrec_metrics::{JudgedList, Measure, stats};
//!
//! // Three dialogs; the first has two samples. Items are whatever is `Eq + Hash`: names here, ids elsewhere.
//! let dialogs = ["a", "a", "b", "c"];
//! let lists = [["Heat", "Alien"], ["Up", "Heat"], ["Alien", "Up"], ["Up", "Dune"]];
//! let relevant = ["Heat", "Heat", "Dune", "Up"];
//!
//! let ndcg: Measure = "NDCG@2".parse()?;
//! let values: Vec<f64> = lists
//!     .iter()
//!     .zip(relevant)
//!     .map(|(list, item)| ndcg.of(&JudgedList::from_ids(list, &HashSet::from([item]))))
//!     .collect();
//! assert_eq!(values, [1.0, 1.0 / 3f64.log2(), 0.0, 1.0]);
//!
//! let interval = stats::cluster_bootstrap(&values, &dialogs, 7, 10_000)?;
//! println!("{ndcg} = {interval}");
//! assert_eq!(interval.mean, values.iter().sum::<f64>() / 4.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Why clusters
//!
//! Samples of one dialog share its words, its taste and often its ground truth. The 10,972 test
//! samples of Reddit-v2 come from 2,050 contexts. An interval that takes samples for independent is
//! far too narrow, and every comparison looks significant. All statistics here therefore resample
//! whole *clusters* (dialogs, contexts).
//!
//! # The numbers of the paper
//!
//! The published figures of "Rank-GRPO: Training LLM-based Conversational Recommender Systems with
//! Reinforcement Learning" (Zhu et al., arXiv 2510.20150) rest on the authors' evaluation code.
//! That code differs from the textbook in ways that move the result. [`protocol`] has both, by
//! name, with the differences listed.

pub mod lists;
pub mod measure;
pub mod protocol;
pub mod rewards;
pub mod stats;
pub mod trec;

mod judged;

pub use judged::JudgedList;
pub use measure::Measure;
