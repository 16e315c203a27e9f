//! Conversations and demonstrations of any format.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use convrec_core::{BadRows, Demonstration, Example, Item, Role, Turn, shown};
use convrec_text::{ListFormat, ParsedList, Reason, Years};
use serde_json::{Map, Value};

use crate::error::{Error, Place};
use crate::fields::{
    COMPLETION, DIALOG, GROUND_TRUTH, ID, LIST, MESSAGES, SEEN, SEEN_TITLES, first, found, text,
};
use crate::items::{Names, items};
use crate::records::{Current, ReadOptions, Records, bad_row};
use crate::row::Problem;
use crate::source::Source;
use crate::turns::turns;

/// Reads the conversations at `path`.
///
/// [`Source::find`] lists the supported files and folders, and [the crate](crate#conversations) the
/// fields of a row.
///
/// Rows without an id get `<folder>-<split>-<context>-<row>`. Row and context count from 0, and the
/// context is the first row with the same turns. Rows of one prompt are therefore samples of one
/// dialog ([`Example::dialog_id`]). Confidence intervals resample dialogs.
///
/// # Errors
/// - [`Error::BadRows`] when rows are bad and `options` refuses them, or when no row is good. An id
///   that an earlier row has makes a row bad.
/// - [`Error::File`], [`Error::Damaged`], [`Error::Layout`], [`Error::Feature`] as in
///   [`Source::find`] and the readers of the formats.
pub fn read_conversations(
    path: impl AsRef<Path>,
    options: &ReadOptions,
) -> Result<Records<Example>, Error> {
    Source::find(path, options.split.as_deref())?.conversations(options.bad_rows)
}

/// Reads the demonstrations at `path`: conversations with the ranked list that a policy shall
/// imitate.
///
/// The list is the field `list`, or else the answer, which is text: the field `completion`, or the
/// assistant's turn at the end of `messages`. Text is read by the one parse of lists
/// ([`ListFormat`]). Its lines that name no item are reported in [`Records::unparsed_lines`].
///
/// # Errors
/// As [`read_conversations`]. A row without a list, or with an answer that names no item, is bad.
/// Several rows may have one id.
pub fn read_demonstrations(
    path: impl AsRef<Path>,
    options: &ReadOptions,
) -> Result<Records<Demonstration>, Error> {
    Source::find(path, options.split.as_deref())?.demonstrations(options.bad_rows, options.years)
}

/// A function that makes an example of each row. `name` is `<folder>-<split>`.
pub(crate) fn examples(name: &str) -> impl FnMut(Current) -> Result<Example, Problem> {
    let mut ids = Ids::new(name);
    let mut known: HashSet<String> = HashSet::new();
    move |current| {
        let (number, fields) = (current.number, object(&current.row.value)?);
        let (dialog, _) = dialog(fields)?;
        let example = example(fields, dialog, &mut ids, number)?;
        if !known.insert(example.id.clone()) {
            let problem = format!(
                "`{}` is the id of an earlier row; expected one of its own",
                shown(&example.id)
            );
            return Err(Problem::new("id", problem));
        }
        Ok(example)
    }
}

/// A function that makes a demonstration of each row. `name` is `<folder>-<split>`.
pub(crate) fn demonstrations(
    name: &str,
    years: Years,
) -> impl FnMut(Current) -> Result<Demonstration, Problem> {
    let mut ids = Ids::new(name);
    move |current| {
        let (number, fields) = (current.number, object(&current.row.value)?);
        let (dialog, answer) = dialog(fields)?;
        let example = example(fields, dialog, &mut ids, number)?;
        let list = match first(fields, LIST) {
            Some((field, value)) => items(value, field, Names::TitleAndYear)?,
            None => {
                let (field, answer) = completion(fields)?.or(answer).ok_or_else(no_list)?;
                let place = current.row.place.field(field);
                parsed(&answer, years, place, number, current.unparsed_lines)?
            }
        };
        if list.is_empty() {
            return Err(Problem::new("list", "no items; expected at least one"));
        }
        Ok(Demonstration { example, list })
    }
}

fn no_list() -> Problem {
    let problem = "there is no list to imitate; expected `list` or `completion`, or `messages` \
                   that end with the assistant's. This may be data for reinforcement learning";
    Problem::new("", problem)
}

fn object(row: &Value) -> Result<&Map<String, Value>, Problem> {
    row.as_object().ok_or_else(|| {
        let problem = format!("found {}; expected an object with a `dialog`", found(row));
        Problem::new("", problem)
    })
}

/// An answer and the field that holds it.
type Answer = (String, String);

/// The turns through the user's last one, and the assistant's answer where the field holds whole
/// conversations.
fn dialog(fields: &Map<String, Value>) -> Result<(Vec<Turn>, Option<Answer>), Problem> {
    let messages = first(fields, MESSAGES);
    // Beside messages, a prompt that is text repeats the first of them.
    let prompt =
        first(fields, DIALOG).filter(|(_, value)| messages.is_none() || !value.is_string());
    let Some((name, value)) = prompt.or(messages) else {
        let named = DIALOG
            .iter()
            .chain(MESSAGES)
            .find(|name| fields.contains_key(**name));
        return Err(match named {
            Some(name) => Problem::new(*name, "null; expected a list of turns"),
            None => {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                let found = crate::error::shown_names(names);
                let problem = format!(
                    "there is no conversation; found the fields {found}; expected `dialog`, \
                     `messages` or `prompt`"
                );
                Problem::new("", problem)
            }
        });
    };
    let mut dialog = turns(value, name)?;
    let is_answer = |turn: &Turn| turn.role == Role::Assistant;
    let answer = if MESSAGES.contains(&name) && dialog.last().is_some_and(is_answer) {
        let field = format!("{name}[{}].content", dialog.len() - 1);
        dialog.pop().map(|turn| (field, turn.content))
    } else {
        None
    };
    match dialog.last() {
        None => Err(Problem::new(name, "no turns; expected at least one")),
        Some(turn) if turn.role != Role::User => {
            let role = turn.role.as_str();
            let problem = format!("the last turn is the {role}'s; expected the user's");
            Err(Problem::new(name, problem))
        }
        Some(_) => Ok((dialog, answer)),
    }
}

