use std::fmt;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use crate::jsonl::Check;
use crate::{Item, year};

/// Who wrote a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person who looks for something. Files may write `human`.
    #[serde(alias = "human")]
    User,
    /// The recommender. Files may write `gpt`.
    #[serde(alias = "gpt")]
    Assistant,
}

impl Role {
    /// The name of the role in files and chat templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Turn {
    /// Who wrote it.
    pub role: Role,
    /// What was written.
    pub content: String,
}

impl Turn {
    /// A turn by the person who looks for something.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: content.into(),
        }
    }

    /// A turn by the recommender.
    #[must_use]
    pub fn assistant(content: impl Into<String>) -> Self {
        Self {
            role: Role::Assistant,
            content: content.into(),
        }
    }
}

/// The place of an item in its catalog, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub u32);

impl ItemId {
    /// The same number, to index slices with.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A catalog item: one line of a catalog file. Only `title` is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogItem {
    /// The title; may not be blank.
    pub title: String,
    /// The year, where known. Files may write it as a number, as text, or as null.
    #[serde(default, deserialize_with = "year::strict")]
    pub year: Option<i32>,
    /// Genres, most telling first. Null is read as none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub genres: Vec<String>,
    /// Free text about the item: people, keywords, plot. Null is read as none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: String,
}

impl CatalogItem {
    /// How the item is named in conversations and lists.
    #[must_use]
    pub fn item(&self) -> Item {
        Item::new(self.title.clone(), self.year)
    }

    /// The text by which items are compared: name, genres, metadata.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.item().to_string();
        for part in [self.genres.join(", ").as_str(), &self.metadata] {
            if !part.is_empty() {
                text.push_str(", ");
                text.push_str(part);
            }
        }
        text
    }
}

impl Check for CatalogItem {
    fn check(&self) -> Result<(), (&'static str, String)> {
        not_blank("title", &self.title)
    }
}

/// A conversation with its seen and its relevant items: one line of a conversation file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Names the sample. The part before the last `-` names the dialog ([`Example::dialog_id`]).
    /// Files may write an integer.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// The turns; the last one is the user's.
    pub dialog: Vec<Turn>,
    /// Items mentioned before, by anyone. They are not recommended. Where the field is missing or
    /// null there are none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub seen: Vec<Item>,
    /// The relevant items. There may be none where nothing is trained or measured. Files may name
    /// the field `groundtruth` too.
    #[serde(default, alias = "groundtruth", deserialize_with = "null_as_default")]
    pub ground_truth: Vec<Item>,
}

impl Example {
    /// The dialog that the sample was cut from. Samples of one dialog are not independent.
    #[must_use]
    pub fn dialog_id(&self) -> &str {
        self.id
            .rsplit_once('-')
            .map_or(&self.id, |(dialog, _)| dialog)
    }
}

impl Check for Example {
    fn check(&self) -> Result<(), (&'static str, String)> {
        not_blank("id", &self.id)?;
        match self.dialog.last() {
            None => Err(("dialog", "no turns; expected at least one".into())),
            Some(turn) if turn.role != Role::User => Err((
                "dialog",
                format!(
                    "the last turn is the {}'s; expected the user's",
                    turn.role.as_str()
                ),
            )),
            Some(_) => Ok(()),
        }
    }
}

/// An example with the ranked list that the policy shall imitate. In files: the fields of the
/// example and `list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "DemonstrationLine", into = "DemonstrationLine")]
pub struct Demonstration {
    /// The conversation.
    pub example: Example,
    /// The list, best first.
    pub list: Vec<Item>,
}

/// A demonstration as one flat line. `#[serde(flatten)]` would lose the field's name in errors.
#[derive(Serialize, Deserialize)]
struct DemonstrationLine {
    #[serde(deserialize_with = "id")]
    id: String,
    dialog: Vec<Turn>,
    #[serde(default, deserialize_with = "null_as_default")]
    seen: Vec<Item>,
    #[serde(default, alias = "groundtruth", deserialize_with = "null_as_default")]
    ground_truth: Vec<Item>,
    list: Vec<Item>,
}

impl From<DemonstrationLine> for Demonstration {
    fn from(line: DemonstrationLine) -> Self {
        let DemonstrationLine {
            id,
            dialog,
            seen,
            ground_truth,
            list,
        } = line;
        Self {
            example: Example {
                id,
                dialog,
                seen,
                ground_truth,
            },
            list,
        }
    }
}

impl From<Demonstration> for DemonstrationLine {
    fn from(demonstration: Demonstration) -> Self {
        let Example {
            id,
            dialog,
            seen,
            ground_truth,
        } = demonstration.example;
        Self {
            id,
            dialog,
            seen,
            ground_truth,
            list: demonstration.list,
        }
    }
}

impl Check for Demonstration {
    fn check(&self) -> Result<(), (&'static str, String)> {
        self.example.check()?;
        if self.list.is_empty() {
            return Err(("list", "no items; expected at least one".into()));
        }
        Ok(())
    }
}

fn not_blank(field: &'static str, text: &str) -> Result<(), (&'static str, String)> {
    if text.trim().is_empty() {
        Err((field, "blank; expected text".into()))
    } else {
        Ok(())
    }
}

/// Reads null as the default value.
fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads an id: text, or an integer.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Id;
    impl serde::de::Visitor<'_> for Id {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text or an integer")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.into())
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
            Ok(number.to_string())
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Id)
}
