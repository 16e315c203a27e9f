//! Reads and writes a policy as a model folder of Hugging Face's hub and transformers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use serde_json::json;

use crate::atomic_file::{self, AtomicFile};
use crate::config::{ConfigError, ModelConfig};
use crate::decoder::Policy;
use crate::error::WeightsError;
use crate::fields::{Fields, read_object};
use crate::regular_file;
use crate::safetensors_file::{Named, SafetensorsFile, WeightType, write};
use crate::source::Source;
use crate::weights::{load_model, model_name, refuse_adapter, weights};

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The way in which [`Policy::save_folder`] writes weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveOptions {
    /// The type of the numbers. Only f32 keeps what the policy holds.
    pub dtype: WeightType,
    /// Weights beyond this many bytes are split into files of at most this size. A larger tensor
    /// has a file of its own.
    pub max_shard_bytes: u64,
}

impl SaveOptions {
    /// Saves the weights in the type that they were read in, so that a model of bf16 stays as small
    /// as it was. A checkpoint for further training needs the default instead, which rounds
    /// nothing.
    #[must_use]
    pub fn as_loaded(policy: &Policy) -> Self {
        Self {
            dtype: policy.weight_type(),
            ..Self::default()
        }
    }
}

impl Default for SaveOptions {
    /// f32, in files of at most 5 GB.
    fn default() -> Self {
        Self {
            dtype: WeightType::F32,
            max_shard_bytes: 5_000_000_000,
        }
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl WeightType {
    /// The type that most weights of a model folder have. Only the headers of its files are read.
    ///
    /// # Errors
    /// [`WeightsError::File`] and [`WeightsError::Format`] when a file is missing or damaged.
    pub fn of_folder(folder: impl AsRef<Path>) -> Result<Self, WeightsError> {
        Ok(source(folder.as_ref())?.weight_type())
    }
}

impl ModelConfig {
    /// Reads a model folder's `config.json`.
    ///
    /// # Errors
    /// [`WeightsError::File`] when the file cannot be read, [`WeightsError::Config`] as
    /// [`ModelConfig::from_hugging_face`]; the error names file and field.
    pub fn load_folder(folder: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = folder.as_ref().join(CONFIG);
        let text = regular_file::read_text(&path).map_err(WeightsError::file("read", &path))?;
        Self::from_hugging_face(&text).map_err(WeightsError::config(&path))
    }
}

impl Policy {
    /// Reads a model folder: `config.json`, and the weights in `model.safetensors` or in the files
    /// that `model.safetensors.index.json` names. f64, f32, f16 and bf16 are read, and held as f32.
    ///
    /// Weights are read tensor by tensor: memory holds the model and one tensor more. The sizes in
    /// the config are compared with those of the files before anything is allocated.
    ///
    /// Names may have the prefixes that wrappers write (`_orig_mod.`, `module.`), and may lack
    /// `model.`. `rotary_emb.inv_freq` and the value head of a critic (`v_head.`) are passed over.
    /// A config may tie the head to the embeddings while the files hold another head. The policy
    /// then has that head, as in transformers.
    ///
    /// # Errors
    /// - [`WeightsError::File`] when a file is missing or is no regular file.
    /// - [`WeightsError::Config`] when the config asks for something that is not computed here, or
    ///   for more than the weights hold.
    /// - [`WeightsError::Format`] when a file of weights is damaged.
    /// - [`WeightsError::Missing`], [`WeightsError::Unknown`] and [`WeightsError::Tensor`] when a
    ///   tensor is missing, unknown, quantised, of another shape, or holds NaN or infinite numbers.
    pub fn load_folder(folder: impl AsRef<Path>, device: &Device) -> Result<Self, WeightsError> {
        let folder = folder.as_ref();
        let path = folder.join(CONFIG);
        let text = regular_file::read_text(&path).map_err(WeightsError::file("read", &path))?;
        let bad = |e: ConfigError| WeightsError::config(&path)(e);
        let config = ModelConfig::from_hugging_face(&text).map_err(bad)?;
        let mut source = source(folder)?;
        source.quantisation = quantisation(&text).map_err(bad)?;
        source.refuse_quantised()?;
        check_sizes(&config, &source).map_err(bad)?;
        let weight_type = source.weight_type();
        let policy = Self::blank(&config, device).map_err(bad)?;
        let mut policy = load_model(policy, source)?;
        policy.weight_type = weight_type;
        policy.base_name = Some(folder.display().to_string());
        Ok(policy)
    }

    /// Writes a model folder that transformers and [`Policy::load_folder`] read: `config.json` and
    /// the weights. Files of weights of an earlier save are removed. Other files, such as a
    /// tokenizer's, are left alone.
    ///
    /// Each file is written aside and renamed. A save that is cut leaves the old weights, the new
    /// ones, or an error at the next load that names the missing files. It never leaves a mixture
    /// of the two.
    ///
    /// # Errors
    /// - [`WeightsError::File`] when a file cannot be written or a number does not fit `dtype`
    /// - [`WeightsError::Format`] when the policy has an adapter; save the policy of
    ///   [`Policy::merged`], or the adapter alone by [`Policy::save_lora`]
    pub fn save_folder(
        &self,
        folder: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<(), WeightsError> {
        let folder = folder.as_ref();
        refuse_adapter(self, folder)?;
        fs::create_dir_all(folder).map_err(WeightsError::file("write", folder))?;
        let kind = options.dtype;
        let shards = split(weights(self, &model_name), kind, options.max_shard_bytes);
        let names: Vec<String> = match shards.len() {
            1 => vec![SINGLE.into()],
            n => (1..=n)
                .map(|shard| format!("model-{shard:05}-of-{n:05}.safetensors"))
                .collect(),
        };
        let text = |name: &str, text: String| {
            AtomicFile::write(folder, name, |out| out.write_all(text.as_bytes()))
        };
        let config = text(CONFIG, self.config().to_hugging_face_as(kind.torch_name()))?;
        let files = names.iter().zip(&shards);
        let files = files
            .map(|(name, shard)| AtomicFile::write(folder, name, |out| write(out, shard, kind)));
        let files: Vec<AtomicFile> = files.collect::<Result<_, _>>()?;
        let index = if shards.len() > 1 {
            Some(text(INDEX, index(&names, &shards, kind))?)
        } else {
            None
        };
        // Readers take a single file before an index, so a cut between any two of these leaves one
        // whole set or none.
        if index.is_some() {
            remove(folder, INDEX)?;
        }
        config.persist()?;
        files.into_iter().try_for_each(AtomicFile::persist)?;
        index.map_or(Ok(()), AtomicFile::persist)?;
        atomic_file::sync(folder)?;
        remove_others(folder, &names)?;
        atomic_file::sync(folder)
    }
}

/// The weights' files of a folder, opened.
fn source(folder: &Path) -> Result<Source<File>, WeightsError> {
    let single = folder.join(SINGLE);
    if single.exists() {
        return Source::of_one(open(&single)?);
    }
    let path = folder.join(INDEX);
    if !path.exists() {
        let problem = format!(
            "neither {SINGLE} nor {INDEX} is there; expected a model's folder with safetensors \
             files"
        );
        return Err(WeightsError::format(folder, problem));
    }
    let text = regular_file::read_text(&path).map_err(WeightsError::file("read", &path))?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|e| WeightsError::format(&path, format!("not an index of weights: {e}")))?;
    let names: Vec<&String> = index
        .weight_map
        .values()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let files = names.iter().map(|name| {
        // An index is untrusted data: it may not lead out of its folder.
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(WeightsError::format(
                &path,
                format!("{name:?} is not the name of a file in the folder"),
            ));
        }
        let shard = folder.join(name);
        if !shard.exists() {
            return Err(WeightsError::format(
                &shard,
                format!("not there, but {INDEX} names it; fetch it"),
            ));
        }
        open(&shard)
    });
    let files: Vec<SafetensorsFile<File>> = files.collect::<Result<_, _>>()?;
    let place = |name| {
        names
            .iter()
            .position(|other| *other == name)
            .expect("each name has a file")
    };
    let places: BTreeMap<String, usize> = index
        .weight_map
        .iter()
        .map(|(tensor, name)| (tensor.clone(), place(name)))
        .collect();
    for (tensor, place) in &places {
        if !files[*place].has(tensor) {
            let problem = format!("not in this file, but {INDEX} says so; fetch both again");
            return Err(WeightsError::tensor(&files[*place].path, tensor, problem));
        }
    }
    for file in &files {
        if let Some(tensor) = file.names().find(|tensor| !places.contains_key(*tensor)) {
            let problem = format!("in this file, but {INDEX} does not know it; fetch both again");
            return Err(WeightsError::tensor(&file.path, tensor, problem));
        }
    }
    Source::new(path, files)
}

/// The method by which the weights are quantised, as in `gptq`, where the config names one.
fn quantisation(config: &str) -> Result<Option<String>, ConfigError> {
    let map = read_object(config)?;
    let settings = Fields::of_file(&map).object("quantization_config")?;
    settings.map_or(Ok(None), |settings| {
        settings.maybe("quant_method", "a text")
    })
}

/// Checks that the sizes can be those of these weights, so that a damaged config allocates nothing.
/// Each tensor is checked later.
fn check_sizes<R: Read + Seek>(
    config: &ModelConfig,
    source: &Source<R>,
) -> Result<(), ConfigError> {
    let (numbers, tensors) = (source.numbers(), source.places.len());
    let width = |heads: usize| heads.saturating_mul(config.head_dim);
    for (field, size) in [
        ("vocab_size", config.vocab_size),
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("num_attention_heads", config.num_attention_heads),
        ("head_dim", width(config.num_attention_heads)),
    ] {
        if size > numbers {
            let problem = format!("it makes a width of {size}; the weights are {numbers} numbers");
            return Err(ConfigError::new(field, problem));
        }
    }
    let layers = config.num_hidden_layers;
    if layers > tensors {
        let problem = format!("{layers}; the weights have {tensors} tensors in all");
        return Err(ConfigError::new("num_hidden_layers", problem));
    }
    Ok(())
}

fn open(path: &Path) -> Result<SafetensorsFile<File>, WeightsError> {
    SafetensorsFile::open(
        path,
        regular_file::open(path).map_err(WeightsError::file("read", path))?,
    )
}

/// Splits the tensors in order, with as many in a file as fit.
fn split(
    weights: Vec<Named<Tensor<1>>>,
    kind: WeightType,
    limit: u64,
) -> Vec<Vec<Named<Tensor<1>>>> {
    let mut shards = vec![];
    let (mut shard, mut bytes) = (vec![], 0);
    for weight in weights {
        let size = (weight.numbers() * kind.width()) as u64;
        if !shard.is_empty() && bytes + size > limit {
            shards.push(std::mem::take(&mut shard));
            bytes = 0;
        }
        bytes += size;
        shard.push(weight);
    }
    shards.push(shard);
    shards
}

fn index(names: &[String], shards: &[Vec<Named<Tensor<1>>>], kind: WeightType) -> String {
    let pairs = names
        .iter()
        .zip(shards)
        .flat_map(|(name, shard)| shard.iter().map(move |weight| (&weight.name, name)));
    let weight_map: BTreeMap<&String, &String> = pairs.collect();
    let numbers: usize = shards.iter().flatten().map(Named::numbers).sum();
    let file =
        json!({ "metadata": { "total_size": numbers * kind.width() }, "weight_map": weight_map });
    format!("{file:#}\n")
}

/// Removes the weights of an earlier save. The single file is removed before the index, as the
/// other set takes over then.
fn remove_others(folder: &Path, names: &[String]) -> Result<(), WeightsError> {
    let known = |name: &str| names.iter().any(|kept| kept == name);
    if !known(SINGLE) {
        remove(folder, SINGLE)?;
    } else {
        remove(folder, INDEX)?;
    }
    for entry in fs::read_dir(folder).map_err(WeightsError::file("read", folder))? {
        let entry = entry.map_err(WeightsError::file("read", folder))?;
        if let Some(name) = entry
            .file_name()
            .to_str()
            .filter(|name| is_shard(name) && !known(name))
        {
            remove(folder, name)?;
        }
    }
    Ok(())
}

/// `model-00001-of-00002.safetensors`
fn is_shard(name: &str) -> bool {
    let numbers = name
        .strip_prefix("model-")
        .and_then(|rest| rest.strip_suffix(".safetensors"));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers
        .and_then(|rest| rest.split_once("-of-"))
        .is_some_and(|(n, of)| number(n) && number(of))
}

fn remove(folder: &Path, name: &str) -> Result<(), WeightsError> {
    let path = folder.join(name);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(WeightsError::file("remove", &path)(e))
        }
        _ => Ok(()),
    }
}
