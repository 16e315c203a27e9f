use std::ops::Range;

use convrec_core::{Demonstration, Example, ItemId};
use ndarray::Array2;

use super::TeacherItem;
use crate::{Fit, ScoreRows};

/// Conversations after Remap and Reflect: what Adjust is fitted to and applied to.
#[derive(Debug)]
pub struct Scored<'e> {
    pub(super) examples: &'e [Example],
    pub(super) rows: Vec<Row>,
    /// s_reflect `[conversations, C]`.
    pub(super) scores: Array2<f32>,
}

/// What is known of one conversation besides its scores.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) teacher: Vec<TeacherItem>,
    pub(super) remap: Vec<ItemId>,
    pub(super) reflect: Vec<ItemId>,
    pub(super) seen: Vec<ItemId>,
    /// The items that lists are limited to, in order; all where Remap is on.
    pub(super) support: Option<Vec<ItemId>>,
}

impl Scored<'_> {
    /// s_reflect, the scores to be adjusted. Shape `[conversations, C]`.
    pub fn scores(&self) -> &Array2<f32> {
        &self.scores
    }
}

/// The lists of one conversation after each step, seen items removed (but for the teacher's); a step that is switched off
/// leaves the list as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steps {
    /// The items of the raw answer, in the catalog or not.
    pub teacher: Vec<TeacherItem>,
    /// After Remap.
    pub remap: Vec<ItemId>,
    /// After Reflect.
    pub reflect: Vec<ItemId>,
    /// After Adjust: the demonstration.
    pub adjust: Vec<ItemId>,
}

/// What comes out of a pipeline.
#[derive(Debug)]
pub struct Cloned {
    /// The demonstrations, in the order of the conversations. A conversation whose list is empty gives none; with Remap
    /// that cannot happen unless everything was seen.
    pub demonstrations: Vec<Demonstration>,
    /// The lists after each step, one for each conversation.
    pub steps: Vec<Steps>,
    /// The adjustment, where it was fitted.
    pub fit: Option<Fit>,
}

/// Some rows of a matrix of scores.
pub(super) struct Selected<'a> {
    pub(super) scores: &'a Array2<f32>,
    pub(super) rows: Vec<usize>,
}

impl ScoreRows for Selected<'_> {
    type Score = f32;

    fn n_rows(&self) -> usize {
        self.rows.len()
    }

    fn n_items(&self) -> usize {
        self.scores.ncols()
    }

    fn read(&self, rows: Range<usize>, out: &mut [f32]) {
        for (out, &row) in out.chunks_exact_mut(self.scores.ncols()).zip(&self.rows[rows]) {
            self.scores.read(row..row + 1, out);
        }
    }
}
