//! What a training binary leaves and the next one takes: a folder with the weights, their shape,
//! the tokenizer and how prompts and lists are written. A published chat model's folder will do as
//! well.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use burn::tensor::Device;
use convrec_catalog::Catalog;
use convrec_core::files::{self, write_atomic};
use convrec_core::hash::{sha256, sha256_file};
use convrec_policy::{Policy, SaveOptions};
use convrec_text::{ChatFormat, ChatTemplate, ListFormat, PromptFormat, Prompter, TextTokenizer};
use convrec_train::Task;
use convrec_train::evaluate::Decoding;
use serde::{Deserialize, Serialize};

const TOKENIZER: &str = "tokenizer.json";
/// Lists side by side in an evaluation.
const ROWS: usize = 96;
const TASK: &str = "task.json";

/// Files of a chat model's folder that go along with its weights. Without its template no prompt
/// can be written.
const CARRIED: [&str; 4] = [
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "generation_config.json",
];

/// How prompts and lists are written: the content of `task.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskFormat {
    /// The prompt and the list.
    #[serde(flatten)]
    pub prompts: Prompts,
    /// N, items in a list.
    pub n_ranks: usize,
    /// Cuts lists that do not end.
    pub max_new_tokens: usize,
}

/// The error says what is wrong.
fn read_format(text: &str) -> Result<TaskFormat, String> {
    const FIELDS: [&str; 4] = ["prompt", "chat", "n_ranks", "max_new_tokens"];
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let map = value.as_object().ok_or("expected a JSON object")?;
    if let Some(field) = map.keys().find(|field| !FIELDS.contains(&field.as_str())) {
        return Err(format!(
            "unknown field `{field}`; expected some of {}",
            FIELDS.join(", ")
        ));
    }
    if map.contains_key("prompt") == map.contains_key("chat") {
        return Err(
            "expected one of the fields `prompt` (small policies) and `chat` (chat models)".into(),
        );
    }
    serde_path_to_error::deserialize(value).map_err(|e| match e.path().to_string().as_str() {
        "." => e.inner().to_string(),
        field => format!("field `{field}`: {}", e.inner()),
    })
}

/// Either kind of prompts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Prompts {
    /// By special tokens: of a small policy trained from nothing.
    #[serde(rename = "prompt")]
    Marked(PromptFormat),
    /// By the model's template: of a pretrained chat model.
    #[serde(rename = "chat")]
    Chat(ChatFormat),
}

impl TaskFormat {
    /// How the policy is evaluated.
    pub fn greedy(&self) -> Decoding {
        Decoding::greedy(self.max_new_tokens, ROWS)
    }

    /// How items are written.
    pub fn list(&mut self) -> &mut ListFormat {
        match &mut self.prompts {
            Prompts::Marked(format) => &mut format.list,
            Prompts::Chat(format) => &mut format.list,
        }
    }
}

/// How a policy reads and writes: all of its folder but the weights.
#[derive(Debug, Clone)]
pub struct Language {
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// Its prompts and lists.
    pub format: TaskFormat,
    /// Of a chat model.
    template: Option<ChatTemplate>,
    /// The content of [`CARRIED`].
    carried: BTreeMap<&'static str, String>,
}

impl Language {
    /// That of a small policy, trained from nothing.
    pub fn small(tokenizer: TextTokenizer, format: TaskFormat) -> Self {
        Self {
            tokenizer,
            format,
            template: None,
            carried: BTreeMap::new(),
        }
    }

    /// Reads all of a model folder but the weights. A chat model's folder without a `task.json` is
    /// asked for 20 items as [`ChatFormat`] does by default.
    ///
    /// # Errors
    /// When a file is missing or wrong; the error names it.
    pub fn load(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let path = folder.join(TASK);
        let bad = |problem: String| format!("{}: {problem}", path.display());
        if !folder.join(TOKENIZER).exists() {
            return Err(format!(
                "{}: no {TOKENIZER}; expected a model's folder, as `train_sft` leaves it or as a chat model is published \
                 (`adapter` and `checkpoint-...` in a run's folder are none)",
                folder.display()
            )
            .into());
        }
        let format = if path.exists() {
            read_format(&files::read_text(&path)?).map_err(bad)?
        } else {
            TaskFormat {
                prompts: Prompts::Chat(ChatFormat::default()),
                n_ranks: 20,
                max_new_tokens: 1024,
            }
        };
        if format.n_ranks == 0 || format.max_new_tokens == 0 {
            return Err(
                bad("fields `n_ranks` and `max_new_tokens`: expected at least 1".into()).into(),
            );
        }
        let tokenizer = TextTokenizer::load(folder.join(TOKENIZER))?;
        if let Prompts::Marked(_) = format.prompts {
            return Ok(Self::small(tokenizer, format));
        }
        let template = ChatTemplate::load(folder).map_err(|e| match path.exists() {
            true => e.to_string(),
            false => bad(format!("not there, so this must be a chat model, but: {e}")),
        })?;
        let there = CARRIED
            .into_iter()
            .filter(|name| folder.join(name).exists());
        let carried = there.map(|name| Ok((name, files::read_text(folder.join(name))?)));
        let carried = carried.collect::<Result<_, files::Error>>()?;
        Ok(Self {
            tokenizer,
            format,
            template: Some(template),
            carried,
        })
    }

