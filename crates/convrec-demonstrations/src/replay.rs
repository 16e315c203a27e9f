use std::collections::HashMap;
use std::path::Path;

use convrec_core::Example;
use convrec_core::jsonl::{self, Check};
use convrec_text::whole_lines;
use serde::{Deserialize, Serialize};

use crate::{ServiceError, Teacher};

/// What providers call the end at a limit of tokens.
const CUT: [&str; 4] = ["length", "max_tokens", "model_length", "MAX_TOKENS"];

/// A recorded answer, as one line of a teacher file. Further fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The id of the sample that was answered.
    pub id: String,
    /// The text as it was received.
    pub raw: String,
}

impl Check for Answer {
    fn check(&self) -> Result<(), (&'static str, String)> {
        check_id(&self.id)
    }
}

/// A line of a teacher file, with what the provider said of its end.
#[derive(Deserialize)]
struct Recorded {
    id: String,
    raw: String,
    #[serde(default)]
    finish_reason: serde_json::Value,
}

impl Recorded {
    /// The answer without a last line that was cut.
    fn whole(mut self) -> Answer {
        if self
            .finish_reason
            .as_str()
            .is_some_and(|end| CUT.contains(&end))
        {
            self.raw.truncate(whole_lines(&self.raw).len());
        }
        Answer {
            id: self.id,
            raw: self.raw,
        }
    }
}

impl Check for Recorded {
    fn check(&self) -> Result<(), (&'static str, String)> {
        check_id(&self.id)
    }
}

fn check_id(id: &str) -> Result<(), (&'static str, String)> {
    match id.is_empty() {
        true => Err(("id", "empty; expected the id of a sample".into())),
        false => Ok(()),
    }
}

/// The reason why recorded answers cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file cannot be read, or a line of it is bad.
    #[error(transparent)]
    Read(#[from] jsonl::Error),
    /// There are two answers to one sample.
    #[error("{name}: two answers to sample `{id}`; remove one")]
    Twice {
        /// The file.
        name: String,
        /// The sample.
        id: String,
    },
}

/// A teacher that repeats recorded answers.
///
/// ```
/// use convrec_demonstrations::{Answer, ReplayTeacher};
///
/// let answers = vec![Answer {
///     id: "d-1".into(),
///     raw: "1. Heat (1995)".into(),
/// }];
/// let teacher = ReplayTeacher::new("answers.jsonl", answers)?;
/// assert_eq!(teacher.answer("d-1"), Some("1. Heat (1995)"));
/// assert_eq!(teacher.answer("d-2"), None);
/// # Ok::<(), convrec_demonstrations::ReplayError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ReplayTeacher {
    name: String,
    answers: HashMap<String, String>,
}

impl ReplayTeacher {
    /// Takes the answers. `name` names their source in errors.
    ///
    /// # Errors
    /// [`ReplayError::Twice`] when two answers are to the same sample.
    pub fn new(name: impl Into<String>, answers: Vec<Answer>) -> Result<Self, ReplayError> {
        let name = name.into();
        let mut by_id = HashMap::with_capacity(answers.len());
        for Answer { id, raw } in answers {
            if by_id.contains_key(&id) {
                return Err(ReplayError::Twice { name, id });
            }
            by_id.insert(id, raw);
        }
        Ok(Self {
            name,
            answers: by_id,
        })
    }

    /// Reads a file of JSON lines, an [`Answer`] each. Where a line says besides that the answer
    /// was cut (`"finish_reason": "length"`), a last line of it that is not whole is left out
    /// ([`whole_lines`]).
    ///
    /// # Errors
    /// [`ReplayError::Read`] when the file cannot be read or a line is bad, [`ReplayError::Twice`]
    /// when two lines answer the same sample.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ReplayError> {
        let name = path.as_ref().display().to_string();
        let recorded: Vec<Recorded> = jsonl::read_file(path)?;
        Self::new(name, recorded.into_iter().map(Recorded::whole).collect())
    }

    /// The number of answers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there is no answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The answer to the sample `id`, where there is one.
    pub fn answer(&self, id: &str) -> Option<&str> {
        self.answers.get(id).map(String::as_str)
    }
}

/// Gives the recorded text for any number of items. A sample without a record is an error that
/// names it.
impl Teacher for ReplayTeacher {
    fn recommend(&self, example: &Example, _: usize) -> Result<String, ServiceError> {
        self.answer(&example.id).map(str::to_string).ok_or_else(|| {
            let problem = format!(
                "no answer to sample `{}`; record one or leave the sample out",
                example.id
            );
            ServiceError::new(&self.name, problem)
        })
    }
}
