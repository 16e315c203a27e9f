use convrec_core::{CatalogItem, Example};
use minijinja::{Value, context};
use rand::seq::SliceRandom;

use super::prompts::{Template, dialog};
use super::teacher::ask;
use super::{PromptError, Prompts, read_ratings};
use crate::{Candidates, ChatModel, ChatRequest, Done, Judge, Ratings, ServiceError, stable};

/// Tokens that a line of an answer may take, with room for a title where the model repeats it.
const TOKENS_PER_RATING: usize = 30;
const TOKENS_OF_TALK: usize = 200;

/// A chat model that rates candidates from -2 to 2.
///
/// Candidates are shown in an order that is shuffled anew for each conversation, as models favour
/// the first ones. The order depends only on the conversation and the seed. A candidate that an
/// answer does not rate stays unrated ([`read_ratings`]). Only a request without any answer is an
/// error.
#[derive(Debug)]
pub struct ChatJudge<M> {
    model: M,
    template: Template,
    max_dialog_chars: usize,
    seed: u64,
}

impl<M: ChatModel> ChatJudge<M> {
    /// Asks `model` by [`Prompts::rate`].
    ///
    /// # Errors
    /// [`PromptError`] when a template is not Jinja or reads an unknown variable.
    pub fn new(model: M, prompts: &Prompts, seed: u64) -> Result<Self, PromptError> {
        let item = |genres| CatalogItem {
            title: "Title".into(),
            year: None,
            genres,
            metadata: String::new(),
        };
        let items = [item(vec![]), item(vec!["Genre".into()])];
        let probe = |items: &[CatalogItem]| {
            [
                ("dialog", Value::from("")),
                ("candidates", shown(items.iter())),
            ]
        };
        let template = Template::new(prompts, "rate", &prompts.rate, [probe(&[]), probe(&items)])?;
        Ok(Self {
            model,
            template,
            max_dialog_chars: prompts.max_dialog_chars,
            seed,
        })
    }

    /// The candidate at each place of the prompt.
    fn order(&self, example: &Example, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(&mut stable::rng(self.seed, &example.id));
        order
    }

    fn request(&self, (example, candidates): &Candidates<'_>) -> Result<ChatRequest, ServiceError> {
        let order = self.order(example, candidates.len());
        let dialog = dialog(example, self.max_dialog_chars);
        let candidates = shown(order.iter().map(|&candidate| candidates[candidate]));
        let turns = self
            .template
            .turns([("dialog", Value::from(dialog)), ("candidates", candidates)])?;
        Ok(ChatRequest {
            turns,
            max_tokens: TOKENS_PER_RATING * order.len() + TOKENS_OF_TALK,
        })
    }

    fn read(&self, (example, candidates): &Candidates<'_>, answer: &str) -> Ratings {
        let order = self.order(example, candidates.len());
        let names: Vec<String> = order
            .iter()
            .map(|&candidate| candidates[candidate].item().to_string())
            .collect();
        let mut ratings = vec![None; candidates.len()];
        for (candidate, rating) in order.into_iter().zip(read_ratings(answer, &names)) {
            ratings[candidate] = rating;
        }
        ratings
    }
}

fn shown<'a>(candidates: impl Iterator<Item = &'a CatalogItem>) -> Value {
    let show = |item: &CatalogItem| {
        context! { name => item.item().to_string(), genres => &item.genres, metadata => &item.metadata }
    };
    candidates.map(show).collect::<Vec<_>>().into()
}

impl<M: ChatModel> Judge for ChatJudge<M> {
    fn rate(
        &self,
        example: &Example,
        candidates: &[&CatalogItem],
    ) -> Result<Ratings, ServiceError> {
        self.rate_all(&[(example, candidates.to_vec())], &|_| ())
            .remove(0)
    }

    fn rate_all(
        &self,
        requests: &[Candidates<'_>],
        done: Done<'_>,
    ) -> Vec<Result<Ratings, ServiceError>> {
        let answers = ask(
            &self.model,
            requests.iter().map(|request| self.request(request)),
            done,
        );
        requests
            .iter()
            .zip(answers)
            .map(|(request, answer)| Ok(self.read(request, &answer?)))
            .collect()
    }
}
