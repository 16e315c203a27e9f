//! The tensors of a `model.safetensors`, by their names in Hugging Face checkpoints.

use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use convrec_core::files;
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::EmbedError;

const FILE: &str = "model.safetensors";
/// The prefixes of all names where the encoder was saved as a part of a larger model.
const PREFIXES: [&str; 3] = ["", "bert.", "roberta."];
const WORDS: &str = "embeddings.word_embeddings.weight";

/// Maps the weights of a folder into memory.
pub(crate) fn map(folder: &Path) -> Result<(PathBuf, Mmap), EmbedError> {
    let path = folder.join(FILE);
    // Reading a pipe or a device would never end.
    if !path.is_file() {
        return Err(EmbedError::format(
            &path,
            "not there; expected a model's folder with its weights as safetensors",
        ));
    }
    let failed = |e| files::Error::new("read", &path, e);
    let options = &mut File::options();
    let file = files::open_at_once(&path, options.read(true)).map_err(failed)?;
    // The opened file may be another one than the file that was looked at.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(EmbedError::format(&path, "no regular file; expected one"));
    }
    // SAFETY: the mapped file must not change. It is read once, while the model is loaded, and
    // never outside its bounds, whatever it holds.
    let bytes = unsafe { Mmap::map(&file) }.map_err(failed)?;
    Ok((path, bytes))
}

/// A file of weights, and the device that they go to.
pub(crate) struct Weights<'a> {
    path: &'a Path,
    file: SafeTensors<'a>,
    prefix: &'static str,
    device: &'a Device,
}

impl<'a> Weights<'a> {
    pub(crate) fn open(
        path: &'a Path,
        bytes: &'a [u8],
        device: &'a Device,
    ) -> Result<Self, EmbedError> {
        let bad = |problem| EmbedError::format(path, problem);
        let file = SafeTensors::deserialize(bytes).map_err(|e| {
            bad(format!(
                "{e}; it is truncated or no safetensors file: fetch it again"
            ))
        })?;
        let has = |prefix: &&str| file.tensor(&format!("{prefix}{WORDS}")).is_ok();
        let prefix = PREFIXES.into_iter().find(has);
        let prefix = prefix.ok_or_else(|| {
            EmbedError::tensor(path, WORDS, "missing; expected an encoder's weights")
        })?;
        Ok(Self {
            path,
            file,
            prefix,
            device,
        })
    }

    /// Refuses layers beyond the first `n`: the config is of another model then.
    pub(crate) fn check_layers(&self, n: usize) -> Result<(), EmbedError> {
        let layer = |name: &str| -> Option<usize> {
            name.strip_prefix(self.prefix)?
                .strip_prefix("encoder.layer.")?
                .split('.')
                .next()?
                .parse()
                .ok()
        };
        match self
            .file
            .names()
            .into_iter()
            .find(|name| layer(name).is_some_and(|layer| layer >= n))
        {
            Some(name) => {
                let problem =
                    format!("config.json has {n} layers: one of the two is of another model");
                Err(EmbedError::tensor(self.path, name, problem))
            }
            None => Ok(()),
        }
    }

    /// The tensor of this name and shape, in f32.
    pub(crate) fn tensor<const N: usize>(
        &self,
        name: &str,
        shape: [usize; N],
    ) -> Result<Tensor<N>, EmbedError> {
        let name = format!("{}{name}", self.prefix);
        let bad = |problem: String| EmbedError::tensor(self.path, &name, problem);
        let view = self
            .view(&name)
            .ok_or_else(|| bad(format!("missing; expected shape {shape:?}")))?;
        if view.shape() != shape {
            let why = "config.json or the weights are of another model";
            return Err(bad(format!(
                "shape {:?}, expected {shape:?}; {why}",
                view.shape()
            )));
        }
        let pairs = || view.data().chunks_exact(2).map(|b| [b[0], b[1]]);
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => {
                return Err(bad(format!(
                    "type {other:?}, expected F32, F16 or BF16; take weights that are not quantised"
                )));
            }
        };
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            let value = values[place];
            return Err(bad(format!(
                "{value} at place {place}, expected finite numbers; fetch the file again"
            )));
        }
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }

    fn view(&self, name: &str) -> Option<TensorView<'_>> {
        // These are the names in the first BERT checkpoints.
        let old = name
            .replace("LayerNorm.weight", "LayerNorm.gamma")
            .replace("LayerNorm.bias", "LayerNorm.beta");
        self.file
            .tensor(name)
            .or_else(|_| self.file.tensor(&old))
            .ok()
    }
}
