//! Teachers, judges, embedders and describers, as the options of a binary name them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, ValueEnum};
use convrec_catalog::Catalog;
use convrec_core::hash::{sha256, sha256_file};
use convrec_core::{Example, jsonl};
use convrec_demonstrations::chat::{
    ChatDescriber, ChatJudge, ChatTeacher, Prompts, SourceText, describe_catalog,
};
use convrec_demonstrations::scripted::{
    Bm25Scorer, CooccurrenceScorer, Mistakes, MixedScorer, ScriptedJudge, ScriptedTeacher,
    SimilarityScorer, WordScorer,
};
use convrec_demonstrations::{
    CachedEmbedder, ChatModel, Describer, Embedder, Judge, LexicalEmbedder, ReplayTeacher,
    Services, Teacher,
};
use convrec_embed::SentenceEncoder;
use convrec_llm::{
    BatchWriter, ChatSettings, EmbedderSettings, HttpChat, HttpEmbedder, Ledger, Server,
    ServerSettings, Usage,
};
use convrec_train::{Language, Model, ModelSource, PolicyChat, PolicyJudge, PolicyTeacher};
use serde::{Deserialize, Serialize};

use crate::device::device;
use crate::{Paused, progress, settings};

/// Who answers, rates, compares and describes.
#[derive(Debug, Args)]
pub struct ServiceOptions {
    /// A teacher's recorded answers, JSON lines with `id` and `raw`; conversations without an
    /// answer are left out.
    #[arg(long)]
    pub answers: Option<PathBuf>,
    /// A server with an OpenAI-compatible interface, TOML: `[server] base_url = "..."`, `[chat]
    /// model = "..."`, and for `--embedder server` `[embedder]`. It is the teacher unless
    /// `--answers` are given. The key is taken from the environment variable that
    /// `server.api_key_env` names, OPENAI_API_KEY where it names none.
    #[arg(long)]
    pub llm: Option<PathBuf>,
    /// Where the server's answers are kept, so that none is paid twice.
    #[arg(long, requires = "llm", default_value = "runs/ledger.jsonl")]
    pub ledger: PathBuf,
    /// Asks nobody: what the ledger lacks is written into this folder, as files for the provider's
    /// batch interface.
    #[arg(long, requires = "llm")]
    pub batch: Option<PathBuf>,
    /// Files of results and errors that came back for the files in `--batch`: they go into the
    /// ledger first.
    #[arg(long, requires = "batch", num_args = 1..)]
    pub batch_results: Vec<PathBuf>,
    /// The folder of a policy that is the teacher: one that was trained here, or a published chat
    /// model.
    #[arg(long, conflicts_with = "answers")]
    pub teacher_model: Option<PathBuf>,
    /// Lets that policy write whatever it likes. Without it only different unseen catalog items
    /// can be written.
    #[arg(long, requires = "teacher_model")]
    pub unconstrained: bool,
    /// Who rates candidates. By default the server, or else a script that ranks by co-occurrence
    /// and words.
    #[arg(long, conflicts_with = "judge_model")]
    pub judge: Option<JudgeKind>,
    /// The folder of a policy that rates candidates: a chat model is asked in words, one that was
    /// trained here by how likely it would name them.
    #[arg(long)]
    pub judge_model: Option<PathBuf>,
    /// What compares texts: `lexical` (words, no model), `server` (by `--llm`), or the folder of a
    /// sentence encoder.
    #[arg(long, default_value = "lexical")]
    pub embedder: String,
    /// What is put before each text for a sentence encoder, as models of the E5 kind want `query:
    /// `.
    #[arg(long)]
    pub embedder_prompt: Option<String>,
    /// A file in which embeddings are kept, so that none is made twice.
    #[arg(long)]
    pub embeddings: Option<PathBuf>,
    /// What the server is asked, TOML; what it leaves out keeps its default. `kind = "films"` says
    /// what the items are.
    #[arg(long)]
    pub prompts: Option<PathBuf>,
    /// Lets the server describe the items outside the catalog that a teacher names; else they are
    /// compared by their name.
    #[arg(long, requires = "llm")]
    pub describe: bool,
    /// Texts about items, JSON lines with `title`, `year` and `text`: descriptions are made from
    /// them where there are.
    #[arg(long, requires = "describe")]
    pub texts: Option<PathBuf>,
    /// What the scripted teacher is, where there is no other.
    #[arg(long, default_value = "noisy")]
    pub scripted: ScriptedKind,
    /// Of the scripted teacher and judge, and of the order in which candidates are shown to a
    /// judge.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Who rates candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JudgeKind {
    /// Co-occurrence in the conversations, and words.
    Scripted,
    /// The server of `--llm`.
    Server,
}

