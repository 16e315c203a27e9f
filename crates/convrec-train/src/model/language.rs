//! The language of a policy: all of a model's folder but the weights.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use convrec_catalog::Catalog;
use convrec_core::files::{self, write_atomic};
use convrec_core::hash::sha256;
use convrec_policy::ModelConfig;
use convrec_retrieve::Fitted;
use convrec_text::{ChatTemplate, Prompter, SemanticIds, TextTokenizer};

use super::error::ModelError;
use super::format::{Prompts, TaskFormat};
use super::source::ModelSource;
use crate::task::Task;

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TASK: &str = "task.json";
const RETRIEVER: &str = "retriever.jsonl";
const SEMANTIC_IDS: &str = "semantic_ids.jsonl";

/// Files of a chat model's folder that go along with its weights. Without its template no prompt
/// can be written.
const CARRIED: [&str; 5] = [
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "generation_config.json",
];

/// The language of a policy: its tokenizer, its prompts and its lists.
#[derive(Debug, Clone)]
pub struct Language {
    /// The tokenizer.
    pub tokenizer: TextTokenizer,
    /// The form of prompts and lists.
    pub format: TaskFormat,
    /// The positions of the model (`max_position_embeddings`): a prompt and its list fit in them.
    pub positions: usize,
    /// What finds the candidates of constrained lists, and gives their scores to the policy;
    /// without it a list may hold the whole catalog. In a model's folder it is `retriever.jsonl`.
    pub retriever: Option<Arc<Fitted>>,
    /// The semantic ids by which items are written; without them items are lines of text. In a
    /// model's folder they are `semantic_ids.jsonl`.
    pub semantic_ids: Option<Arc<SemanticIds>>,
    /// Whether the model's folder has a `task.json`.
    has_task: bool,
    /// The template of a chat model.
    template: Option<ChatTemplate>,
    /// The content of [`CARRIED`].
    carried: BTreeMap<&'static str, String>,
}

impl Language {
    /// The language of a small policy that is trained from nothing, as
    /// [`ModelConfig::small`](convrec_policy::ModelConfig::small) makes it.
    #[must_use]
    pub fn small(tokenizer: TextTokenizer, format: TaskFormat) -> Self {
        let positions = ModelConfig::small(1, 2, 1, 1).max_position_embeddings;
        Self {
            tokenizer,
            format,
            positions,
            retriever: None,
            semantic_ids: None,
            has_task: false,
            template: None,
            carried: BTreeMap::new(),
        }
    }

    /// Reads all of a model but the weights. `name` is a folder, an adapter's folder, or a name on
    /// the hub. A chat model's folder without a `task.json` is asked for 20 items.
    ///
    /// # Errors
    /// [`ModelError`] when a file is missing or wrong; it names the file.
    pub fn load(name: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::of_source(&ModelSource::find(name.as_ref())?)
    }

    pub(super) fn of_source(source: &ModelSource) -> Result<Self, ModelError> {
        let folder = source.folder_of(TOKENIZER);
        if !folder.join(TOKENIZER).exists() {
            return Err(ModelError::NotAModel {
                path: folder.into(),
            });
        }
        let path = source.folder_of(TASK).join(TASK);
        let bad = |problem| ModelError::Format {
            path: path.clone(),
            problem,
        };
        let format = match path.exists() {
            true => TaskFormat::read(&files::read_text(&path)?).map_err(bad)?,
            false => TaskFormat::chat(),
        };
        let tokenizer = TextTokenizer::load(folder.join(TOKENIZER))?;
        let mut language = Self {
            positions: ModelConfig::load_folder(&source.weights)?.max_position_embeddings,
            has_task: path.exists(),
            retriever: retriever(source)?,
            semantic_ids: semantic_ids(source, &tokenizer)?,
            ..Self::small(tokenizer, format)
        };
        if !language.format.is_chat() {
            return Ok(language);
        }
        let template = ChatTemplate::load(folder).map_err(|e| match path.exists() {
            true => ModelError::Chat(e),
            false => bad(format!("not there, so this must be a chat model, but: {e}")),
        })?;
        language.template = Some(template);
        for name in CARRIED
            .into_iter()
            .filter(|name| folder.join(name).exists())
        {
            let text = files::read_text(folder.join(name))?;
            language.carried.insert(name, text);
        }
        Ok(language)
    }

    /// The task over a catalog. Its lists hold N different, unseen items of the catalog.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] or [`ModelError::Chat`] when prompts cannot be written,
    /// [`ModelError::Trie`] when lists cannot be constrained to the catalog,
    /// [`ModelError::NoRoom`] when no prompt fits beside a list.
    pub fn task(&self, catalog: Catalog) -> Result<Task, ModelError> {
        let task = Task::new(catalog, self.prompter()?, self.format.n_ranks).constrained()?;
        let task = match &self.retriever {
            Some(fitted) => {
                let retriever = fitted.over(task.catalog());
                task.with_retriever(retriever.into())
            }
            None => task,
        };
        self.fit(task)
    }