    /// The task over a catalog; its lists cannot leave the catalog unless they are `unconstrained`.
    ///
    /// # Errors
    /// When prompts cannot be written with this tokenizer and template, or lists cannot be
    /// constrained to the catalog.
    pub fn task(&self, catalog: Catalog, unconstrained: bool) -> Result<Task, Box<dyn Error>> {
        let task = Task::new(catalog, self.prompter()?, self.format.n_ranks);
        Ok(if unconstrained {
            task
        } else {
            task.constrained()?
        })
    }

    /// The token that ends a list.
    ///
    /// # Errors
    /// When the tokenizer or the template has none.
    pub fn end(&self) -> Result<u32, Box<dyn Error>> {
        Ok(self.prompter()?.end())
    }

    fn prompter(&self) -> Result<Prompter, Box<dyn Error>> {
        Ok(match (&self.format.prompts, &self.template) {
            (Prompts::Marked(format), _) => format.prompter(&self.tokenizer)?,
            (Prompts::Chat(format), Some(template)) => {
                format.prompter(&self.tokenizer, template, self.format.n_ranks)?
            }
            (Prompts::Chat(_), None) => {
                return Err("chat prompts need the chat template of a model's folder".into());
            }
        })
    }

    /// SHA-256 of all that decides what prompts and lists are, under the names that a checkpoint
    /// knows them by.
    ///
    /// # Errors
    /// When the tokenizer cannot be written down.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
        let hash = |text: String| sha256(text.as_bytes());
        let mut hashes = BTreeMap::from([
            ("the tokenizer".to_string(), hash(self.tokenizer.to_json()?)),
            (
                format!("the model's {TASK}"),
                hash(serde_json::to_string(&self.format)?),
            ),
        ]);
        if self.template.is_some() {
            hashes.insert(
                "the model's chat template".into(),
                hash(serde_json::to_string(&self.carried)?),
            );
        }
        Ok(hashes)
    }

    fn save(&self, folder: &Path) -> Result<(), Box<dyn Error>> {
        self.tokenizer.save(folder.join(TOKENIZER))?;
        let task = serde_json::to_string_pretty(&self.format)? + "\n";
        for (name, text) in self.carried.iter().chain([(&TASK, &task)]) {
            write_atomic(folder.join(name), |out| out.write_all(text.as_bytes()))?;
        }
        Ok(())
    }
}

/// Writes a model folder. A policy with an adapter is written merged, and the adapter alone into
/// the folder `adapter` in it.
///
/// # Errors
/// When a file cannot be written.
pub fn save(folder: &Path, policy: &Policy, language: &Language) -> Result<(), Box<dyn Error>> {
    language.save(folder)?;
    if policy.lora().is_some() {
        policy.save_lora(folder.join("adapter"))?;
    }
    Ok(policy
        .merged()
        .save_folder(folder, &SaveOptions::default())?)
}

/// Reads a model folder: one that [`save`] wrote, or a chat model's as it is published.
///
/// # Errors
/// When a file is missing or does not fit the others; the error names it.
pub fn load(folder: &Path, device: &Device) -> Result<(Policy, Language), Box<dyn Error>> {
    // First what is read in no time.
    let language = Language::load(folder)?;
    let policy = Policy::load_folder(folder, device)?;
    let (tokens, known) = (language.tokenizer.vocab_size(), policy.config().vocab_size);
    if tokens > known {
        let problem = "expected at most as many: the tokenizer is of another model";
        return Err(format!(
            "{}: {TOKENIZER} has {tokens} tokens, the weights {known}; {problem}",
            folder.display()
        )
        .into());
    }
    Ok((policy, language))
}

/// SHA-256 of files under the names that a checkpoint knows them by.
///
/// # Errors
/// When a file cannot be read.
pub fn hashes(named: &[(&str, &Path)]) -> Result<BTreeMap<String, String>, files::Error> {
    named
        .iter()
        .map(|(name, path)| Ok(((*name).to_string(), sha256_file(path)?)))
        .collect()
}

/// SHA-256 of the config and the weights of a model's folder, in however many files they are.
///
/// # Errors
/// When a file cannot be read.
pub fn weights_hash(folder: &Path) -> Result<String, files::Error> {
    let read = |e| files::Error::new("read", folder, e);
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name == "config.json" || (name.starts_with("model") && name.contains(".safetensors")) {
            lines.push(format!("{} {name}\n", sha256_file(&path)?));
        }
    }
    lines.sort();
    Ok(sha256(lines.concat().as_bytes()))
}

#[cfg(test)]
mod tests {
    use convrec_core::Turn;
    use convrec_text::TrainConfig;

    use super::*;

    fn tokenizer(special_tokens: &[&str]) -> TextTokenizer {
        let special_tokens: Vec<String> = special_tokens
            .iter()
            .map(|token| token.to_string())
            .collect();
        let config = TrainConfig {
            vocab_size: 256 + special_tokens.len(),
            special_tokens,
            ..TrainConfig::default()
        };
        TextTokenizer::train(["a"].iter(), &config).unwrap()
    }

