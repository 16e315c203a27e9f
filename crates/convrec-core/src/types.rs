use std::fmt;

use serde::{Deserialize, Serialize};

use crate::jsonl::Check;

/// Who wrote a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person who looks for something.
    User,
    /// The recommender.
    Assistant,
}

impl Role {
    /// The name used in files and chat templates.
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
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: content.into(),
        }
    }

    /// A turn by the recommender.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self {
            role: Role::Assistant,
            content: content.into(),
        }
    }
}

/// An item as it is named: a title and, where known, a year. In files: `["Heat", 1995]` or
/// `["Heat", null]`.
///
/// `Display` writes the line that a list shows: `Heat (1995)`, or `Heat` without a year.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(String, Option<i32>)", into = "(String, Option<i32>)")]
pub struct Item {
    /// The title, as written.
    pub title: String,
    /// The year, where known.
    pub year: Option<i32>,
}

impl Item {
    /// An item from its title and year.
    pub fn new(title: impl Into<String>, year: impl Into<Option<i32>>) -> Self {
        Self {
            title: title.into(),
            year: year.into(),
        }
    }
}

impl From<(String, Option<i32>)> for Item {
    fn from((title, year): (String, Option<i32>)) -> Self {
        Self { title, year }
    }
}

impl From<Item> for (String, Option<i32>) {
    fn from(item: Item) -> Self {
        (item.title, item.year)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.year {
            Some(year) => write!(f, "{} ({year})", self.title),
            None => f.write_str(&self.title),
        }
    }
}

/// The place of an item in its catalog, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub u32);

impl ItemId {
    /// The same number, to index slices with.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A catalog item: one line of a catalog file. Only `title` is required.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogItem {
    /// The title; may not be blank.
    pub title: String,
    /// The year, where known.
    #[serde(default)]
    pub year: Option<i32>,
    /// Genres, most telling first.
    #[serde(default)]
    pub genres: Vec<String>,
    /// Free text about the item: people, keywords, plot.
    #[serde(default)]
    pub metadata: String,
}

impl CatalogItem {
    /// How the item is named in conversations and lists.
    pub fn item(&self) -> Item {
        Item::new(self.title.clone(), self.year)
    }

    /// The text by which items are compared: name, genres, metadata.
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
    /// Names the sample; the part before the last `-` names the dialog ([`Example::dialog_id`]).
    pub id: String,
    /// The turns; the last one is the user's.
    pub dialog: Vec<Turn>,
    /// Items mentioned before, by anyone.
    pub seen: Vec<Item>,
    /// The relevant items. May be empty where nothing is trained or measured. Files may name the
    /// field `groundtruth` too.
    #[serde(alias = "groundtruth")]
    pub ground_truth: Vec<Item>,
}

impl Example {
    /// The dialog that the sample was cut from: samples of one dialog are not independent.
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

/// One flat line; `#[serde(flatten)]` would lose the field's name in errors.
#[derive(Serialize, Deserialize)]
struct DemonstrationLine {
    id: String,
    dialog: Vec<Turn>,
    seen: Vec<Item>,
    #[serde(alias = "groundtruth")]
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
