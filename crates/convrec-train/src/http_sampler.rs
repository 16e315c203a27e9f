//! Completions for reinforcement learning from servers.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use convrec_catalog::Catalog;
use convrec_config::ConfigError;
use convrec_core::ItemId;
use convrec_llm::{
    CompletionsSettings, HttpCompletions, Prompt, Sampled, SampledCompletion, Server,
    ServerSettings, WeightFolders, WeightUpdate,
};
use convrec_policy::{Completion, Generation, Policy, SaveOptions};
use convrec_services::ServiceError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::sampler::Sampler;
use crate::task::{Sample, Task};

/// The servers that sample, and the way in which they get new weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerSettings {
    /// The servers, each a table `[[servers]]`.
    pub servers: Vec<ServerSettings>,
    /// The model on them.
    pub completions: CompletionsSettings,
    /// The folder that weights are put into for the servers to load. They must see it.
    pub weights: PathBuf,
    /// Whether the servers keep lists within the catalog, as `serve` does, and other engines with
    /// `python/convrec_constraint`. Where they do not, the training must be unconstrained as well.
    pub constrained: bool,
    /// How a request to constrained servers says what was seen.
    pub seen_as: SeenAs,
}

/// How a request says that its lists are constrained, and which items they may not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SeenAs {
    /// Our own server: `seen`, by name.
    #[default]
    Serve,
    /// vLLM with `python/convrec_constraint`: `convrec_seen` in `vllm_xargs`, by place.
    Vllm,
    /// SGLang with `python/convrec_constraint`: `convrec_seen` in `custom_params`, by place.
    Sglang,
}

impl SeenAs {
    /// The fields of a request's body.
    fn fields(self, catalog: &Catalog, seen: &[ItemId]) -> Map<String, Value> {
        let (field, value) = match self {
            Self::Serve => {
                let names = seen.iter().map(|id| catalog[*id].item().to_string());
                ("seen", json!(names.collect::<Vec<_>>()))
            }
            Self::Vllm => ("vllm_xargs", json!({ "convrec_seen": seen })),
            Self::Sglang => ("custom_params", json!({ "convrec_seen": seen })),
        };
        Map::from_iter([(field.to_string(), value)])
    }
}

impl SamplerSettings {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// [`ConfigError`] when it cannot be read or a field is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let settings = convrec_config::read(Some(path), Self::default())?;
        if settings.weights.as_os_str().is_empty() {
            let expected = "a folder that the servers can read";
            return Err(ConfigError::new("weights", "", expected).in_file(path));
        }
        Ok(settings)
    }
}

/// Servers cannot sample for this task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpSamplerError {
    /// The lists of trainer and servers differ: constrained and unconstrained.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting of a server is wrong.
    #[error("{0}")]
    Server(Box<dyn Error + Send + Sync>),
}

/// A policy that is sampled by servers, which get its weights before every batch.
#[derive(Debug)]
pub struct HttpSampler {
    client: HttpCompletions,
    folders: WeightFolders,
    /// Only the adapter is loaded by the servers.
    adapter: bool,
    constrained: bool,
    seen_as: SeenAs,
}

impl HttpSampler {
    /// A sampler for lists of this task. `stop` ends the waiting for servers.
    ///
    /// # Errors
    /// [`HttpSamplerError::Config`] when the lists of the task are constrained and those of the
    /// servers are not, or the reverse; [`HttpSamplerError::Server`] when a setting is wrong.
    pub fn new(
        settings: SamplerSettings,
        task: &Task,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, HttpSamplerError> {
        if task.is_constrained() != settings.constrained {
            let expected = match settings.constrained {
                true => "false with --unconstrained, as the lists of the trainer are unconstrained",
                false => {
                    "true, which `serve` and `python/convrec_constraint` can keep, or --unconstrained, as the lists of the \
                     trainer are constrained"
                }
            };
            return Err(ConfigError::new("constrained", settings.constrained, expected).into());
        }
        let servers = settings.servers.into_iter();
        let servers = servers.map(|server| Server::new(server, stop.clone()).map(Arc::new));
        let servers = servers
            .collect::<Result<_, _>>()
            .map_err(|e| HttpSamplerError::Server(e.into()))?;
        let adapter = settings.completions.update == WeightUpdate::VllmLora;
        Ok(Self {
            client: HttpCompletions::new(settings.completions, servers)
                .map_err(|e| HttpSamplerError::Server(e.into()))?,
            folders: WeightFolders::new(settings.weights),
            adapter,
            constrained: settings.constrained,
            seen_as: settings.seen_as,
        })
    }

    fn prompt<'s>(&self, task: &Task, sample: &'s Sample) -> Prompt<'s> {
        let extra_body = match self.constrained {
            true => self.seen_as.fields(task.catalog(), &sample.seen),
            false => Map::new(),
        };
        Prompt {
            tokens: &sample.prompt,
            extra_body,
        }
    }
}

impl Sampler for HttpSampler {
    /// Lets the servers load the policy's weights.
    fn begin_step(
        &mut self,
        policy: &Policy,
        step: usize,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let folder = self.folders.of_step(step);
        match policy.lora() {
            Some(_) if self.adapter => policy.save_lora(&folder)?,
            Some(_) => policy
                .merged()
                .save_folder(&folder, &SaveOptions::default())?,
            None => policy.save_folder(&folder, &SaveOptions::default())?,
        }
        for stale in self.client.update_weights(&folder, step)? {
            ::log::warn!("a server is left out from here on: {stale}");
        }
        Ok(self.folders.keep_only(step)?)
    }

    fn sample(
        &mut self,
        _: &Policy,
        task: &Task,
        samples: &[&Sample],
        generation: &Generation,
    ) -> Result<Vec<Vec<Completion>>, Box<dyn Error + Send + Sync>> {
        let prompts: Vec<Prompt<'_>> = samples
            .iter()
            .map(|sample| self.prompt(task, sample))
            .collect();
        let sampled = Sampled {
            n: generation.group_size,
            temperature: generation.sampling.temperature,
            max_tokens: task.longest_list().unwrap_or(generation.max_new_tokens),
            end_token: generation.end_token,
            seed: generation.seed,
        };
        let completion = |SampledCompletion {
                              tokens,
                              log_probs,
                              ended,
                          }| {
            let passes = tokens.len();
            Completion {
                tokens,
                log_probs,
                entropies: vec![],
                ended,
                passes,
            }
        };
        let groups = self.client.complete(&prompts, &sampled).into_iter();
        Ok(groups
            .map(|group| Ok(group?.into_iter().map(completion).collect()))
            .collect::<Result<_, ServiceError>>()?)
    }

    fn is_trainer(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use convrec_core::CatalogItem;

    use super::*;

    #[test]
    fn each_engine_is_told_what_was_seen() {
        let item = |title: &str| {
            serde_json::from_value::<CatalogItem>(json!({ "title": title, "year": 1995 }))
        };
        let items = vec![item("Heat").unwrap(), item("Fargo").unwrap()];
        let catalog = Catalog::new(items).unwrap();
        for (seen_as, expected) in [
            ("serve", json!({ "seen": ["Fargo (1995)"] })),
            ("vllm", json!({ "vllm_xargs": { "convrec_seen": [1] } })),
            (
                "sglang",
                json!({ "custom_params": { "convrec_seen": [1] } }),
            ),
        ] {
            let seen_as: SeenAs = serde_json::from_value(json!(seen_as)).unwrap();
            assert_eq!(
                Value::Object(seen_as.fields(&catalog, &[ItemId(1)])),
                expected
            );
        }
    }
}
