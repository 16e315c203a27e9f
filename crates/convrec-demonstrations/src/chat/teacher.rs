use convrec_core::{Example, Item};
use convrec_text::whole_lines;
use minijinja::Value;

use super::prompts::{Template, dialog, names};
use super::{PromptError, Prompts};
use crate::{ChatAnswer, ChatModel, ChatRequest, Done, ServiceError, Teacher};

/// Tokens an item of an answer may take, at most, and some for talk around the list.
const TOKENS_PER_ITEM: usize = 40;
const TOKENS_OF_TALK: usize = 200;

/// A chat model that is asked for a list.
///
/// The last line of an answer that was cut at the limit of tokens counts where it is whole
/// ([`whole_lines`]). How many answers were cut is logged as a warning.
///
/// ```
/// use convrec_core::{Example, Turn};
/// use convrec_demonstrations::chat::{ChatTeacher, Prompts};
/// use convrec_demonstrations::{
///     ChatAnswer, ChatModel, ChatRequest, Done, ServiceError, Teacher,
/// };
///
/// /// In earnest a model on a server, or a policy.
/// struct Parrot;
///
/// impl ChatModel for Parrot {
///     fn name(&self) -> String {
///         "parrot".into()
///     }
///
///     fn answer(
///         &self,
///         requests: &[ChatRequest],
///         done: Done<'_>,
///     ) -> Vec<Result<ChatAnswer, ServiceError>> {
///         done(requests.len());
///         let last = |request: &ChatRequest| request.turns.last().unwrap().content.clone();
///         requests
///             .iter()
///             .map(|request| Ok(last(request).into()))
///             .collect()
///     }
/// }
///
/// let teacher = ChatTeacher::new(
///     Parrot,
///     &Prompts {
///         kind: "films".into(),
///         ..Prompts::default()
///     },
/// )?;
/// let dialog = vec![Turn::user("Bank robbers, please")];
/// let example = Example {
///     id: "d-1".into(),
///     dialog,
///     seen: vec![],
///     ground_truth: vec![],
/// };
/// let asked = teacher.recommend(&example, 20)?;
/// assert!(asked.contains(
///     "User: Bank robbers, please\n</conversation>\n\nWhich films would you recommend"
/// ));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ChatTeacher<M> {
    model: M,
    template: Template,
    max_dialog_chars: usize,
}

impl<M: ChatModel> ChatTeacher<M> {
    /// Asks `model` by [`Prompts::recommend`].
    ///
    /// # Errors
    /// [`PromptError`] when a template is not Jinja or reads an unknown variable.
    pub fn new(model: M, prompts: &Prompts) -> Result<Self, PromptError> {
        let probe = |seen: &[Item]| {
            [
                ("dialog", Value::from("")),
                ("seen", names(seen)),
                ("n", Value::from(1)),
            ]
        };
        let probes = [probe(&[]), probe(&[Item::new("Title", 2000)])];
        let template = Template::new(prompts, "recommend", &prompts.recommend, probes)?;
        Ok(Self {
            model,
            template,
            max_dialog_chars: prompts.max_dialog_chars,
        })
    }

    fn request(&self, example: &Example, n: usize) -> Result<ChatRequest, PromptError> {
        let dialog = dialog(example, self.max_dialog_chars);
        let values = [
            ("dialog", Value::from(dialog)),
            ("seen", names(&example.seen)),
            ("n", Value::from(n)),
        ];
        let max_tokens = TOKENS_PER_ITEM * n + TOKENS_OF_TALK;
        Ok(ChatRequest {
            turns: self.template.turns(values)?,
            max_tokens,
        })
    }
}

impl<M: ChatModel> Teacher for ChatTeacher<M> {
    fn recommend(&self, example: &Example, n: usize) -> Result<String, ServiceError> {
        self.recommend_all(&[example], n, &|_| ()).remove(0)
    }

    fn recommend_all(
        &self,
        examples: &[&Example],
        n: usize,
        done: Done<'_>,
    ) -> Vec<Result<String, ServiceError>> {
        let requests = examples
            .iter()
            .map(|example| self.request(example, n).map_err(ServiceError::from));
        let answers = ask_or_cut(&self.model, requests, done);
        let (mut texts, mut cut) = (Vec::with_capacity(answers.len()), Vec::new());
        for (example, answer) in examples.iter().zip(answers) {
            texts.push(answer.map(|ChatAnswer { text, is_cut }| match is_cut {
                true => {
                    cut.push(example.id.as_str());
                    whole_lines(&text).to_string()
                }
                false => text,
            }));
        }
        if let Some(first) = cut.first() {
            log::warn!(
                "{}: {} of {} answers were cut at the limit of tokens, the first to `{first}`; a last \
                 line that is not whole names no item",
                self.model.name(),
                cut.len(),
                examples.len()
            );
        }
        texts
    }
}

/// Asks what could be written as a request; answers and errors come back in order.
pub(super) fn ask(
    model: &impl ChatModel,
    requests: impl Iterator<Item = Result<ChatRequest, ServiceError>>,
    done: Done<'_>,
) -> Vec<Result<String, ServiceError>> {
    let answers = ask_or_cut(model, requests, done).into_iter();
    answers.map(|answer| Ok(answer?.text)).collect()
}

/// As [`ask`], with whether each answer was cut.
fn ask_or_cut(
    model: &impl ChatModel,
    requests: impl Iterator<Item = Result<ChatRequest, ServiceError>>,
    done: Done<'_>,
) -> Vec<Result<ChatAnswer, ServiceError>> {
    let mut errors = Vec::new();
    let mut written = Vec::new();
    for request in requests {
        match request {
            Ok(request) => {
                written.push(request);
                errors.push(None);
            }
            Err(error) => errors.push(Some(error)),
        }
    }
    done(errors.len() - written.len());
    let mut answers = model.answer(&written, done).into_iter();
    let mut next = || {
        answers
            .next()
            .unwrap_or_else(|| Err(ServiceError::new(model.name(), "gave too few answers")))
    };
    errors
        .into_iter()
        .map(|error| error.map_or_else(&mut next, Err))
        .collect()
}

impl From<PromptError> for ServiceError {
    fn from(error: PromptError) -> Self {
        Self::new("prompt", error.to_string())
    }
}