fn example(
    fields: &Map<String, Value>,
    dialog: Vec<Turn>,
    ids: &mut Ids,
    number: usize,
) -> Result<Example, Problem> {
    let ground_truth = match first(fields, GROUND_TRUTH) {
        Some((name, value)) => items(value, name, Names::TitleAndYear)?,
        None => {
            check_spelling(fields)?;
            Vec::new()
        }
    };
    let seen = match (first(fields, SEEN), first(fields, SEEN_TITLES)) {
        (Some((name, value)), _) => items(value, name, Names::TitleAndYear)?,
        (None, Some((name, value))) => items(value, name, Names::Title)?,
        (None, None) => Vec::new(),
    };
    let id = match first(fields, ID) {
        None => ids.make(&dialog, number),
        Some((name, value)) => match text(value, name)? {
            id if id.trim().is_empty() => {
                return Err(Problem::new(name, "blank; expected text, or no such field"));
            }
            id => id,
        },
    };
    Ok(Example {
        id,
        dialog,
        seen,
        ground_truth,
    })
}

/// What other programs call the ground truth, and other things.
const LIKE_GROUND_TRUTH: [&str; 8] = [
    "target",
    "targets",
    "label",
    "labels",
    "gold",
    "relevant",
    "relevant_items",
    "answers",
];

/// Refuses other names of the ground truth. A row may lack it, but a field that is meant as one
/// must not be ignored.
fn check_spelling(fields: &Map<String, Value>) -> Result<(), Problem> {
    let names_items = |value: &Value| {
        let items = items(value, "", Names::TitleAndYear).unwrap_or_default();
        items.iter().any(|item| item.year.is_some())
    };
    let is_meant = |(name, value): &(&String, &Value)| {
        let name = name.to_lowercase();
        let known = GROUND_TRUTH.contains(&name.as_str());
        let is_like = LIKE_GROUND_TRUTH.contains(&name.as_str());
        !known && (name.contains("truth") || is_like && names_items(value))
    };
    match fields.iter().find(is_meant) {
        None => Ok(()),
        Some((name, _)) => {
            let problem = "this field is not read; call it `ground_truth`";
            Err(Problem::new(name.as_str(), problem))
        }
    }
}

/// The text of the completion: one turn of the assistant, or the text itself.
fn completion(fields: &Map<String, Value>) -> Result<Option<Answer>, Problem> {
    let Some((name, value)) = first(fields, COMPLETION) else {
        return Ok(None);
    };
    if let (Value::String(text), None) = (value, crate::fields::elements(value))
        && crate::turns::broken(text).is_none()
    {
        return Ok(Some((name.into(), text.clone())));
    }
    match turns(value, name)?.as_slice() {
        [turn] if turn.role == Role::Assistant => {
            Ok(Some((format!("{name}[0].content"), turn.content.clone())))
        }
        _ => Err(Problem::new(
            name,
            "expected one turn, the assistant's, or text",
        )),
    }
}

/// The items of an answer. Its lines that are none go to `unparsed`.
fn parsed(
    answer: &str,
    years: Years,
    place: Place,
    row: usize,
    unparsed: &mut BadRows,
) -> Result<Vec<Item>, Problem> {
    let ParsedList {
        entries,
        unparsed: lines,
        ..
    } = ListFormat {
        years,
        ..ListFormat::default()
    }
    .parse(answer);
    if entries.is_empty() {
        let problem = format!(
            "no line names an item; found `{}`; expected lines as `Heat (1995)`",
            shown(answer)
        );
        return Err(Problem::new(place.field, problem));
    }
    unparsed.rows_read += entries.len() + lines.len();
    for line in lines {
        let reason = match line.reason {
            Reason::NoYear => "no year",
            Reason::NoTitle => "no title",
            Reason::Preamble => "it announces what follows",
        };
        let text = shown(answer[line.span].trim());
        let number = line.line + 1;
        let problem = format!("`{text}` (line {number} of the list) names no item: {reason}");
        unparsed.push(bad_row(row, &place, problem));
    }
    Ok(entries.into_iter().map(|entry| entry.item).collect())
}

/// Makes the ids of rows that have none.
struct Ids {
    name: String,
    /// The first row of each dialog, by a hash of the turns, as the turns themselves take memory.
    first_rows: HashMap<u64, usize>,
}

impl Ids {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            first_rows: HashMap::new(),
        }
    }

    fn make(&mut self, dialog: &[Turn], row: usize) -> String {
        let mut hasher = DefaultHasher::new();
        dialog.hash(&mut hasher);
        let context = *self.first_rows.entry(hasher.finish()).or_insert(row);
        format!("{}-{context}-{row}", self.name)
    }
}