    fn write(folder: &Path, name: &str, text: &str) {
        std::fs::write(folder.join(name), text).unwrap();
    }

    fn catalog(folder: &Path) -> Catalog {
        write(
            folder,
            "catalog.jsonl",
            "{\"title\": \"Heat\", \"year\": 1995}\n{\"title\": \"Up\", \"year\": 2009}\n",
        );
        Catalog::read(folder.join("catalog.jsonl")).unwrap()
    }

    /// A chat model's folder, as it is published.
    fn published(folder: &Path) {
        tokenizer(&["<|s|>", "<|e|>"])
            .save(folder.join(TOKENIZER))
            .unwrap();
        let template = "{% for m in messages %}<|s|>{{ m.role }}: {{ m.content }}<|e|>{% endfor %}<|s|>assistant: ";
        let config =
            serde_json::json!({"chat_template": template, "eos_token": "<|e|>", "more": 1});
        write(folder, "tokenizer_config.json", &config.to_string());
        write(folder, "generation_config.json", "{}");
    }

    #[test]
    fn a_published_chat_model_is_taken_and_remembered() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        published(from.path());
        let mut language = Language::load(from.path()).unwrap();
        assert_eq!(
            (language.format.n_ranks, language.format.max_new_tokens),
            (20, 1024)
        );
        language.format.n_ranks = 2;
        let Prompts::Chat(format) = &mut language.format.prompts else {
            panic!("these are chat prompts")
        };
        format.system = "Be brief.".into();
        language.save(to.path()).unwrap();
        for name in ["tokenizer_config.json", "generation_config.json"] {
            let read =
                |folder: &tempfile::TempDir| std::fs::read(folder.path().join(name)).unwrap();
            assert_eq!(read(&from), read(&to), "{name}");
        }

        let loaded = Language::load(to.path()).unwrap();
        assert_eq!(loaded.hashes().unwrap(), language.hashes().unwrap());
        let task = loaded.task(catalog(to.path()), false).unwrap();
        assert!(task.is_constrained());
        let prompt = task
            .prompter()
            .prompt(&[Turn::user("Hi<|e|>")], &[])
            .unwrap();
        let text = loaded.tokenizer.decode_with_specials(&prompt);
        assert!(
            text.starts_with("<|s|>system: Be brief.<|e|><|s|>user: "),
            "{text}"
        );
        assert_eq!(prompt.iter().filter(|id| **id < 2).count(), 5);
        assert_eq!(task.prompter().end(), 1);
    }

    #[test]
    fn a_small_policy_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = tokenizer(&["<bos>", "<user>", "<assistant>", "<seen>", "<rec>", "<eos>"]);
        let format = TaskFormat {
            prompts: Prompts::Marked(PromptFormat::default()),
            n_ranks: 2,
            max_new_tokens: 9,
        };
        let language = Language::small(tokenizer, format);
        language.save(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join(TASK)).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(
            file["prompt"]["max_seen"] == 16 && file["n_ranks"] == 2,
            "{text}"
        );
        let loaded = Language::load(folder.path()).unwrap();
        assert_eq!(loaded.hashes().unwrap(), language.hashes().unwrap());
        assert_eq!(
            loaded
                .task(catalog(folder.path()), true)
                .unwrap()
                .prompter()
                .end(),
            5
        );
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = || Language::load(folder.path()).unwrap_err().to_string();
        published(folder.path());
        write(folder.path(), "tokenizer_config.json", "{}");
        assert!(
            error().contains("task.json: not there, so this must be a chat model, but:"),
            "{}",
            error()
        );
        write(
            folder.path(),
            TASK,
            r#"{"chat": {}, "n_ranks": 0, "max_new_tokens": 1}"#,
        );
        assert!(
            error().contains("task.json: fields `n_ranks`"),
            "{}",
            error()
        );
        write(
            folder.path(),
            TASK,
            r#"{"chat": {"sistem": ""}, "n_ranks": 1, "max_new_tokens": 1}"#,
        );
        assert!(
            error().contains("task.json: unknown field `sistem`"),
            "{}",
            error()
        );
        write(
            folder.path(),
            TASK,
            r#"{"n_ranks": 1, "max_new_tokens": 1}"#,
        );
        assert!(
            error().contains("task.json: expected one of the fields `prompt`"),
            "{}",
            error()
        );
        write(
            folder.path(),
            TASK,
            r#"{"chat": {}, "n_rank": 1, "max_new_tokens": 1}"#,
        );
        assert!(
            error().contains("task.json: unknown field `n_rank`"),
            "{}",
            error()
        );
        write(
            folder.path(),
            TASK,
            r#"{"chat": {}, "n_ranks": "x", "max_new_tokens": 1}"#,
        );
        assert!(
            error().contains("task.json: ") && error().contains("expected usize"),
            "{}",
            error()
        );
        std::fs::remove_file(folder.path().join(TOKENIZER)).unwrap();
        assert!(
            error().contains("no tokenizer.json; expected a model's folder"),
            "{}",
            error()
        );
    }
}
