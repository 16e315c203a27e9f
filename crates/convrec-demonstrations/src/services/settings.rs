use std::path::{Path, PathBuf};

use convrec_config::{ConfigError, Layer, Layers};
#[cfg(feature = "llm")]
use convrec_llm::{ChatSettings, EmbedderSettings, ServerSettings};
use serde::{Deserialize, Serialize};

use crate::chat::Prompts;
use crate::scripted::Mistakes;

/// The settings of all services: teacher, judge, embedder and describer. They fit into one TOML
/// file.
///
/// ```
/// use convrec_config::{Layer, Layers};
/// use convrec_demonstrations::services::{ServiceSettings, TeacherKind};
///
/// let file = r#"
///     [teacher]
///     kind = "noisy"
///     mistakes = { invented = 0.2 }
///     [prompts]
///     kind = "films"
/// "#;
/// let file = Layer::parse(file, "services.toml".as_ref())?;
/// let settings = ServiceSettings::resolve(&Layers::new([file]))?;
/// assert_eq!(settings.teacher.kind(), TeacherKind::Noisy);
///
/// let file = Layer::parse("[teacher]\nkind = \"answers\"", "services.toml".as_ref())?;
/// let error = ServiceSettings::resolve(&Layers::new([file])).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "services.toml, field `teacher.answers`: expected a file of answers, as `teacher.kind` is `answers`"
/// );
/// # Ok::<(), convrec_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ServiceSettings {
    /// The seed of the mistakes and the noise of scripted services, and of the order in which
    /// candidates are shown to a judge. Default: 1.
    pub seed: u64,
    /// The teacher.
    pub teacher: TeacherSettings,
    /// The judge.
    pub judge: JudgeSettings,
    /// The embedder.
    pub embedder: EmbedderChoice,
    /// The describer.
    pub describer: DescriberSettings,
    /// The prompts of chat models.
    pub prompts: Prompts,
    /// The server, where a service is on one.
    #[cfg(feature = "llm")]
    pub server: Option<ServerSettings>,
    /// The chat model of the server.
    #[cfg(feature = "llm")]
    pub chat: Option<ChatSettings>,
    /// The embedding model of the server.
    #[cfg(feature = "llm")]
    pub embeddings: Option<EmbedderSettings>,
    /// The file that keeps the answers of the chat model. Default: `runs/ledger.jsonl`.
    #[cfg(feature = "llm")]
    pub ledger: PathBuf,
    /// The provider's batch interface instead of the server.
    #[cfg(feature = "llm")]
    pub batch: Option<BatchSettings>,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            teacher: Default::default(),
            judge: Default::default(),
            embedder: Default::default(),
            describer: Default::default(),
            prompts: Default::default(),
            #[cfg(feature = "llm")]
            server: None,
            #[cfg(feature = "llm")]
            chat: None,
            #[cfg(feature = "llm")]
            embeddings: None,
            #[cfg(feature = "llm")]
            ledger: "runs/ledger.jsonl".into(),
            #[cfg(feature = "llm")]
            batch: None,
        }
    }
}

/// The kind of teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TeacherKind {
    /// Recorded answers.
    Answers,
    /// The chat model of a server.
    Server,
    /// A policy that the program hands in.
    Policy,
    /// A script that ranks by co-occurrence and BM25 and makes mistakes as language models do.
    Noisy,
    /// A script that ranks by co-occurrence, similarity of texts and words, and makes no mistakes.
    /// It is the best teacher that only counts.
    Heuristic,
}

/// The teacher.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TeacherSettings {
    /// The kind. Default: `answers` where these are given, else `server` where the table `[chat]`
    /// is there, else `noisy`.
    pub kind: Option<TeacherKind>,
    /// Recorded answers: JSON lines with `id` and `raw`.
    pub answers: Option<PathBuf>,
    /// The folder of the policy. The program that hands it in reads this field.
    pub folder: Option<PathBuf>,
    /// Whether the policy's lists are unconstrained. The program that hands it in reads this field.
    /// Default: false.
    pub unconstrained: bool,
    /// The mistakes of the noisy teacher.
    pub mistakes: Mistakes,
}

impl TeacherSettings {
    /// The kind, where no chat model decides.
    #[must_use]
    pub fn kind(&self) -> TeacherKind {
        self.kind_beside(false)
    }

    fn kind_beside(&self, chat: bool) -> TeacherKind {
        self.kind.unwrap_or(match (&self.answers, chat) {
            (Some(_), _) => TeacherKind::Answers,
            (None, true) => TeacherKind::Server,
            (None, false) => TeacherKind::Noisy,
        })
    }
}

/// The kind of judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JudgeKind {
    /// The chat model of a server.
    Server,
    /// A policy that the program hands in.
    Policy,
    /// A script that ranks by co-occurrence and BM25. A tenth of its ratings is noise.
    Scripted,
}

/// The judge.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct JudgeSettings {
    /// The kind. Default: `server` where the table `[chat]` is there, else `scripted`.
    pub kind: Option<JudgeKind>,
    /// The folder of the policy. The program that hands it in reads this field.
    pub folder: Option<PathBuf>,
}

/// The kind of embedder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmbedderKind {
    /// Words and parts of words, without a model.
    #[default]
    Lexical,
    /// The embedding model of a server.
    Server,
    /// A sentence encoder in a folder.
    Encoder,
}

