//! Teachers, judges, embedders and describers: the flags of a program, over its settings file.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use clap::Args;
use convrec_catalog::Catalog;
use convrec_config::{ConfigError, Layer, Layers};
use convrec_demonstrations::Judge;
use convrec_demonstrations::chat::ChatJudge;
use convrec_demonstrations::services::{
    Finished, HandedIn, JudgeKind, OpenServer, ServiceSettings, TeacherKind,
};
use convrec_train::{Language, Model, ModelSource, PolicyChat, PolicyJudge, PolicyTeacher};

use crate::output::{say, warn};
use crate::{Outcome, Paused, progress};

/// The services that answer, rate, compare and describe. Flags win over the file.
#[derive(Debug, Args)]
pub struct ServiceOptions {
    /// Settings of all services, TOML: `[teacher]`, `[judge]`, `[embedder]`, `[describer]`,
    /// `[prompts]`, and for a server `[server]`, `[chat]` and `[embeddings]`
    /// (docs/demonstrations.md). A file with `[chat]` makes the server teacher and judge. Its key
    /// is in the environment variable that `server.api_key_env` names (OPENAI_API_KEY).
    #[arg(long, visible_alias = "llm")]
    pub services: Option<PathBuf>,
    /// A teacher's recorded answers, JSON lines with `id` and `raw`. Conversations without an
    /// answer are left out.
    #[arg(long)]
    pub answers: Option<PathBuf>,
    /// The file that keeps the server's answers. A request whose answer is there is not sent again.
    /// [default: runs/ledger.jsonl]
    #[arg(long, requires = "services")]
    pub ledger: Option<PathBuf>,
    /// Asks no server. The requests that the ledger lacks are written into this folder, as files
    /// for the provider's batch interface.
    #[arg(long, requires = "services")]
    pub batch: Option<PathBuf>,
    /// Files of results and errors that came back for the files in `--batch`. They go into the
    /// ledger first.
    #[arg(long, requires = "batch", num_args = 1..)]
    pub batch_results: Vec<PathBuf>,
    /// Shows a server's words about a failure. They may repeat a part of the key in a form that is
    /// not recognised.
    #[arg(long, requires = "services")]
    pub show_replies: bool,
    /// The folder of a policy that is the teacher: one that was trained here, or a published chat
    /// model.
    #[arg(long, conflicts_with = "answers")]
    pub teacher_model: Option<PathBuf>,
    /// Lets that policy write unconstrained lists. Without this flag only different unseen catalog
    /// items can be written.
    #[arg(long, requires = "teacher_model")]
    pub unconstrained: bool,
    /// The judge, which rates candidates. By default it is the server, or else a script that ranks
    /// by co-occurrence and words.
    #[arg(long, conflicts_with = "judge_model", value_parser = ["server", "scripted"])]
    pub judge: Option<String>,
    /// The folder of a policy that rates candidates. A chat model is asked in words. A policy that
    /// was trained here rates by how likely it would name them.
    #[arg(long)]
    pub judge_model: Option<PathBuf>,
    /// The embedder, which compares texts: `lexical` (words, no model), `server`, or the folder of
    /// a sentence encoder. [default: lexical]
    #[arg(long)]
    pub embedder: Option<String>,
    /// The text that is put before each text for a sentence encoder. Models of the E5 kind want
    /// `query: `.
    #[arg(long)]
    pub embedder_prompt: Option<String>,
    /// A file that keeps embeddings, so that none is made twice.
    #[arg(long)]
    pub embeddings: Option<PathBuf>,
    /// Lets the server describe the items outside the catalog that a teacher names. Otherwise they
    /// are compared by their names.
    #[arg(long, requires = "services")]
    pub describe: bool,
    /// Texts about items, JSON lines with `title`, `year` and `text`. Descriptions are made from
    /// them.
    #[arg(long, requires = "describe")]
    pub texts: Option<PathBuf>,
    /// The scripted teacher, where there is no other. `noisy` makes the mistakes of language
    /// models. `heuristic` makes none, and is the best teacher that only counts. [default: noisy]
    #[arg(long, value_parser = ["noisy", "heuristic"], conflicts_with_all = ["answers", "teacher_model"])]
    pub scripted: Option<String>,
    /// The seed of scripted services, and of the order in which candidates are shown to a judge.
    /// [default: 1]
    #[arg(long)]
    pub seed: Option<u64>,
}

impl ServiceOptions {
    /// The settings: defaults, the file, the flags.
    ///
    /// # Errors
    /// [`ConfigError`] when the file cannot be read or a field is wrong.
    pub fn settings(&self) -> Result<ServiceSettings, ConfigError> {
        let mut flags = Layer::flags();
        let teacher = match (&self.teacher_model, &self.answers) {
            (Some(_), _) => Some("policy"),
            (None, Some(_)) => Some("answers"),
            (None, None) => self.scripted.as_deref(),
        };
        flags.set("teacher.kind", teacher);
        flags.set("teacher.answers", self.answers.as_ref());
        flags.set("teacher.folder", self.teacher_model.as_ref());
        flags.set("teacher.unconstrained", self.unconstrained.then_some(true));
        let judge = self.judge_model.as_ref().map(|_| "policy");
        flags.set("judge.kind", judge.or(self.judge.as_deref()));
        flags.set("judge.folder", self.judge_model.as_ref());
        let kind = self.embedder.as_deref();
        let folder = kind.filter(|kind| !["lexical", "server"].contains(kind));
        flags.set("embedder.kind", folder.map(|_| "encoder").or(kind));
        flags.set("embedder.folder", folder);
        flags.set("embedder.prompt", self.embedder_prompt.as_ref());
        flags.set("embedder.cache", self.embeddings.as_ref());
        flags.set("describer.server", self.describe.then_some(true));
        flags.set("describer.texts", self.texts.as_ref());
        flags.set("seed", self.seed);
        flags.set("ledger", self.ledger.as_ref());
        flags.set("server.show_replies", self.show_replies.then_some(true));
        flags.set("batch.folder", self.batch.as_ref());
        let results = Some(&self.batch_results).filter(|files| !files.is_empty());
        flags.set("batch.results", results);
        let file = self.services.as_deref().map(Layer::read).transpose()?;
        ServiceSettings::resolve(&Layers::new(file.into_iter().chain([flags])))
    }