/// The scripted teacher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScriptedKind {
    /// Ranks by co-occurrence and words in the items' texts, and makes mistakes as language models do.
    Noisy,
    /// Ranks by co-occurrence, by similarity to the seen items' texts and by what was right where the
    /// same words were said, and makes no mistakes: the best that simple counting gives.
    Heuristic,
}

/// The file of `--llm`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LlmSettings {
    server: ServerSettings,
    chat: Option<ChatSettings>,
    embedder: Option<EmbedderSettings>,
}

/// What is behind `--llm`.
pub struct Backend {
    server: Arc<Server>,
    embedder: Option<EmbedderSettings>,
    chat: Option<Chat>,
    chat_settings: Option<ChatSettings>,
    file: PathBuf,
    stop: Arc<AtomicBool>,
}

enum Chat {
    Http(HttpChat),
    Batch(BatchWriter),
}

impl ServiceOptions {
    /// The files that are read, or kept for the next run.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let read = [
            &self.answers,
            &self.llm,
            &self.prompts,
            &self.texts,
            &self.embeddings,
        ];
        read.into_iter()
            .flatten()
            .chain(std::iter::once(&self.ledger))
    }

    /// Opens what `--llm` names, takes in `--batch-results`, and from then on stops asking at
    /// Ctrl-C; nothing where there is no `--llm`.
    ///
    /// # Errors
    /// When a setting is wrong, the ledger cannot be opened, or a result is not what such a file
    /// holds.
    pub fn backend(&self) -> Result<Option<Backend>, Box<dyn Error>> {
        let Some(file) = &self.llm else {
            return Ok(None);
        };
        let named = |e: convrec_llm::SettingsError| format!("{}: {e}", file.display());
        let llm = settings::read(Some(file), LlmSettings::default())?;
        if llm.chat.is_none() && self.embedder != "server" {
            return Err(format!(
                "{}: no table `[chat]`; add one with a `model`",
                file.display()
            )
            .into());
        }
        crate::show_warnings();
        let stop = Arc::new(AtomicBool::new(false));
        let server = Arc::new(Server::new(llm.server, stop.clone()).map_err(named)?);
        let chat = match llm.chat.clone() {
            None => None,
            Some(chat) => {
                let ledger = Arc::new(Ledger::open(&self.ledger)?);
                if ledger.torn() > 0 {
                    eprintln!(
                        "{}: an answer that was cut off is gone and will be asked for again",
                        self.ledger.display()
                    );
                }
                self.take_results(&ledger)?;
                Some(match &self.batch {
                    Some(_) => Chat::Batch(BatchWriter::new(chat, ledger).map_err(named)?),
                    None => Chat::Http(HttpChat::new(chat, server.clone(), ledger).map_err(named)?),
                })
            }
        };
        let flag = stop.clone();
        ctrlc::set_handler(move || {
            // The second time there is no waiting for what is under way.
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            eprintln!(
                "stopping: what is under way is waited for and kept; once more to leave at once"
            );
        })?;
        Ok(Some(Backend {
            server,
            embedder: llm.embedder,
            chat,
            chat_settings: llm.chat,
            file: file.clone(),
            stop,
        }))
    }

    /// The catalog, with the descriptions that its items lack where `--describe` asks for them.
    ///
    /// # Errors
    /// When an item gets no answer.
    pub fn described(
        &self,
        backend: Option<&Backend>,
        catalog: Catalog,
    ) -> Result<Catalog, Box<dyn Error>> {
        let (true, Some(backend)) = (self.describe, backend) else {
            return Ok(catalog);
        };
        let prompts = settings::read(self.prompts.as_deref(), Prompts::default())?;
        let describer =
            ChatDescriber::new(backend.chat()?, &prompts, &catalog, self.source_texts()?)?;
        let bare = catalog
            .iter()
            .filter(|(_, item)| item.metadata.is_empty())
            .count();
        let bar = progress::bar("describe", bare);
        let described = describe_catalog(&catalog, &describer, &|more| bar.inc(more as u64));
        bar.finish();
        backend.finished(self)?;
        Ok(Catalog::new(described?)?)
    }

    fn source_texts(&self) -> Result<Vec<SourceText>, jsonl::Error> {
        self.texts.as_ref().map_or(Ok(vec![]), jsonl::read_file)
    }

    fn take_results(&self, ledger: &Ledger) -> Result<(), Box<dyn Error>> {
        let (Some(folder), false) = (&self.batch, self.batch_results.is_empty()) else {
            return Ok(());
        };
        let mut requests = Vec::new();
        for entry in std::fs::read_dir(folder)
            .map_err(|e| format!("cannot read {}: {e}", folder.display()))?
        {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("requests-") && name.ends_with(".jsonl") {
                requests.push(path);
            }
        }
        requests.sort();
        println!(
            "{}",
            convrec_llm::read_results(ledger, &requests, &self.batch_results)?
        );
        Ok(())
    }
}

