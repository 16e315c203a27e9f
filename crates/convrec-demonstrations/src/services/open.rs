use std::path::Path;

use convrec_catalog::{Catalog, CatalogError};
use convrec_config::ConfigError;
use convrec_core::hash::{sha256, sha256_file};
use convrec_core::{Example, append, files, jsonl};

#[cfg(feature = "llm")]
use super::server::{OpenServer, chat_name, source_texts};
use super::{EmbedderKind, JudgeKind, ServiceSettings, TeacherKind};
use crate::chat::PromptError;
#[cfg(feature = "llm")]
use crate::chat::{ChatDescriber, ChatJudge, ChatTeacher};
use crate::scripted::{Mistakes, Scorers, ScriptedJudge, ScriptedTeacher};
use crate::{
    CacheError, CachedEmbedder, Describer, Embedder, Judge, LexicalEmbedder, ReplayError,
    ReplayTeacher, ServiceError, Services, Teacher,
};

/// Chance per candidate that a rating of the scripted judge is drawn at random.
const JUDGE_NOISE: f64 = 0.1;

/// Services cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Recorded answers cannot be replayed.
    #[error(transparent)]
    Answers(#[from] ReplayError),
    /// No conversation has a recorded answer.
    #[error(
        "no `id` of the {answers} answers is that of a conversation; expected answers to these"
    )]
    NoneAnswered {
        /// The number of answers.
        answers: usize,
    },
    /// A prompt cannot be written.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A file of embeddings cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] files::Error),
    /// A line of a file is bad.
    #[error(transparent)]
    Line(#[from] jsonl::Error),
    /// The ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] append::Error),
    /// An item of the catalog got no description.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The catalog cannot be made with its descriptions.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Files of a batch cannot be read or written.
    #[cfg(feature = "llm")]
    #[error(transparent)]
    Batch(#[from] convrec_llm::BatchError),
    /// A sentence encoder cannot be loaded.
    #[cfg(feature = "embed")]
    #[error(transparent)]
    Encoder(#[from] convrec_embed::EmbedError),
}

/// The parts that a program makes itself: the open server, policies (which this crate does not
/// know), and a device. A policy comes with the name by which manifests know it.
#[derive(Default)]
pub struct HandedIn<'a> {
    /// The server of the settings.
    #[cfg(feature = "llm")]
    pub server: Option<&'a OpenServer>,
    /// The teacher of [`TeacherKind::Policy`].
    pub teacher: Option<(String, Box<dyn Teacher + 'a>)>,
    /// The judge of [`JudgeKind::Policy`].
    pub judge: Option<(String, Box<dyn Judge + 'a>)>,
    /// The embedder of [`EmbedderKind::Encoder`]. Not set, the encoder is loaded from
    /// `embedder.folder` where the feature `embed` is on.
    pub embedder: Option<Box<dyn Embedder + 'a>>,
    /// The device on which an encoder is loaded.
    #[cfg(feature = "embed")]
    pub device: Option<convrec_embed::Device>,
}

impl std::fmt::Debug for HandedIn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandedIn")
            .field("teacher", &self.teacher.as_ref().map(|(name, _)| name))
            .field("judge", &self.judge.as_ref().map(|(name, _)| name))
            .field(
                "embedder",
                &self.embedder.as_ref().map(|embedder| embedder.id()),
            )
            .finish_non_exhaustive()
    }
}

/// The services of [`ServiceSettings`], ready for a [`Pipeline`](crate::Pipeline).
pub struct OpenServices<'a> {
    teacher: Box<dyn Teacher + 'a>,
    judge: Box<dyn Judge + 'a>,
    embedder: Box<dyn Embedder + 'a>,
    describer: Box<dyn Describer + 'a>,
    names: Vec<(&'static str, String)>,
    /// The recorded answers, where the teacher has nothing else.
    recorded: Option<ReplayTeacher>,
}

impl std::fmt::Debug for OpenServices<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenServices")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// The inputs of a service.
struct Opener<'a, 's> {
    settings: &'s ServiceSettings,
    #[cfg(feature = "llm")]
    server: Option<&'a OpenServer>,
    catalog: &'a Catalog,
    scorers: &'a Scorers,
    names: Vec<(&'static str, String)>,
}

impl<'a> OpenServices<'a> {
    /// Opens the services. `scorers` are for scripted ones.
    ///
    /// # Errors
    /// [`OpenError`] when a setting is wrong, a file cannot be read, a template is wrong, or a
    /// policy is needed and none is handed in.
    pub fn open(
        settings: &ServiceSettings,
        catalog: &'a Catalog,
        scorers: &'a Scorers,
        handed_in: HandedIn<'a>,
    ) -> Result<Self, OpenError> {
        settings.check()?;
        let prompts = serde_json::to_string(&settings.prompts).expect("texts can be written");
        let mut names = vec![("prompts_sha256", sha256(prompts.as_bytes()))];
        if let Some(texts) = &settings.describer.texts {
            names.push(("texts_sha256", sha256_file(texts)?));
        }
        let mut opener = Opener {
            settings,
            #[cfg(feature = "llm")]
            server: handed_in.server,
            catalog,
            scorers,
            names,
        };
        let (teacher, recorded) = opener.teacher(handed_in.teacher)?;
        let judge = opener.judge(handed_in.judge)?;
        let encoder = handed_in.embedder;
        #[cfg(feature = "embed")]
        let encoder = match (encoder, &handed_in.device) {
            (None, Some(device)) => opener.encoder(device)?,
            (encoder, _) => encoder,
        };
        let embedder = opener.embedder(encoder)?;
        opener.names.push(("embedder", embedder.id()));
        let describer = opener.describer()?;
        Ok(Self {
            teacher,
            judge,
            embedder,
            describer,
            names: opener.names,
            recorded,
        })
    }

    /// For a pipeline.
    #[must_use]
    pub fn services(&self) -> Services<'_> {
        Services {
            teacher: &*self.teacher,
            embedder: &*self.embedder,
            judge: Some(&*self.judge),
            describer: &*self.describer,
        }
    }

    /// The name of each service by its role, for manifests. Two runs with the same names ask the
    /// same services the same questions.
    #[must_use]
    pub fn names(&self) -> &[(&'static str, String)] {
        &self.names
    }

    /// Leaves out the conversations without a recorded answer, where the teacher has nothing else.
    ///
    /// # Errors
    /// [`OpenError::NoneAnswered`] when none is left.
    pub fn keep_answered(&self, examples: &mut Vec<Example>) -> Result<(), OpenError> {
        let Some(recorded) = &self.recorded else {
            return Ok(());
        };
        examples.retain(|example| recorded.answer(&example.id).is_some());
        match examples.is_empty() {
            true => Err(OpenError::NoneAnswered {
                answers: recorded.len(),
            }),
            false => Ok(()),
        }
    }
}

type BoxedTeacher<'a> = (Box<dyn Teacher + 'a>, Option<ReplayTeacher>);

impl<'a> Opener<'a, '_> {
    fn name(&mut self, role: &'static str, name: String) {
        self.names.push((role, name));
    }

    fn teacher(
        &mut self,
        handed_in: Option<(String, Box<dyn Teacher + 'a>)>,
    ) -> Result<BoxedTeacher<'a>, OpenError> {
        let seed = self.settings.seed;
        let scripted = |kind: &str| format!("scripted, {kind}, seed {seed}");
        Ok(match self.settings.teacher_kind() {
            TeacherKind::Answers => {
                let path = self
                    .settings
                    .teacher
                    .answers
                    .as_deref()
                    .unwrap_or(Path::new(""));
                let recorded = ReplayTeacher::read(path)?;
                let hash = sha256_file(path)?;
                self.name(
                    "teacher",
                    format!("answers of {}, SHA-256 {hash}", path.display()),
                );
                (Box::new(recorded.clone()), Some(recorded))
            }
            TeacherKind::Policy => {
                let (name, teacher) = handed_in.ok_or_else(|| no_policy("teacher.kind"))?;
                self.name("teacher", name);
                (teacher, None)
            }
            TeacherKind::Noisy => {
                self.name("teacher", scripted("noisy"));
                let teacher = ScriptedTeacher {
                    catalog: self.catalog,
                    scorer: self.scorers.baseline(),
                    mistakes: self.settings.teacher.mistakes,
                    seed,
                };
                (Box::new(teacher), None)
            }
            TeacherKind::Heuristic => {
                self.name("teacher", scripted("heuristic"));
                let teacher = ScriptedTeacher {
                    catalog: self.catalog,
                    scorer: self.scorers.heuristic(),
                    mistakes: Mistakes::NONE,
                    seed,
                };
                (Box::new(teacher), None)
            }
            #[cfg(feature = "llm")]
            TeacherKind::Server => {
                self.name("teacher", chat_name(self.settings));
                let chat = self.chat("teacher.kind")?;
                (
                    Box::new(ChatTeacher::new(chat, &self.settings.prompts)?),
                    None,
                )
            }
            #[cfg(not(feature = "llm"))]
            TeacherKind::Server => return Err(no_server("teacher.kind")),
        })
    }

    fn judge(
        &mut self,
        handed_in: Option<(String, Box<dyn Judge + 'a>)>,
    ) -> Result<Box<dyn Judge + 'a>, OpenError> {
        let seed = self.settings.seed;
        Ok(match self.settings.judge_kind() {
            JudgeKind::Policy => {
                let (name, judge) = handed_in.ok_or_else(|| no_policy("judge.kind"))?;
                self.name("judge", name);
                judge
            }
            JudgeKind::Scripted => {
                self.name("judge", format!("scripted, seed {seed}"));
                Box::new(ScriptedJudge {
                    catalog: self.catalog,
                    scorer: self.scorers.baseline(),
                    noise: JUDGE_NOISE,
                    seed,
                })
            }
            #[cfg(feature = "llm")]
            JudgeKind::Server => {
                self.name(
                    "judge",
                    format!("{}, seed {seed}", chat_name(self.settings)),
                );
                let chat = self.chat("judge.kind")?;
                Box::new(ChatJudge::new(chat, &self.settings.prompts, seed)?)
            }
            #[cfg(not(feature = "llm"))]
            JudgeKind::Server => return Err(no_server("judge.kind")),
        })
    }

    fn embedder(
        &self,
        encoder: Option<Box<dyn Embedder + 'a>>,
    ) -> Result<Box<dyn Embedder + 'a>, OpenError> {
        let embedder: Box<dyn Embedder + 'a> = match self.settings.embedder.kind {
            EmbedderKind::Lexical => {
                let texts: Vec<String> = self.catalog.iter().map(|(_, item)| item.text()).collect();
                Box::new(LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH))
            }
            EmbedderKind::Encoder => encoder.ok_or_else(|| {
                let expected = "another kind, as no encoder is handed in and none can be loaded";
                ConfigError::new("embedder.kind", "`encoder`", expected)
            })?,
            #[cfg(feature = "llm")]
            EmbedderKind::Server => {
                let embedder = self.server.map(|server| server.embedder(self.settings));
                Box::new(
                    embedder
                        .transpose()?
                        .flatten()
                        .ok_or_else(|| no_server("embedder.kind"))?,
                )
            }
            #[cfg(not(feature = "llm"))]
            EmbedderKind::Server => return Err(no_server("embedder.kind")),
        };
        Ok(match &self.settings.embedder.cache {
            Some(file) => Box::new(CachedEmbedder::open(file, embedder)?),
            None => embedder,
        })
    }

    /// The encoder in `embedder.folder`, where the embedder is one.
    #[cfg(feature = "embed")]
    fn encoder(
        &self,
        device: &convrec_embed::Device,
    ) -> Result<Option<Box<dyn Embedder + 'a>>, OpenError> {
        let choice = &self.settings.embedder;
        let (EmbedderKind::Encoder, Some(folder)) = (choice.kind, &choice.folder) else {
            return Ok(None);
        };
        let encoder = convrec_embed::SentenceEncoder::load(folder, device)?;
        Ok(Some(match &choice.prompt {
            Some(prompt) => Box::new(encoder.with_prompt(prompt)),
            None => Box::new(encoder),
        }))
    }

    #[cfg(not(feature = "llm"))]
    fn describer(&mut self) -> Result<Box<dyn Describer + 'a>, OpenError> {
        match self.settings.describer.server {
            true => Err(no_server("describer.server")),
            false => Ok(Box::new(())),
        }
    }

    #[cfg(feature = "llm")]
    fn describer(&mut self) -> Result<Box<dyn Describer + 'a>, OpenError> {
        if !self.settings.describer.server {
            return Ok(Box::new(()));
        }
        self.name("describer", chat_name(self.settings));
        let chat = self.chat("describer.server")?;
        let texts = source_texts(self.settings)?;
        let prompts = &self.settings.prompts;
        Ok(Box::new(ChatDescriber::new(
            chat,
            prompts,
            self.catalog,
            texts,
        )?))
    }

    #[cfg(feature = "llm")]
    fn chat(&self, field: &str) -> Result<&'a dyn crate::ChatModel, OpenError> {
        self.server
            .and_then(OpenServer::chat)
            .ok_or_else(|| no_server(field))
    }
}

fn no_policy(field: &str) -> OpenError {
    let expected = "another kind, as the program hands no policy in";
    ConfigError::new(field, "`policy`", expected).into()
}

fn no_server(field: &str) -> OpenError {
    let expected = "something else, as no server is open";
    ConfigError::new(field, "`server`", expected).into()
}