    /// The file of settings.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.services.iter()
    }
}

/// Opens the server of the settings, and from then on stops asking at Ctrl-C.
///
/// # Errors
/// When the server cannot be opened.
pub fn open_server(settings: &ServiceSettings) -> Result<Option<OpenServer>, Box<dyn Error>> {
    crate::show_warnings();
    let stop = Arc::new(AtomicBool::new(false));
    let Some(server) = OpenServer::open(settings, stop.clone())? else {
        return Ok(None);
    };
    if let Some(ledger) = server.ledger().filter(|ledger| ledger.torn() > 0) {
        let path = ledger.path().display();
        warn(&format_args!(
            "{path}: an answer that was cut off is gone and will be asked for again"
        ));
    }
    server
        .results()
        .iter()
        .for_each(|report| say(format_args!("{report}")));
    ctrlc::set_handler(move || {
        // The second Ctrl-C does not wait for requests under way.
        if stop.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        warn(&format_args!(
            "stopping: what is under way is waited for and kept; once more to leave at once"
        ));
    })?;
    Ok(Some(server))
}

/// The catalog, with the descriptions that its items lack where the settings ask for them.
///
/// # Errors
/// When an item gets no answer.
pub fn described(
    settings: &ServiceSettings,
    server: Option<&OpenServer>,
    catalog: Catalog,
) -> Result<Catalog, Box<dyn Error>> {
    let (true, Some(server)) = (settings.describer.server, server) else {
        return Ok(catalog);
    };
    let bare = catalog
        .iter()
        .filter(|(_, item)| item.metadata.is_empty())
        .count();
    let bar = progress::bar("describe", bare);
    let described = server.describe(settings, catalog, &|more| bar.inc(more as u64));
    bar.finish();
    finished(Some(server))?;
    Ok(described?)
}

/// Checks that all services were asked, without a stop by Ctrl-C. Writes the batch files where
/// there are requests left.
///
/// # Errors
/// After Ctrl-C; [`Paused`] where batch files are to be sent; when these cannot be written.
pub fn finished(server: Option<&OpenServer>) -> Outcome {
    match server.map_or(Ok(Finished::All), OpenServer::finish)? {
        Finished::Stopped => {
            Err("stopped; the answers so far are kept, and the same command goes on".into())
        }
        Finished::Batch { files } => {
            let folder = files[0].parent().unwrap_or(&files[0]).display();
            Err(Paused(format!(
                "{} new files of requests in {folder}; send them, then run again with what comes back as --batch-results",
                files.len()
            ))
            .into())
        }
        _ => Ok(()),
    }
}

/// The policies that the settings name, the device, and the server.
///
/// # Errors
/// When a policy cannot be loaded.
pub fn handed_in<'a>(
    settings: &ServiceSettings,
    server: Option<&'a OpenServer>,
    catalog: &Catalog,
    device: &Device,
) -> Result<HandedIn<'a>, Box<dyn Error>> {
    let mut handed_in = HandedIn {
        server,
        device: Some(device.clone()),
        ..HandedIn::default()
    };
    let named = |folder: &PathBuf| -> Result<String, Box<dyn Error>> {
        Ok(format!(
            "{}, SHA-256 {}",
            folder.display(),
            ModelSource::find(folder)?.weights_hash()?
        ))
    };
    let teacher = &settings.teacher;
    if let (TeacherKind::Policy, Some(folder)) = (settings.teacher_kind(), &teacher.folder) {
        let Model { policy, language } = Model::load(folder, device)?;
        let (name, decoding) = (named(folder)?, language.format.greedy());
        let task = language.task_for(catalog.clone(), teacher.unconstrained)?;
        let teacher = PolicyTeacher::new(name.clone(), &policy, task, decoding);
        handed_in.teacher = Some((name, Box::new(teacher)));
    }
    if let (JudgeKind::Policy, Some(folder)) = (settings.judge_kind(), &settings.judge.folder) {
        let name = named(folder)?;
        let language = Language::load(folder)?;
        // A chat model is asked in words.
        let judge: Box<dyn Judge> = if language.format.is_chat() {
            let chat = PolicyChat::load(folder, device)?;
            Box::new(ChatJudge::new(chat, &settings.prompts, settings.seed)?)
        } else {
            let Model { policy, language } = Model::load(folder, device)?;
            let task = language.task(catalog.clone())?;
            Box::new(PolicyJudge::new(name.clone(), &policy, task))
        };
        handed_in.judge = Some((name, judge));
    }
    Ok(handed_in)
}
