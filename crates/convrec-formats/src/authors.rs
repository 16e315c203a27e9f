use convrec_core::jsonl::Check;
use convrec_core::{Example, Item, Role, Turn, shown, year};
use convrec_text::{ListFormat, ParsedList, Reason};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, LeftOut, Place};

/// A row in the schema of the paper's own data sets. Columns that are not listed are ignored.
///
/// ```json
/// {"prompt": [{"role": "user", "content": "..."}], "completion": [{"role": "assistant", "content": "Heat (1995)\n..."}],
///  "groundtruth_with_release_year": [["Ronin", "1998"]], "seen_titles": ["Heat"]}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuthorsRow {
    /// What the policy is asked: instructions and the conversation.
    pub prompt: Vec<Turn>,
    /// The answer that the policy shall imitate: one turn of the assistant. Absent in the data for
    /// reinforcement learning.
    #[serde(default)]
    pub completion: Option<Vec<Turn>>,
    /// Items that were right. Years are text there, as Arrow lists hold one type.
    #[serde(rename = "groundtruth_with_release_year", deserialize_with = "items")]
    pub ground_truth: Vec<Item>,
    /// Titles of the items mentioned before; their years are not given.
    #[serde(rename = "seen_titles")]
    pub seen: Vec<String>,
}

/// A title and its year, which may be text.
#[derive(Deserialize)]
struct Named(
    String,
    #[serde(deserialize_with = "year::strict")] Option<i32>,
);

fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Item>, D::Error> {
    let named = Vec::<Named>::deserialize(deserializer)?;
    Ok(named
        .into_iter()
        .map(|Named(title, year)| Item::new(title, year))
        .collect())
}

impl Check for AuthorsRow {
    fn check(&self) -> Result<(), (&'static str, String)> {
        match self.prompt.last() {
            None => Err(("prompt", "no turns; expected at least one".into())),
            Some(turn) if turn.role != Role::User => Err((
                "prompt",
                format!(
                    "the last turn is the {}'s; expected the user's",
                    turn.role.as_str()
                ),
            )),
            Some(_) => Ok(()),
        }
    }
}

impl AuthorsRow {
    /// The row as an example of this id.
    pub fn into_example(self, id: String) -> Example {
        let seen = self
            .seen
            .into_iter()
            .map(|title| Item::new(title, None))
            .collect();
        Example {
            id,
            dialog: self.prompt,
            seen,
            ground_truth: self.ground_truth,
        }
    }

    /// The items of the completion, by the parse of [`ListFormat::default`], and its lines that are
    /// no items. `row` and `place` say where the row stands.
    ///
    /// # Errors
    /// When there is no completion, when it is not one turn of the assistant, and when it names no
    /// item at all.
    pub fn list(&self, row: usize, place: &Place) -> Result<(Vec<Item>, Vec<LeftOut>), Error> {
        let bad = |problem: &str| Err(Error::bad(place.field("completion"), problem));
        let content = match self.completion.as_deref() {
            None => {
                return bad(
                    "there is none; expected the list to imitate. This may be data for reinforcement learning",
                );
            }
            Some([turn]) if turn.role == Role::Assistant => &turn.content,
            Some(_) => return bad("expected one turn, the assistant's"),
        };
        let place = place.field("completion[0].content");
        let ParsedList {
            entries, unparsed, ..
        } = ListFormat::default().parse(content);
        if entries.is_empty() {
            return Err(Error::bad(
                place,
                "no line names an item; expected lines as `Heat (1995)`",
            ));
        }
        let left_out = unparsed.into_iter().map(|line| {
            let text = shown(content[line.span].trim());
            let reason = match line.reason {
                Reason::NoYear => "no year",
                Reason::NoTitle => "no title",
                Reason::Preamble => "it announces what follows",
            };
            let why = format!(
                "`{text}` (line {} of the list) names no item: {reason}",
                line.line + 1
            );
            LeftOut {
                row,
                place: place.clone(),
                why,
            }
        });
        Ok((
            entries.into_iter().map(|entry| entry.item).collect(),
            left_out.collect(),
        ))
    }
}