/// The embedder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EmbedderChoice {
    /// The kind. Default: `lexical`.
    pub kind: EmbedderKind,
    /// The folder of the sentence encoder.
    pub folder: Option<PathBuf>,
    /// The text that is put before each text for a sentence encoder. Models of the E5 kind want
    /// `query: `.
    pub prompt: Option<String>,
    /// A file that keeps embeddings, so that none is made twice. A server needs one.
    pub cache: Option<PathBuf>,
}

/// The describer, which gives texts about items.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DescriberSettings {
    /// Whether the chat model of the server describes the items outside the catalog and those of
    /// the catalog that came without metadata. Without it such items are compared by their names.
    /// Default: false.
    pub server: bool,
    /// Texts about items: JSON lines with `title`, `year` and `text`. Descriptions are made from
    /// them.
    pub texts: Option<PathBuf>,
}

/// The provider's batch interface. No server is asked, and the requests that the ledger lacks are
/// written to files.
#[cfg(feature = "llm")]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BatchSettings {
    /// The folder of the files of requests.
    pub folder: PathBuf,
    /// Files of results and of errors that came back. They go into the ledger first.
    pub results: Vec<PathBuf>,
}

impl ServiceSettings {
    /// Reads a TOML file, and checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read or a field is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::resolve(&Layers::new([Layer::read(path)?]))
    }

    /// Resolves layers, as of a file and of flags, over the defaults, and checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn resolve(layers: &Layers) -> Result<Self, ConfigError> {
        let settings: Self = layers.resolve(Self::default())?;
        settings.check().map_err(|error| layers.locate(error))?;
        Ok(settings)
    }

    /// The kind of teacher.
    #[must_use]
    pub fn teacher_kind(&self) -> TeacherKind {
        self.teacher.kind_beside(self.has_chat())
    }

    /// The kind of judge.
    #[must_use]
    pub fn judge_kind(&self) -> JudgeKind {
        self.judge.kind.unwrap_or(match self.has_chat() {
            true => JudgeKind::Server,
            false => JudgeKind::Scripted,
        })
    }

    /// Whether the settings describe a chat model on a server.
    fn has_chat(&self) -> bool {
        #[cfg(feature = "llm")]
        return self.chat.is_some();
        #[cfg(not(feature = "llm"))]
        false
    }

    /// The files that are read or kept, so that no output is written over them.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        let files = [
            &self.teacher.answers,
            &self.describer.texts,
            &self.embedder.cache,
        ];
        let files = files.into_iter().flatten().map(PathBuf::as_path);
        #[cfg(feature = "llm")]
        let files = files.chain(self.server.as_ref().map(|_| self.ledger.as_path()));
        files.collect()
    }

    /// Checks that each service has what its kind needs.
    ///
    /// # Errors
    /// [`ConfigError`] for the first field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let missing = |field: &str, what: &str, why: &str| {
            Err(ConfigError::new(field, "", format!("{what}, as {why}")))
        };
        if self.teacher_kind() == TeacherKind::Answers && self.teacher.answers.is_none() {
            return missing(
                "teacher.answers",
                "a file of answers",
                "`teacher.kind` is `answers`",
            );
        }
        if self.describer.texts.is_some() && !self.describer.server {
            let why = "`describer.texts` are given";
            return missing("describer.server", "true", why);
        }
        self.teacher.mistakes.check().map_err(|(field, problem)| {
            ConfigError::new(
                format!("teacher.mistakes.{field}"),
                problem,
                "rates as documented",
            )
        })?;
        if self.embedder.kind == EmbedderKind::Encoder && self.embedder.folder.is_none() {
            let why = "`embedder.kind` is `encoder`";
            return missing("embedder.folder", "the folder of a sentence encoder", why);
        }
        let on_server = [
            (
                self.teacher_kind() == TeacherKind::Server,
                "`teacher.kind` is `server`",
            ),
            (
                self.judge_kind() == JudgeKind::Server,
                "`judge.kind` is `server`",
            ),
            (self.describer.server, "`describer.server` is true"),
        ];
        match on_server.into_iter().find(|(asked, _)| *asked) {
            Some((_, why)) if !self.has_chat() => {
                missing("chat", "a table `[chat]` with a `model`", why)
            }
            _ => self.check_server(),
        }
    }

    #[cfg(not(feature = "llm"))]
    fn check_server(&self) -> Result<(), ConfigError> {
        match self.embedder.kind {
            EmbedderKind::Server => Err(ConfigError::new(
                "embedder.kind",
                "`server`",
                "another kind, as this program was built without the feature `llm`",
            )),
            _ => Ok(()),
        }
    }

    #[cfg(feature = "llm")]
    fn check_server(&self) -> Result<(), ConfigError> {
        let missing = |field, what: &str, why: &str| {
            Err(ConfigError::new(field, "", format!("{what}, as {why}")))
        };
        if self.embedder.kind == EmbedderKind::Server {
            let why = "`embedder.kind` is `server`";
            if self.embeddings.is_none() {
                let what = "a table `[embeddings]` with a `model` and a `width`";
                return missing("embeddings", what, why);
            }
            if self.embedder.cache.is_none() {
                let what = "a file that keeps embeddings";
                return missing("embedder.cache", what, "each of them is paid");
            }
        }
        if let Some(chat) = &self.chat {
            chat.check()?;
        }
        if let Some(embeddings) = &self.embeddings {
            embeddings.check()?;
        }
        match &self.server {
            Some(server) => server.check(),
            None if self.chat.is_some() || self.embeddings.is_some() => missing(
                "server",
                "a table `[server]` with a `base_url`",
                "a model on it is named",
            ),
            None => Ok(()),
        }
    }
}