    /// The task over a catalog, with unconstrained lists.
    ///
    /// # Errors
    /// As [`task`](Self::task), but for [`ModelError::Trie`]. [`ModelError::Format`] when items are
    /// written by semantic ids, which no text can be read as.
    pub fn unconstrained_task(&self, catalog: Catalog) -> Result<Task, ModelError> {
        if self.semantic_ids.is_some() {
            return Err(ModelError::Format {
                path: SEMANTIC_IDS.into(),
                problem: "the model writes items by semantic ids, which are no text; expected \
                          constrained lists, without `--unconstrained`"
                    .into(),
            });
        }
        self.fit(Task::new(catalog, self.prompter()?, self.format.n_ranks))
    }

    /// [`unconstrained_task`](Self::unconstrained_task) or [`task`](Self::task), as a flag decides.
    ///
    /// # Errors
    /// As that function.
    pub fn task_for(&self, catalog: Catalog, unconstrained: bool) -> Result<Task, ModelError> {
        match unconstrained {
            true => self.unconstrained_task(catalog),
            false => self.task(catalog),
        }
    }

    /// The task with prompts that fit the model's positions.
    fn fit(&self, task: Task) -> Result<Task, ModelError> {
        let list = task.longest_list().unwrap_or(self.format.max_new_tokens);
        match self.positions.checked_sub(list).filter(|room| *room > 0) {
            Some(room) => Ok(task.with_longest_prompt(room)),
            None => Err(ModelError::NoRoom {
                list,
                positions: self.positions,
            }),
        }
    }

    /// Whether the model's folder has a `task.json`, with the form of prompts and lists.
    #[must_use]
    pub fn has_task(&self) -> bool {
        self.has_task
    }

    /// The token that ends a list.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] or [`ModelError::Chat`] when there is none.
    pub fn end(&self) -> Result<u32, ModelError> {
        Ok(self.prompter()?.end())
    }

    /// The prompter for the form of prompts and lists.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] or [`ModelError::Chat`] when prompts or lists cannot be written.
    pub fn prompter(&self) -> Result<Prompter, ModelError> {
        let prompter = match (&self.format.prompts, &self.template) {
            (Prompts::Marked(format), _) => format.prompter(&self.tokenizer)?,
            (Prompts::Chat(format), Some(template)) => {
                format.prompter(&self.tokenizer, template, self.format.n_ranks)?
            }
            (Prompts::Chat(_), None) => {
                return Err(ModelError::Format {
                    path: TASK.into(),
                    problem: "chat prompts need the chat template of a model's folder".into(),
                });
            }
        };
        Ok(match &self.semantic_ids {
            Some(ids) => prompter.with_semantic_ids(ids)?,
            None => prompter,
        })
    }

    /// The SHA-256 of everything that prompts and lists depend on, by the keys of a checkpoint's
    /// inputs.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the tokenizer cannot be written down.
    ///
    /// # Panics
    /// Never: a format is made of numbers and texts.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>, ModelError> {
        let json = |value: serde_json::Result<String>| value.expect("numbers and texts");
        let hash = |text: String| sha256(text.as_bytes());
        let mut hashes = BTreeMap::from([
            ("tokenizer_sha256".into(), hash(self.tokenizer.to_json()?)),
            (
                "task_sha256".into(),
                hash(json(serde_json::to_string(&self.format))),
            ),
        ]);
        if let Some(fitted) = &self.retriever {
            hashes.insert("retriever_sha256".into(), hash(fitted.to_text()));
        }
        if let Some(ids) = &self.semantic_ids {
            hashes.insert("semantic_ids_sha256".into(), hash(ids.to_text()));
        }
        if self.template.is_some() {
            let carried = json(serde_json::to_string(&self.carried));
            hashes.insert("chat_template_sha256".into(), hash(carried));
        }
        Ok(hashes)
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), ModelError> {
        self.tokenizer.save(folder.join(TOKENIZER))?;
        let task = serde_json::to_string_pretty(&self.format).expect("numbers and texts") + "\n";
        for (name, text) in self.carried.iter().chain([(&TASK, &task)]) {
            write_atomic(folder.join(name), |out| out.write_all(text.as_bytes()))?;
        }
        if let Some(fitted) = &self.retriever {
            fitted.write(folder.join(RETRIEVER))?;
        }
        if let Some(ids) = &self.semantic_ids {
            ids.write(folder.join(SEMANTIC_IDS))?;
        }
        Ok(())
    }
}

/// The retriever of a model's folder, where it has one.
fn retriever(source: &ModelSource) -> Result<Option<Arc<Fitted>>, ModelError> {
    let path = source.folder_of(RETRIEVER).join(RETRIEVER);
    Ok(match path.exists() {
        true => Some(Arc::new(Fitted::read(path)?)),
        false => None,
    })
}

/// The semantic ids of a model's folder, where it has some.
fn semantic_ids(
    source: &ModelSource,
    tokenizer: &TextTokenizer,
) -> Result<Option<Arc<SemanticIds>>, ModelError> {
    let path = source.folder_of(SEMANTIC_IDS).join(SEMANTIC_IDS);
    let bad = |problem| ModelError::Format {
        path: path.clone(),
        problem,
    };
    if path.exists() {
        let ids = SemanticIds::read(&path)?;
        ids.check(tokenizer).map_err(bad)?;
        return Ok(Some(Arc::new(ids)));
    }
    // Without its codes such a model would be asked for titles, which it never learned.
    match SemanticIds::has_tokens(tokenizer) {
        true => Err(bad(
            "not there, but the tokenizer has tokens of semantic ids; expected the file that \
             training wrote beside it"
                .into(),
        )),
        false => Ok(None),
    }
}
