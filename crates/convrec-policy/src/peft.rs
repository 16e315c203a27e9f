//! Adapters from and to folders in the layout of the PEFT library: `adapter_config.json` and
//! `adapter_model.safetensors`.

use std::fs::{self, File};
use std::path::Path;

use burn::tensor::Tensor;
use serde_json::{Value, json};

use crate::atomic_file::{self, AtomicFile};
use crate::config::ConfigError;
use crate::decoder::Policy;
use crate::error::WeightsError;
use crate::hugging_face::{COUNT, Fields, read_object};
use crate::lora_config::{LoraConfig, Projection};
use crate::safetensors_file::{SafetensorsFile, WeightType, write};
use crate::weights::{Source, load, weights};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

impl LoraConfig {
    /// Reads the text of an `adapter_config.json`. Dropout is passed over: adapters are trained
    /// without it here.
    ///
    /// # Errors
    /// When the text is no JSON object, a field is missing or wrong, or the file asks for something
    /// that is not computed here: another kind of adapter, other modules, ranks that differ,
    /// trained biases. The error names the field.
    pub fn from_peft(text: &str) -> Result<Self, ConfigError> {
        let map = read_object(text)?;
        let fields = Fields { map: &map, of: "" };
        let kind: String = fields.must("peft_type", "a text")?;
        if kind != "LORA" {
            return Err(fields.error(
                "peft_type",
                format!("{kind:?} is not supported; expected \"LORA\""),
            ));
        }
        // What each of these is when it changes nothing; absent and null are as good.
        for (field, harmless) in [
            ("bias", json!("none")),
            ("use_dora", json!(false)),
            ("use_qalora", json!(false)),
            ("use_bdlora", json!(false)),
            ("alora_invocation_tokens", json!([])),
            ("lora_bias", json!(false)),
            ("fan_in_fan_out", json!(false)),
            ("modules_to_save", json!([])),
            ("rank_pattern", json!({})),
            ("alpha_pattern", json!({})),
            ("layers_to_transform", json!([])),
            ("layer_replication", json!([])),
            ("exclude_modules", json!([])),
            ("trainable_token_indices", json!([])),
            ("target_parameters", json!([])),
        ] {
            if let Some(value) = map
                .get(field)
                .filter(|value| !value.is_null() && **value != harmless)
            {
                return Err(fields.error(
                    field,
                    format!("{value} is not supported; expected {harmless}"),
                ));
            }
        }
        let config = Self {
            rank: fields.must("r", COUNT)?,
            alpha: fields.must("lora_alpha", "a number")?,
            targets: read_targets(&fields)?,
            rank_stabilized: fields
                .maybe("use_rslora", "true or false")?
                .unwrap_or(false),
        };
        // The names of the file, not ours.
        config.check().map_err(|e| {
            let field = match e.field.as_str() {
                "rank" => "r",
                "alpha" => "lora_alpha",
                _ => "target_modules",
            };
            ConfigError::new(field, e.problem)
        })?;
        Ok(config)
    }

    /// The text of an `adapter_config.json` that PEFT reads, and [`LoraConfig::from_peft`].
    pub fn to_peft(&self) -> String {
        let targets: Vec<&str> = self.targets.iter().map(|target| target.name()).collect();
        let file = json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": null,
            "inference_mode": true,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "use_rslora": self.rank_stabilized,
            "target_modules": targets,
            "lora_dropout": 0.0,
            "bias": "none",
        });
        format!("{file:#}\n")
    }
}

fn read_targets(fields: &Fields) -> Result<Vec<Projection>, ConfigError> {
    const EXPECTED: &str = "a list of projections, as q_proj, or \"all-linear\"";
    if fields.map.get("target_modules") == Some(&Value::from("all-linear")) {
        return Ok(Projection::ALL.to_vec());
    }
    let names: Vec<String> = fields.must("target_modules", EXPECTED)?;
    // PEFT also writes the path of each module. That every block has the projection is seen when
    // the matrices are read.
    let mut targets: Vec<Projection> = names
        .iter()
        .map(|name| name.rsplit('.').next().unwrap_or(name))
        .map(|name| {
            name.parse::<Projection>()
                .map_err(|e| fields.error("target_modules", e.problem))
        })
        .collect::<Result<_, _>>()?;
    targets.sort();
    targets.dedup();
    Ok(targets)
}

/// `model.layers.0.self_attn.q_proj.lora.a` under PEFT's name; `None` for what is no adapter.
fn peft_name(path: &str) -> Option<String> {
    let (place, matrix) = path.rsplit_once(".lora.")?;
    Some(format!(
        "base_model.model.{place}.lora_{}.weight",
        matrix.to_uppercase()
    ))
}

impl Policy {
    /// Writes the adapter alone into a folder that PEFT and [`Policy::load_lora`] read. Each file
    /// is written aside and renamed. PEFT wants the model it belongs to:
    /// [`Policy::without_lora`], saved by [`Policy::save_folder`], which the files do not name:
    /// `PeftModel.from_pretrained(base, folder)`.
    ///
    /// # Errors
    /// When the policy has no adapter, or a file cannot be written.
    pub fn save_lora(&self, folder: impl AsRef<Path>) -> Result<(), WeightsError> {
        let folder = folder.as_ref();
        let Some(lora) = self.lora() else {
            return Err(WeightsError::format(
                folder,
                "the policy has no adapter; save it with `save_folder`",
            ));
        };
        fs::create_dir_all(folder).map_err(WeightsError::file("write", folder))?;
        let config = AtomicFile::write(folder, CONFIG, |out| {
            out.write_all(lora.to_peft().as_bytes())
        })?;
        let matrices = weights(self, peft_name);
        let file = AtomicFile::write(folder, WEIGHTS, |out| {
            write(out, &matrices, WeightType::F32)
        })?;
        config.persist()?;
        file.persist()?;
        atomic_file::sync(folder)
    }

    /// This policy with the adapter of a folder, in place of one that it has. f32, f16 and bf16 are
    /// read and held as f32; training it on goes on from there.
    ///
    /// # Errors
    /// When a file is missing or damaged, the config asks for what is not computed here, or a
    /// matrix is missing, unknown or of another shape: the error names file, field and tensor.
    pub fn load_lora(self, folder: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let folder = folder.as_ref();
        let path = folder.join(CONFIG);
        let text = fs::read_to_string(&path).map_err(WeightsError::file("read", &path))?;
        let config = LoraConfig::from_peft(&text).map_err(WeightsError::config(&path))?;
        let zeros = |_, shape, device: &_| Tensor::zeros(shape, device);
        let policy = self
            .attach(&config, zeros)
            .map_err(WeightsError::config(&path))?;
        let path = folder.join(WEIGHTS);
        let file = File::open(&path).map_err(WeightsError::file("read", &path))?;
        load(
            policy,
            Source::of_one(SafetensorsFile::open(&path, file)?),
            peft_name,
        )
    }
}