impl Backend {
    /// The chat model of `[chat]`.
    fn chat(&self) -> Result<&dyn ChatModel, Box<dyn Error>> {
        match &self.chat {
            Some(Chat::Http(chat)) => Ok(chat),
            Some(Chat::Batch(chat)) => Ok(chat),
            None => Err(format!(
                "{}: no table `[chat]`; add one with a `model`",
                self.file.display()
            )
            .into()),
        }
    }

    /// What was asked and spent.
    pub fn usage(&self) -> Usage {
        match &self.chat {
            Some(Chat::Http(chat)) => chat.usage(),
            _ => self.server.usage(),
        }
    }

    /// After everybody was asked: whether that is all, and not cut by Ctrl-C or left to batch
    /// files, which are then written.
    ///
    /// # Errors
    /// After Ctrl-C; [`Paused`] where batch files are to be sent; when these cannot be written.
    pub fn finished(&self, options: &ServiceOptions) -> Result<(), Box<dyn Error>> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(
                "stopped; the answers so far are kept, and the same command goes on".into(),
            );
        }
        let (Some(Chat::Batch(chat)), Some(folder)) = (&self.chat, &options.batch) else {
            return Ok(());
        };
        match chat.write(folder, convrec_llm::BatchLimits::default())?.written.len() {
            0 => Ok(()),
            files => Err(Paused(format!(
                "{files} new files of requests in {}; send them, then run again with what comes back as --batch-results",
                folder.display()
            ))
            .into()),
        }
    }

    /// What tells the chat model and how it is asked from others, wherever it runs.
    fn chat_name(&self) -> String {
        self.chat_settings
            .as_ref()
            .map_or_else(String::new, |chat| {
                // What it costs changes no answer.
                let asked = ChatSettings {
                    price: Default::default(),
                    ..chat.clone()
                };
                let settings = serde_json::to_string(&asked).expect("settings can be written");
                format!(
                    "{}, settings SHA-256 {}",
                    chat.model,
                    &sha256(settings.as_bytes())[..16]
                )
            })
    }
}

/// What scripted services rank by.
pub struct Scorers<'a> {
    /// What is named together.
    pub cooccurrence: CooccurrenceScorer<'a>,
    /// What words of the conversation are in the items' texts.
    pub bm25: Bm25Scorer,
    named_beside: CooccurrenceScorer<'a>,
    words: WordScorer,
    similarity: SimilarityScorer<'a>,
}

impl<'a> Scorers<'a> {
    /// Learns from these conversations which items go together.
    pub fn new(catalog: &'a Catalog, examples: &[Example]) -> Self {
        Self {
            cooccurrence: CooccurrenceScorer::new(catalog, examples),
            bm25: Bm25Scorer::new(catalog),
            named_beside: CooccurrenceScorer::new(catalog, examples).alone(),
            words: WordScorer::new(catalog, examples),
            similarity: SimilarityScorer::new(catalog),
        }
    }

    /// What the heuristic teacher ranks by; the weights were found on ReDial's validation part.
    pub fn heuristic(&self) -> MixedScorer<'_> {
        MixedScorer {
            parts: vec![
                (1.0, &self.named_beside),
                (0.6, &self.similarity),
                (0.02, &self.words),
            ],
        }
    }

    fn mixed(&self) -> MixedScorer<'_> {
        MixedScorer {
            parts: vec![(1.0, &self.cooccurrence), (0.1, &self.bm25)],
        }
    }
}

