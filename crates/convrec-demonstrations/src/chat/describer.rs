use std::collections::HashMap;

use convrec_catalog::{Catalog, normalise};
use convrec_core::jsonl::Check;
use convrec_core::{CatalogItem, Item};
use convrec_text::strip_reasoning;
use minijinja::{Value, context};
use serde::{Deserialize, Serialize};

use super::prompts::{Template, UNKNOWN};
use super::teacher::ask;
use super::{PromptError, Prompts};
use crate::{ChatModel, ChatRequest, Describer, Done, ServiceError};

const MAX_TOKENS: usize = 200;
/// Descriptions shown as examples.
const EXAMPLES: usize = 3;
/// Characters of a found text that are shown.
const TEXT_CHARS: usize = 4000;

/// A text about an item that was found somewhere, as one line of a file. A chat model makes a
/// description of it where it does not know the item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    /// The title, as in the catalog.
    pub title: String,
    /// The year, where known, as in the catalog.
    #[serde(default)]
    pub year: Option<i32>,
    /// The text.
    pub text: String,
}

impl Check for SourceText {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.text.trim().is_empty() {
            Err(("text", "blank; expected a text about the item".into()))
        } else {
            Ok(())
        }
    }
}

/// A chat model that describes items (paper, "Metadata"). There are three prompts. Items of the
/// catalog are described zero-shot. Items outside may be invented; for them a likely text will do,
/// as it only serves to find similar items. Where a text about the item was found, the item is
/// described few-shot from that text, in the style of the catalog's own descriptions.
#[derive(Debug)]
pub struct ChatDescriber<'a, M> {
    model: M,
    catalog: &'a Catalog,
    known: Template,
    outside: Template,
    from_text: Template,
    texts: HashMap<Item, String>,
    examples: Value,
}

impl<'a, M: ChatModel> ChatDescriber<'a, M> {
    /// Asks `model` by [`Prompts::describe`], [`Prompts::describe_outside`] and, for the items of
    /// `texts`, [`Prompts::describe_from_text`]. Its examples are the first items of the
    /// catalog that have metadata.
    ///
    /// # Errors
    /// [`PromptError`] when a template is not Jinja or reads an unknown variable.
    pub fn new(
        model: M,
        prompts: &Prompts,
        catalog: &'a Catalog,
        texts: Vec<SourceText>,
    ) -> Result<Self, PromptError> {
        let described = catalog
            .iter()
            .map(|(_, item)| item)
            .filter(|item| !item.metadata.is_empty())
            .take(EXAMPLES);
        let example = |item: &CatalogItem| context! { name => item.item().to_string(), description => &item.metadata };
        let examples: Value = described.map(example).collect::<Vec<_>>().into();
        let named = || [[("name", Value::from("")), ("unknown", Value::from(UNKNOWN))]];
        let from_text = |examples| {
            [
                ("name", Value::from("")),
                ("text", Value::from("")),
                ("examples", examples),
            ]
        };
        // The catalog may have no examples.
        let from_text = [
            examples.clone(),
            vec![context! { name => "", description => "" }].into(),
        ]
        .map(from_text);
        Ok(Self {
            model,
            catalog,
            known: Template::new(prompts, "describe", &prompts.describe, named())?,
            outside: Template::new(
                prompts,
                "describe_outside",
                &prompts.describe_outside,
                named(),
            )?,
            from_text: Template::new(
                prompts,
                "describe_from_text",
                &prompts.describe_from_text,
                from_text,
            )?,
            texts: texts
                .into_iter()
                .map(|text| (Item::new(text.title, text.year), text.text))
                .collect(),
            examples,
        })
    }

    fn request(&self, item: &Item) -> Result<ChatRequest, ServiceError> {
        let name = || ("name", Value::from(item.to_string()));
        let turns = match self.texts.get(item) {
            Some(text) => {
                let text: String = text.chars().take(TEXT_CHARS).collect();
                self.from_text.turns([
                    name(),
                    ("text", Value::from(text)),
                    ("examples", self.examples.clone()),
                ])?
            }
            None => {
                let template = if self.catalog.find(item).is_some() {
                    &self.known
                } else {
                    &self.outside
                };
                template.turns([name(), ("unknown", Value::from(UNKNOWN))])?
            }
        };
        Ok(ChatRequest {
            turns,
            max_tokens: MAX_TOKENS,
        })
    }
}

impl<M: ChatModel> Describer for ChatDescriber<'_, M> {
    fn describe(&self, item: &Item) -> Result<Option<String>, ServiceError> {
        self.describe_all(&[item], &|_| ()).remove(0)
    }

    fn describe_all(
        &self,
        items: &[&Item],
        done: Done<'_>,
    ) -> Vec<Result<Option<String>, ServiceError>> {
        let answers = ask(
            &self.model,
            items.iter().map(|item| self.request(item)),
            done,
        );
        answers
            .into_iter()
            .map(|answer| Ok(read_description(&answer?)))
            .collect()
    }
}

/// The text of an answer on one line; `None` where the model says that it knows nothing.
fn read_description(answer: &str) -> Option<String> {
    let answer = strip_reasoning(answer);
    let text = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    let unknown = normalise(text.trim_end_matches('.')) == normalise(UNKNOWN);
    (!text.is_empty() && !unknown).then_some(text)
}

/// Gives metadata to the items of a catalog that have none, by asking `describer`. Other items keep
/// theirs.
///
/// Where the describer knows nothing, the metadata stays empty, and the item is compared by its
/// name and genres.
///
/// # Errors
/// [`ServiceError`] of the first item without an answer. Models with a ledger keep the other
/// answers.
pub fn describe_catalog(
    catalog: &Catalog,
    describer: &dyn Describer,
    done: Done<'_>,
) -> Result<Vec<CatalogItem>, ServiceError> {
    let bare: Vec<Item> = catalog
        .iter()
        .filter(|(_, item)| item.metadata.is_empty())
        .map(|(_, item)| item.item())
        .collect();
    let asked: Vec<&Item> = bare.iter().collect();
    let mut texts = HashMap::new();
    for (item, text) in bare.iter().zip(describer.describe_all(&asked, done)) {
        texts.insert(item, text?.unwrap_or_default());
    }
    let fill = |item: &CatalogItem| match texts.get(&item.item()) {
        Some(text) => CatalogItem {
            metadata: text.clone(),
            ..item.clone()
        },
        None => item.clone(),
    };
    Ok(catalog.iter().map(|(_, item)| fill(item)).collect())
}
