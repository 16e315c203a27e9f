//! Models from the Hugging Face hub.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use hf_hub::api::sync::{Api, ApiError};
use hf_hub::{Repo, RepoType};

use crate::decoder::Policy;
use crate::error::WeightsError;

/// A model could not be fetched or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The hub cannot be reached, or has no such model or file.
    #[error(
        "{model}: {source}; check the name, the network, and HF_TOKEN where the model asks for \
         consent"
    )]
    Fetch {
        /// `owner/name`.
        model: String,
        /// Why.
        source: Box<ApiError>,
    },
    /// The hub's model has no files that can be read.
    #[error("{model}: no {file} on the hub; take a model with safetensors files")]
    Absent {
        /// `owner/name`.
        model: String,
        /// The file that was looked for.
        file: &'static str,
    },
    /// The model was fetched, and cannot be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl Policy {
    /// Fetches a model by its name on the hub (`HuggingFaceTB/SmolLM2-135M-Instruct`) and reads it
    /// as [`Policy::load_folder`] does. `revision` is a branch, a tag or a commit, `main` by
    /// default: only a commit always names the same weights. Files already in the cache of the
    /// hub's own tools are not fetched again.
    ///
    /// # Errors
    /// [`HubError::Fetch`] and [`HubError::Absent`] when the model cannot be fetched,
    /// [`HubError::Weights`] when it cannot be read.
    pub fn load_hub(
        model: &str,
        revision: Option<&str>,
        device: &Device,
    ) -> Result<Self, HubError> {
        let policy = Self::load_folder(fetch_model(model, revision)?, device)?;
        // The name is kept, not the folder of the cache, as other programs find the model by it.
        Ok(policy.with_base_name(model))
    }
}

/// Fetches the files that [`Policy::load_folder`],
/// [`GenerationDefaults::load_folder`](crate::GenerationDefaults::load_folder), a tokenizer and a
/// chat template need. Returns the folder in the cache.
///
/// # Errors
/// [`HubError::Fetch`] when the hub cannot be reached, [`HubError::Absent`] when the model has no
/// files that can be read.
pub fn fetch_model(model: &str, revision: Option<&str>) -> Result<PathBuf, HubError> {
    let failed = |source| HubError::Fetch {
        model: model.into(),
        source: Box::new(source),
    };
    let revision = revision.unwrap_or("main").to_string();
    let repo = Api::new().map_err(failed)?.repo(Repo::with_revision(
        model.into(),
        RepoType::Model,
        revision,
    ));
    let files = repo.info().map_err(failed)?.siblings;
    let mut config = None;
    for file in files
        .iter()
        .map(|file| file.rfilename.as_str())
        .filter(|file| is_needed(file))
    {
        let path = repo.get(file).map_err(failed)?;
        if file == "config.json" {
            config = Some(path);
        }
    }
    let weights = ["model.safetensors", "model.safetensors.index.json"];
    if !files
        .iter()
        .any(|file| weights.contains(&file.rfilename.as_str()))
    {
        return Err(HubError::Absent {
            model: model.into(),
            file: "model.safetensors",
        });
    }
    let config = config.ok_or(HubError::Absent {
        model: model.into(),
        file: "config.json",
    })?;
    Ok(config.parent().unwrap_or(Path::new(".")).to_path_buf())
}

/// Whether a file is needed: weights of the top folder and their descriptions, but not the same
/// weights in other formats.
fn is_needed(file: &str) -> bool {
    let weights = file.starts_with("model")
        && (file.ends_with(".safetensors") || file == "model.safetensors.index.json");
    let about = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "chat_template.json",
    ];
    !file.contains('/') && (weights || about.contains(&file))
}