/// The services that options name.
pub struct Chosen<'a> {
    teacher: Box<dyn Teacher + 'a>,
    judge: Box<dyn Judge + 'a>,
    embedder: Box<dyn Embedder + 'a>,
    describer: Box<dyn Describer + 'a>,
    /// Their names, for manifests.
    pub names: Vec<(&'static str, String)>,
    /// The conversations that the teacher can answer, where it has only recorded answers.
    recorded: Option<ReplayTeacher>,
}

impl<'a> Chosen<'a> {
    /// Makes the services; `scorers` are for scripted ones.
    ///
    /// # Errors
    /// When a file cannot be read, a template is wrong, or an option needs another one.
    pub fn new(
        options: &ServiceOptions,
        backend: Option<&'a Backend>,
        catalog: &'a Catalog,
        scorers: &'a Scorers<'a>,
    ) -> Result<Self, Box<dyn Error>> {
        let prompts = settings::read(options.prompts.as_deref(), Prompts::default())?;
        let chat = || backend.ok_or("it needs --llm")?.chat();
        let chat_name = || backend.map_or_else(String::new, Backend::chat_name);
        let file_hash = |path: &Option<PathBuf>| path.as_deref().map(sha256_file).transpose();
        let mut names = vec![(
            "prompts_sha256",
            sha256(serde_json::to_string(&prompts)?.as_bytes()),
        )];
        names.extend(file_hash(&options.texts)?.map(|hash| ("texts_sha256", hash)));
        let recorded = options
            .answers
            .as_ref()
            .map(ReplayTeacher::read)
            .transpose()?;
        let teacher: Box<dyn Teacher + 'a> =
            match (&recorded, backend.filter(|backend| backend.chat.is_some())) {
                _ if options.teacher_model.is_some() => {
                    let folder = options.teacher_model.as_deref().unwrap_or(Path::new(""));
                    let Model { policy, language } = Model::load(folder, &device()?)?;
                    let name = format!(
                        "{}, SHA-256 {}",
                        folder.display(),
                        ModelSource::find(folder)?.weights_hash()?
                    );
                    names.push(("teacher", name.clone()));
                    let task = language.task_for(catalog.clone(), options.unconstrained)?;
                    Box::new(PolicyTeacher::new(
                        name,
                        &policy,
                        task,
                        language.format.greedy(),
                    ))
                }
                (Some(recorded), _) => {
                    let hash = file_hash(&options.answers)?.unwrap_or_default();
                    names.push((
                        "teacher",
                        format!(
                            "answers of {}, SHA-256 {hash}",
                            shown(options.answers.as_deref())
                        ),
                    ));
                    Box::new(recorded.clone())
                }
                (None, Some(backend)) => {
                    names.push(("teacher", backend.chat_name()));
                    Box::new(ChatTeacher::new(backend.chat()?, &prompts)?)
                }
                (None, None) => {
                    let (kind, scorer, mistakes) = match options.scripted {
                        ScriptedKind::Noisy => ("", scorers.mixed(), Mistakes::default()),
                        ScriptedKind::Heuristic => {
                            (", heuristic", scorers.heuristic(), Mistakes::NONE)
                        }
                    };
                    names.push(("teacher", format!("scripted{kind}, seed {}", options.seed)));
                    Box::new(ScriptedTeacher {
                        catalog,
                        scorer,
                        mistakes,
                        seed: options.seed,
                    })
                }
            };
        let has_chat = backend.is_some_and(|backend| backend.chat.is_some());
        let by_default = if has_chat {
            JudgeKind::Server
        } else {
            JudgeKind::Scripted
        };
        let judge: Box<dyn Judge + 'a> = match options.judge.unwrap_or(by_default) {
            _ if options.judge_model.is_some() => {
                let folder = options.judge_model.as_deref().unwrap_or(Path::new(""));
                let name = format!(
                    "{}, SHA-256 {}",
                    folder.display(),
                    ModelSource::find(folder)?.weights_hash()?
                );
                names.push(("judge", name.clone()));
                policy_judge(folder, name, catalog, &prompts, options.seed)?
            }
            JudgeKind::Server => {
                let chat = chat().map_err(|e| format!("--judge server: {e}"))?;
                names.push(("judge", format!("{}, seed {}", chat_name(), options.seed)));
                Box::new(ChatJudge::new(chat, &prompts, options.seed)?)
            }
            JudgeKind::Scripted => {
                names.push(("judge", format!("scripted, seed {}", options.seed)));
                Box::new(ScriptedJudge {
                    catalog,
                    scorer: scorers.mixed(),
                    noise: 0.1,
                    seed: options.seed,
                })
            }
        };
        let embedder = embedder(options, backend, catalog)?;
        names.push(("embedder", embedder.id()));
        let describer: Box<dyn Describer + 'a> = if options.describe {
            names.push(("describer", chat_name()));
            Box::new(ChatDescriber::new(
                chat()?,
                &prompts,
                catalog,
                options.source_texts()?,
            )?)
        } else {
            Box::new(())
        };
        Ok(Self {
            teacher,
            judge,
            embedder,
            describer,
            names,
            recorded,
        })
    }

    /// For a pipeline.
    pub fn services(&self) -> Services<'_> {
        Services {
            teacher: &*self.teacher,
            embedder: &*self.embedder,
            judge: Some(&*self.judge),
            describer: &*self.describer,
        }
    }

    /// Leaves out the conversations that have no recorded answer, where the teacher has nothing
    /// else.
    ///
    /// # Errors
    /// When none is left; `from` is where they come from.
    pub fn keep_answered(
        &self,
        examples: &mut Vec<Example>,
        from: &Path,
    ) -> Result<(), Box<dyn Error>> {
        let Some(recorded) = &self.recorded else {
            return Ok(());
        };
        let all = examples.len();
        examples.retain(|example| recorded.answer(&example.id).is_some());
        println!("{} of {all} conversations have an answer", examples.len());
        match examples.is_empty() {
            true => Err(format!(
                "no `id` of the answers is in {}; expected answers to these",
                from.display()
            )
            .into()),
            false => Ok(()),
        }
    }
}

