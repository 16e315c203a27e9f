//! Completions for reinforcement learning from servers: what `--sampler` names.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use convrec_llm::{
    CompletionsSettings, HttpCompletions, Prompt, Sampled, SampledCompletion, Server,
    ServerSettings, WeightFolders, WeightUpdate,
};
use convrec_policy::{Completion, Generation, Policy, SaveOptions};
use convrec_train::{Sample, Sampler, Task};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::settings;

/// Which servers sample, and how they get new weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerSettings {
    /// The servers, a table `[[servers]]` each.
    pub servers: Vec<ServerSettings>,
    /// The model on them.
    pub completions: CompletionsSettings,
    /// Where weights are put for the servers to load: a folder that they see.
    pub weights: PathBuf,
    /// Whether the servers keep lists within the catalog, as the example `serve` does; others
    /// write freely, and then training must be unconstrained as well.
    pub constrained: bool,
}

impl SamplerSettings {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it cannot be read or a field is wrong; the error names the file, and the line or the
    /// field.
    pub fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let settings = settings::read(Some(path), Self::default())?;
        if settings.weights.as_os_str().is_empty() {
            let problem = "expected a folder that the servers can read";
            return Err(format!("{}, field `weights`: {problem}", path.display()).into());
        }
        Ok(settings)
    }
}

/// A policy that is sampled by servers, which get its weights before every batch.
pub struct HttpSampler {
    client: HttpCompletions,
    folders: WeightFolders,
    /// Only the adapter is loaded by the servers.
    adapter: bool,
    constrained: bool,
}

impl HttpSampler {
    /// A sampler for lists of this task. `stop` ends waiting for servers.
    ///
    /// # Errors
    /// When a setting is wrong, or the task's lists are constrained and the servers' are not.
    pub fn new(
        settings: SamplerSettings,
        task: &Task,
        stop: &Arc<std::sync::atomic::AtomicBool>,
    ) -> Result<Self, Box<dyn Error>> {
        if task.is_constrained() != settings.constrained {
            let problem = if settings.constrained {
                "the servers' lists are constrained and the trainer's are not: leave out --unconstrained, or `constrained`"
            } else {
                "lists are constrained, which these servers do not know: train with --unconstrained, or sample by `serve`, with \
                 `constrained = true`"
            };
            return Err(problem.into());
        }
        crate::show_warnings();
        let servers = settings
            .servers
            .into_iter()
            .map(|server| Server::new(server, stop.clone()).map(Arc::new));
        let adapter = settings.completions.update == WeightUpdate::VllmLora;
        let client =
            HttpCompletions::new(settings.completions, servers.collect::<Result<_, _>>()?)?;
        let folders = WeightFolders::new(settings.weights);
        Ok(Self {
            client,
            folders,
            adapter,
            constrained: settings.constrained,
        })
    }

    fn prompt<'s>(&self, task: &Task, sample: &'s Sample) -> Prompt<'s> {
        let seen = sample
            .seen
            .iter()
            .map(|id| task.catalog()[*id].item().to_string());
        let extra_body = match self.constrained {
            true => Map::from_iter([("seen".to_string(), json!(seen.collect::<Vec<_>>()))]),
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
            eprintln!("a server is left out from here on: {stale}");
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
            .collect::<Result<_, convrec_services::ServiceError>>()?)
    }

    fn is_trainer(&self) -> bool {
        false
    }
}
