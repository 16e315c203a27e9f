//! The chat model and the embedding model of a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use convrec_catalog::Catalog;
use convrec_core::hash::sha256;
use convrec_core::jsonl;
use convrec_llm::{
    BatchLimits, BatchReport, BatchWriter, ChatSettings, HttpChat, HttpEmbedder, Ledger, Server,
    Usage,
};

use super::{BatchSettings, OpenError, ServiceSettings};
use crate::chat::{ChatDescriber, SourceText, describe_catalog};
use crate::{ChatModel, Done};

/// The server of [`ServiceSettings`], with its chat model and its ledger.
#[derive(Debug)]
pub struct OpenServer {
    server: Arc<Server>,
    chat: Option<Chat>,
    batch: Option<BatchSettings>,
    results: Option<BatchReport>,
    ledger: Option<Arc<Ledger>>,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Chat {
    Http(HttpChat),
    Batch(BatchWriter),
}

/// The work that is left when all services were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finished {
    /// Nothing.
    All,
    /// The run was stopped. The answers so far are kept, and the same run goes on.
    Stopped,
    /// Files of requests were written for the provider's batch interface.
    Batch {
        /// The new files.
        files: Vec<PathBuf>,
    },
}

impl OpenServer {
    /// Opens the server and the ledger, and takes in the results of batches. The result is `None`
    /// where the settings name no server. When `stop` becomes true, nothing more is asked.
    ///
    /// # Errors
    /// [`OpenError`] when a setting is wrong, the key is not set, the ledger cannot be opened, or a
    /// file of results is wrong.
    pub fn open(
        settings: &ServiceSettings,
        stop: Arc<AtomicBool>,
    ) -> Result<Option<Self>, OpenError> {
        let Some(server) = settings.server.clone() else {
            return Ok(None);
        };
        let server = Arc::new(Server::new(server, stop.clone())?);
        let mut open = Self {
            server,
            chat: None,
            batch: settings.batch.clone(),
            results: None,
            ledger: None,
            stop,
        };
        if let Some(chat) = settings.chat.clone() {
            open.open_chat(chat, &settings.ledger)?;
        }
        Ok(Some(open))
    }

    fn open_chat(&mut self, chat: ChatSettings, ledger: &Path) -> Result<(), OpenError> {
        let ledger = Arc::new(Ledger::open(ledger)?);
        self.chat = Some(match &self.batch {
            None => Chat::Http(HttpChat::new(chat, self.server.clone(), ledger.clone())?),
            Some(batch) => {
                if !batch.results.is_empty() {
                    let requests = request_files(&batch.folder)?;
                    let report = convrec_llm::read_results(&ledger, &requests, &batch.results)?;
                    self.results = Some(report);
                }
                Chat::Batch(BatchWriter::new(chat, ledger.clone())?)
            }
        });
        self.ledger = Some(ledger);
        Ok(())
    }

    /// The chat model, where the settings name one.
    #[must_use]
    pub fn chat(&self) -> Option<&dyn ChatModel> {
        match &self.chat {
            Some(Chat::Http(chat)) => Some(chat),
            Some(Chat::Batch(chat)) => Some(chat),
            None => None,
        }
    }

    /// The ledger, where there is a chat model.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_deref()
    }

    /// The report on the results of batches, where there were any.
    #[must_use]
    pub fn results(&self) -> Option<&BatchReport> {
        self.results.as_ref()
    }

    /// The requests and the spending so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match &self.chat {
            Some(Chat::Http(chat)) => chat.usage(),
            _ => self.server.usage(),
        }
    }

    /// Returns whether everything was asked, and writes the files of a batch.
    ///
    /// # Errors
    /// [`OpenError::Batch`] when the files cannot be written.
    pub fn finish(&self) -> Result<Finished, OpenError> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Finished::Stopped);
        }
        let (Some(Chat::Batch(chat)), Some(batch)) = (&self.chat, &self.batch) else {
            return Ok(Finished::All);
        };
        let files = chat.write(&batch.folder, BatchLimits::default())?.written;
        Ok(match files.is_empty() {
            true => Finished::All,
            false => Finished::Batch { files },
        })
    }

    /// The catalog, with descriptions where its items came without metadata and
    /// [`describer.server`](super::DescriberSettings) asks for them.
    ///
    /// # Errors
    /// [`OpenError`] when the texts cannot be read or an item gets no answer.
    pub fn describe(
        &self,
        settings: &ServiceSettings,
        catalog: Catalog,
        done: Done<'_>,
    ) -> Result<Catalog, OpenError> {
        let (true, Some(chat)) = (settings.describer.server, self.chat()) else {
            return Ok(catalog);
        };
        let texts = source_texts(settings)?;
        let describer = ChatDescriber::new(chat, &settings.prompts, &catalog, texts)?;
        Ok(Catalog::new(describe_catalog(&catalog, &describer, done)?)?)
    }

    pub(super) fn embedder(
        &self,
        settings: &ServiceSettings,
    ) -> Result<Option<HttpEmbedder>, OpenError> {
        let embeddings = settings.embeddings.clone();
        Ok(embeddings
            .map(|e| HttpEmbedder::new(e, self.server.clone()))
            .transpose()?)
    }
}

/// The texts about items of [`DescriberSettings`](super::DescriberSettings).
pub(super) fn source_texts(settings: &ServiceSettings) -> Result<Vec<SourceText>, jsonl::Error> {
    settings
        .describer
        .texts
        .as_ref()
        .map_or(Ok(vec![]), jsonl::read_file)
}

/// The name of a chat model with its settings, which does not depend on the server's address.
pub(super) fn chat_name(settings: &ServiceSettings) -> String {
    let Some(chat) = &settings.chat else {
        return String::new();
    };
    // The price changes no answer.
    let asked = ChatSettings {
        price: Default::default(),
        ..chat.clone()
    };
    let json = serde_json::to_string(&asked).expect("settings can be written");
    format!(
        "{}, settings SHA-256 {}",
        chat.model,
        &sha256(json.as_bytes())[..16]
    )
}

/// The files of requests in a folder, in their order.
fn request_files(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let failed = |e| convrec_core::files::Error::new("read", folder, e);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("requests-") && name.ends_with(".jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
