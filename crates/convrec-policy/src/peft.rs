//! Reads and writes adapters as folders in the layout of the PEFT library: `adapter_config.json`
//! and `adapter_model.safetensors`.

mod config;
mod places;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::atomic_file::{self, AtomicFile};
use crate::config::ConfigError;
use crate::decoder::Policy;
use crate::error::WeightsError;
use crate::lora_config::LoraConfig;
use crate::regular_file;
use crate::safetensors_file::{SafetensorsFile, WeightType, write};
use crate::saved_modules::{EMBEDDINGS, HEAD};
use crate::source::Source;
use crate::weights::{load, weights};
use config::PeftConfig;
use places::module;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// The name in PEFT's file of the parameter at a path in the policy; `None` where it is no part of
/// the adapter.
fn peft_name(path: &str, saved: &[&str]) -> Option<String> {
    let is_saved = |name| saved.contains(&name);
    let inner = match path {
        "model.embed_tokens.weight" if is_saved(EMBEDDINGS) => path.to_string(),
        "lm_head.weight" if is_saved(HEAD) => path.to_string(),
        _ => {
            let (place, matrix) = path.rsplit_once(".lora.")?;
            format!("{place}.lora_{}.weight", matrix.to_uppercase())
        }
    };
    Some(format!("base_model.model.{inner}"))
}

impl Policy {
    /// Writes the adapter alone into a folder that PEFT and [`Policy::load_lora`] read. Each file
    /// is written aside and renamed. The files name the model that the adapter belongs to by
    /// [`Policy::base_name`], where it is known: `PeftModel.from_pretrained(base, folder)`.
    ///
    /// # Errors
    /// [`WeightsError::Format`] when the policy has no adapter, [`WeightsError::File`] when a file
    /// cannot be written.
    pub fn save_lora(&self, folder: impl AsRef<Path>) -> Result<(), WeightsError> {
        let folder = folder.as_ref();
        let Some(lora) = self.lora() else {
            return Err(WeightsError::format(
                folder,
                "the policy has no adapter; save it with `save_folder`",
            ));
        };
        fs::create_dir_all(folder).map_err(WeightsError::file("write", folder))?;
        let text = self.peft_config(lora);
        let config = AtomicFile::write(folder, CONFIG, |out| out.write_all(text.as_bytes()))?;
        let saved = self.saved_names();
        let matrices = weights(self, &|path| peft_name(path, &saved));
        let file = AtomicFile::write(folder, WEIGHTS, |out| {
            write(out, &matrices, WeightType::F32)
        })?;
        config.persist()?;
        file.persist()?;
        atomic_file::sync(folder)
    }

    /// This policy with the adapter of a folder, in place of an adapter that it has. f64, f32, f16
    /// and bf16 are read and held as f32. Training can go on from there. Dropout is ignored, as
    /// adapters are trained without it here.
    ///
    /// Saved embeddings and heads of the adapter (`modules_to_save`) replace the policy's own until
    /// [`Policy::without_lora`]. They are kept and not trained.
    ///
    /// # Errors
    /// - [`WeightsError::File`] when a file is missing
    /// - [`WeightsError::Config`] when the config asks for something that is not computed here
    /// - [`WeightsError::Missing`], [`WeightsError::Unknown`] or [`WeightsError::Tensor`] when a
    ///   matrix is missing, unknown or of another shape
    ///
    /// The error names file, field and tensor.
    pub fn load_lora(self, folder: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let folder = folder.as_ref();
        let path = folder.join(CONFIG);
        let text = regular_file::read_text(&path).map_err(WeightsError::file("read", &path))?;
        let bad = |e: ConfigError| WeightsError::config(&path)(e);
        let config = PeftConfig::read(&text).map_err(bad)?;
        let mut policy = self.without_lora();
        let (layers, projections) = (policy.config().num_hidden_layers, policy.projections());
        let places = config.places(layers, &projections).map_err(bad)?;
        let mut shape = config.shape();
        for (_, projection, _) in &places {
            if !shape.targets.contains(projection) {
                shape.targets.push(*projection);
            }
        }
        shape.targets.sort();
        let size = |layer, projection| {
            let place = places
                .iter()
                .find(|place| (place.0, place.1) == (layer, projection));
            place.map(|place| place.2)
        };
        let saved = config.saved_modules.clone();
        let policy = policy
            .replaceable(config.saved_modules)
            .attach(&shape, size, None);
        let path = folder.join(WEIGHTS);
        let file = regular_file::open(&path).map_err(WeightsError::file("read", &path))?;
        let source = Source::of_one(SafetensorsFile::open(&path, file)?)?;
        load(policy, source, &|path| peft_name(path, &saved))
    }

    fn saved_names(&self) -> Vec<&'static str> {
        let saved = self.saved_modules.as_ref();
        saved.map_or(vec![], |saved| saved.names.clone())
    }

    /// The text of an `adapter_config.json`. Blocks that are left out and sizes that differ are
    /// written under the full names of the modules.
    fn peft_config(&self, lora: &LoraConfig) -> String {
        let mut copy = self.clone();
        let places = copy
            .model
            .projections_mut()
            .map(|(layer, projection, linear)| {
                let adapter = linear.lora.as_ref();
                let size = adapter.map(|lora| (lora.a.lazy_shape()[0], lora.alpha));
                (layer, projection, size)
            });
        let places: Vec<_> = places.collect();
        let mut targets = vec![];
        let (mut ranks, mut alphas) = (BTreeMap::new(), BTreeMap::new());
        for target in &lora.targets {
            let of_target = places.iter().filter(|place| place.1 == *target);
            let adapted: Vec<_> = of_target
                .clone()
                .filter_map(|(layer, _, size)| Some((module(*layer, *target), (*size)?)))
                .collect();
            if adapted.len() == of_target.count() {
                targets.push(target.name().to_string());
            } else {
                targets.extend(adapted.iter().map(|(name, _)| name.clone()));
            }
            for (name, (rank, alpha)) in adapted {
                if rank != lora.rank {
                    ranks.insert(name.clone(), rank);
                }
                if alpha != lora.alpha {
                    alphas.insert(name, alpha);
                }
            }
        }
        let mut file = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self.base_name(),
            "inference_mode": true,
            "r": lora.rank,
            "lora_alpha": lora.alpha,
            "use_rslora": lora.rank_stabilized,
            "target_modules": targets,
            "lora_dropout": 0.0,
            "bias": "none",
        });
        let saved = self.saved_names();
        if !ranks.is_empty() {
            file["rank_pattern"] = json!(ranks);
        }
        if !alphas.is_empty() {
            file["alpha_pattern"] = json!(alphas);
        }
        if !saved.is_empty() {
            file["modules_to_save"] = json!(saved);
        }
        format!("{file:#}\n")
    }
}
