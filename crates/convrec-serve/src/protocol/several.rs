//! Several lists for one conversation: by beam search, drawn without replacement, or drawn one by
//! one.

use convrec_policy::{Request, Search, Writer, Written};
use serde_json::{Value, json};

use super::choices::{item, items};
use crate::asked::List;
use crate::deployment::Shelf;
use crate::refusal::Refusal;
use crate::state::State;

/// What a request says of its lists, in the names of transformers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Several {
    num_return_sequences: Option<usize>,
    num_beams: Option<usize>,
    without_replacement: Option<bool>,
}

impl Several {
    pub(super) fn new(
        num_return_sequences: Option<usize>,
        num_beams: Option<usize>,
        without_replacement: Option<bool>,
    ) -> Self {
        Self {
            num_return_sequences,
            num_beams,
            without_replacement,
        }
    }

    /// Whether lists are asked for, and not just one.
    pub(super) fn is_asked(self) -> bool {
        self.num_return_sequences.is_some() || self.is_search()
    }

    fn is_search(self) -> bool {
        self.num_beams.is_some() || self.draws_without()
    }

    fn draws_without(self) -> bool {
        self.without_replacement == Some(true)
    }

    /// The temperature where a request names none.
    pub(super) fn usual_temperature(self) -> f32 {
        if self.draws_without() { 1.0 } else { 0.0 }
    }

    /// Has a request of one list write several.
    ///
    /// # Errors
    /// When they do not go together with the rest of the request.
    pub(super) fn put(
        self,
        mut request: Request<'static>,
        list: &List,
        seed: u64,
        state: &State,
    ) -> Result<Request<'static>, Refusal> {
        let lists = self.num_return_sequences.unwrap_or(1);
        let beams = self.num_beams.unwrap_or(lists);
        let most = state.config.engine.rows;
        for (field, value) in [("num_return_sequences", lists), ("num_beams", beams)] {
            if !(1..=most).contains(&value) {
                return Err(Refusal::field(
                    field,
                    format!("{value}; expected 1 to {most}"),
                ));
            }
        }
        if beams < lists {
            let problem = format!("{beams}; expected at least {lists}, as `num_return_sequences`");
            return Err(Refusal::field("num_beams", problem));
        }
        let temperature = request.sampling.temperature;
        if !self.is_search() {
            if lists > 1 && temperature == 0.0 {
                let expected = "expected `num_beams`, `without_replacement` or a `temperature`";
                let problem = format!("{lists}, and there is one most likely list; {expected}");
                return Err(Refusal::field("num_return_sequences", problem));
            }
            let writer = request.writers.pop();
            let constraint = || list.constraint.clone().map(|c| Box::new(c) as Box<_>);
            let another = |stream: u64| Writer {
                constraint: constraint(),
                ..Writer::new(seed, stream)
            };
            request.writers = writer.into_iter().collect();
            request.writers.extend((1..lists as u64).map(another));
            return Ok(request);
        }
        let Some(constraint) = list.constraint.clone() else {
            let problem = "a search needs a server whose lists are constrained";
            return Err(Refusal::field("num_beams", problem));
        };
        let mut search = match self.draws_without() {
            true if temperature == 0.0 => {
                let problem = "0 draws nothing; expected a positive number";
                return Err(Refusal::field("temperature", problem));
            }
            true => Search::without_replacement(constraint, lists, seed, 0),
            false if temperature != 0.0 => {
                let expected = "expected 0, or `without_replacement`: a beam search draws nothing";
                return Err(Refusal::field(
                    "temperature",
                    format!("{temperature}; {expected}"),
                ));
            }
            false => Search::beams(constraint, beams).returning(lists),
        };
        search.num_beams = beams;
        request.writers.clear();
        request.search = Some(search);
        Ok(request)
    }
}

/// Each list with its log-probability, as clients get them.
pub(super) fn lists(list: &List, shelf: &Shelf, written: &[Written]) -> Vec<Value> {
    let one = |written: &Written| {
        let ranked = items(list, shelf, written);
        let ranked = ranked.iter().enumerate();
        let found: Vec<Value> = ranked
            .map(|(place, ranked)| item(shelf, place + 1, ranked))
            .collect();
        let log_probs = written.completion.log_probs.iter();
        let log_prob: f64 = log_probs.map(|p| f64::from(*p)).sum();
        json!({ "log_prob": log_prob, "items": found })
    };
    written.iter().map(one).collect()
}