/// A policy that was trained to write lists, or a chat model that is asked in words.
fn policy_judge<'a>(
    folder: &Path,
    name: String,
    catalog: &Catalog,
    prompts: &Prompts,
    seed: u64,
) -> Result<Box<dyn Judge + 'a>, Box<dyn Error>> {
    let language = Language::load(folder)?;
    if language.format.is_chat() {
        return Ok(Box::new(ChatJudge::new(
            PolicyChat::load(folder, &device()?)?,
            prompts,
            seed,
        )?));
    }
    let Model { policy, language } = Model::load(folder, &device()?)?;
    Ok(Box::new(PolicyJudge::new(
        name,
        &policy,
        language.task(catalog.clone())?,
    )))
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}

fn embedder<'a>(
    options: &ServiceOptions,
    backend: Option<&Backend>,
    catalog: &Catalog,
) -> Result<Box<dyn Embedder + 'a>, Box<dyn Error>> {
    fn cached<'a, E: Embedder + 'a>(
        file: Option<&Path>,
        embedder: E,
    ) -> Result<Box<dyn Embedder + 'a>, Box<dyn Error>> {
        Ok(match file {
            Some(file) => Box::new(CachedEmbedder::open(file, embedder)?),
            None => Box::new(embedder),
        })
    }
    let file = options.embeddings.as_deref();
    match options.embedder.as_str() {
        "lexical" => {
            let texts: Vec<String> = catalog.iter().map(|(_, item)| item.text()).collect();
            cached(
                file,
                LexicalEmbedder::fit(&texts, LexicalEmbedder::DEFAULT_WIDTH),
            )
        }
        "server" => {
            let backend = backend.ok_or("--embedder server needs --llm")?;
            if file.is_none() {
                return Err(
                    "--embedder server needs --embeddings FILE, so that no embedding is paid twice"
                        .into(),
                );
            }
            let settings = backend.embedder.clone().ok_or_else(|| {
                format!(
                    "{}: no table `[embedder]`; add one with a `model` and a `width`",
                    backend.file.display()
                )
            })?;
            cached(file, HttpEmbedder::new(settings, backend.server.clone())?)
        }
        folder => {
            let encoder = SentenceEncoder::load(folder, &device()?)?;
            match &options.embedder_prompt {
                Some(prompt) => cached(file, encoder.with_prompt(prompt)),
                None => cached(file, encoder),
            }
        }
    }
}
