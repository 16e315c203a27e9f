//! The place of a model: a folder, a name on the hub, or an adapter with the name of its base.

use std::path::{Path, PathBuf};

use convrec_core::files;
use convrec_core::hash::{sha256, sha256_file};

use super::error::ModelError;

const ADAPTER: &str = "adapter_config.json";

/// A model's files, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// The folder with the weights of the whole model.
    pub weights: PathBuf,
    /// The folder of a PEFT adapter that belongs on them.
    pub adapter: Option<PathBuf>,
    /// The name that other tools know the weights by: the name on the hub, or the folder.
    pub base_name: String,
}

impl ModelSource {
    /// Finds a model by the name of its folder, or by its name on the hub (`org/name`, with the
    /// feature `hub`). A folder with a PEFT adapter names its base model in `adapter_config.json`;
    /// a path there is looked for from the working directory and from the adapter's folder.
    ///
    /// # Errors
    /// [`ModelError::NotFound`] when nothing is there, [`ModelError::Format`] when an adapter does
    /// not name its base, `ModelError::Hub` when the hub has no such model.
    pub fn find(name: &Path) -> Result<Self, ModelError> {
        let (folder, base_name) = locate(name, Path::new(""))?;
        let adapter = folder.join(ADAPTER);
        if folder.join("config.json").exists() || !adapter.exists() {
            return Ok(Self {
                weights: folder,
                adapter: None,
                base_name,
            });
        }
        let bad = |problem: String| ModelError::Format {
            path: adapter.clone(),
            problem,
        };
        let text = files::read_text(&adapter)?;
        let config: serde_json::Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|e| bad(e.to_string()))?;
        let base = config["base_model_name_or_path"].as_str();
        let base = base.filter(|base| !base.is_empty()).ok_or_else(|| {
            let problem =
                "no field `base_model_name_or_path`, expected the model under the adapter";
            bad(problem.into())
        })?;
        let (weights, base_name) = locate(Path::new(base), &folder)?;
        Ok(Self {
            weights,
            adapter: Some(folder),
            base_name,
        })
    }

    /// The folder with a file of this name: the adapter's where it has one, else the base's.
    pub(crate) fn folder_of(&self, file: &str) -> &Path {
        let adapter = self
            .adapter
            .as_deref()
            .filter(|folder| folder.join(file).exists());
        adapter.unwrap_or(&self.weights)
    }

    /// The SHA-256 of the config, of all files of weights, and of the adapter's files.
    ///
    /// # Errors
    /// [`files::Error`] when a file cannot be read.
    pub fn weights_hash(&self) -> Result<String, files::Error> {
        let mut lines = Vec::new();
        for folder in std::iter::once(&self.weights).chain(&self.adapter) {
            let read = |e| files::Error::new("read", folder, e);
            for entry in std::fs::read_dir(folder).map_err(read)? {
                let path = entry.map_err(read)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let weights = name.starts_with("model") || name.starts_with("adapter_model");
                let config = name == "config.json" || name == ADAPTER;
                if config || (weights && name.contains(".safetensors")) {
                    lines.push(format!("{} {name}\n", sha256_file(&path)?));
                }
            }
        }
        lines.sort();
        Ok(sha256(lines.concat().as_bytes()))
    }
}

/// The folder of a model, and its name.
fn locate(name: &Path, beside: &Path) -> Result<(PathBuf, String), ModelError> {
    let text = name.to_string_lossy().into_owned();
    let near = beside.join(name);
    if let Some(folder) = [name, &near].into_iter().find(|path| path.is_dir()) {
        return Ok((folder.into(), text));
    }
    #[cfg(feature = "hub")]
    if is_hub_name(&text) {
        return Ok((convrec_policy::fetch_model(&text, None)?, text));
    }
    Err(ModelError::NotFound { name: text })
}

/// Whether a name can be one on the hub: `org/name`.
pub(super) fn is_hub_name(name: &str) -> bool {
    let part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
    };
    name.split_once('/')
        .is_some_and(|(org, name)| part(org) && part(name))
}
