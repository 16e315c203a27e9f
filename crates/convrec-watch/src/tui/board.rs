use std::collections::{BTreeMap, VecDeque};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use convrec_config::ConfigError;

use crate::completions::CompletionRecord;
use crate::doctor::{Diagnosis, Doctor, DoctorConfig, short};
use crate::record::{Record, step};
use crate::timing::{Pace, TimedStep};

/// The most points that a curve keeps. A longer curve loses every other point.
const POINTS: usize = 20_000;
/// Records whose relevance per rank is averaged.
const RECORDS: usize = 20;
/// The curves that come first.
const FIRST: [&str; 8] = [
    "reward",
    "dcg",
    "loss",
    "kl",
    "entropy",
    "completions/mean_length",
    "grad_norm",
    "in_catalog",
];

/// The state of the view. [`draw`](super::draw) draws it.
#[derive(Debug, Clone)]
pub struct Board {
    pub(super) title: String,
    pub(super) curves: BTreeMap<String, Vec<(f64, f64)>>,
    pub(super) relevance: VecDeque<Vec<f64>>,
    pub(super) completions: Vec<CompletionRecord>,
    pub(super) step: usize,
    pub(super) total: usize,
    pub(super) pace: Pace,
    pub(super) diagnosis: Option<Diagnosis>,
    /// The file that could not be read, and why.
    pub(super) problem: Option<String>,
    /// The curve that is shown.
    pub(super) curve: String,
    /// The completion that is shown.
    pub(super) completion: usize,
    doctor: Doctor,
    config: DoctorConfig,
}

/// The effect of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To go on.
    Stay,
    /// To leave the view.
    Quit,
    /// To end the program.
    Interrupt,
}

impl Board {
    /// An empty board.
    ///
    /// # Errors
    /// [`ConfigError`] when a setting of the doctor is wrong.
    pub fn new(title: &str, config: DoctorConfig) -> Result<Self, ConfigError> {
        let doctor = Doctor::new(config.clone())?;
        Ok(Self {
            title: title.into(),
            curves: BTreeMap::new(),
            relevance: VecDeque::new(),
            completions: vec![],
            step: 0,
            total: 0,
            pace: Pace::default(),
            diagnosis: None,
            problem: None,
            curve: FIRST[0].into(),
            completion: 0,
            doctor,
            config,
        })
    }

    /// Takes in the record of a step.
    pub fn record(&mut self, record: &Record) {
        self.step = step(record).unwrap_or(self.step + 1);
        for (name, value) in record
            .iter()
            .filter(|(name, _)| *name != "step" && *name != "epoch")
        {
            let Some(value) = value.as_f64() else {
                continue;
            };
            let curve = self.curves.entry(name.clone()).or_default();
            curve.push((self.step as f64, value));
            if curve.len() > POINTS {
                *curve = curve.iter().copied().step_by(2).collect();
            }
        }
        if let Some(ranks) = record
            .get("rank_relevance")
            .and_then(serde_json::Value::as_array)
        {
            if self.relevance.len() == RECORDS {
                self.relevance.pop_front();
            }
            self.relevance
                .push_back(ranks.iter().filter_map(serde_json::Value::as_f64).collect());
        }
        self.diagnosis = self.doctor.check(record).err();
        if !self.curves.contains_key(&self.curve)
            && let Some(first) = self.names().first()
        {
            self.curve = first.to_string();
        }
    }

    /// Takes in the time of a step and the number of steps of the run.
    pub fn timed(&mut self, timed: &TimedStep) {
        self.total = timed.total_steps;
        self.pace.add(timed.timing);
    }

    /// Shows other completions.
    pub fn completions(&mut self, completions: &[CompletionRecord]) {
        if !completions.is_empty() {
            self.completions = completions.to_vec();
            self.completion = self.completion.min(completions.len() - 1);
        }
    }

    /// Shows that something could not be read; `None` clears the message.
    pub fn problem(&mut self, problem: Option<String>) {
        self.problem = problem;
    }

    /// Forgets everything about the run, as it was resumed from an earlier step, began anew, or is
    /// gone. The shown curve stays the same.
    pub fn restart(&mut self) {
        let anew = Self::new(&self.title, self.config.clone()).expect("checked before");
        let former = std::mem::replace(self, anew);
        self.curve = former.curve;
    }

    /// Forgets how long steps took.
    pub(super) fn restart_pace(&mut self) {
        self.pace = Pace::default();
    }

    /// Returns the latest figures as text, to be left in the terminal when the view ends. It is
    /// empty before the first step.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.step == 0 {
            return String::new();
        }
        let of = if self.total == 0 {
            String::new()
        } else {
            format!(" of {}", self.total)
        };
        let mut text = format!("{}: step {}{of}\n", self.title, self.step);
        let width = self.curves.keys().map(String::len).max().unwrap_or(0);
        for name in self.names() {
            if let Some((_, value)) = self.curves[name].last() {
                text += &format!("  {name:<width$}  {}\n", short(*value));
            }
        }
        if let Some(diagnosis) = &self.diagnosis {
            text += &format!("  {}: {diagnosis}\n", diagnosis.check.name());
        }
        text
    }

    /// Acts on a key: arrows and tab change the curve, space changes the completion, q quits.
    pub fn key(&mut self, key: KeyEvent) -> Wish {
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Wish::Interrupt;
            }
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Right | KeyCode::Down | KeyCode::Tab => self.turn(1),
            KeyCode::Left | KeyCode::Up | KeyCode::BackTab => self.turn(-1),
            KeyCode::Char(' ') => {
                self.completion = (self.completion + 1) % self.completions.len().max(1)
            }
            _ => {}
        }
        Wish::Stay
    }

    /// The names of the curves in their order, the most useful first.
    pub(super) fn names(&self) -> Vec<&str> {
        let first = FIRST
            .into_iter()
            .filter(|name| self.curves.contains_key(*name));
        first
            .chain(
                self.curves
                    .keys()
                    .map(String::as_str)
                    .filter(|name| !FIRST.contains(name)),
            )
            .collect()
    }

    /// The share of lists with a relevant item at each rank, over the latest records.
    pub(super) fn ranks(&self) -> Vec<f64> {
        let n = self.relevance.iter().map(Vec::len).max().unwrap_or(0);
        let at = |rank: usize| {
            self.relevance
                .iter()
                .filter_map(move |ranks| ranks.get(rank))
        };
        (0..n)
            .map(|rank| at(rank).sum::<f64>() / at(rank).count() as f64)
            .collect()
    }

    fn turn(&mut self, by: isize) {
        let names = self.names();
        let Some(n) = (!names.is_empty()).then_some(names.len() as isize) else {
            return;
        };
        let place = names
            .iter()
            .position(|name| *name == self.curve)
            .unwrap_or(0) as isize;
        self.curve = names[(place + by).rem_euclid(n) as usize].to_string();
    }
}
