//! The weights of a policy by their names in Hugging Face checkpoints: which there are, taking them
//! out, putting them in.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::decoder::Policy;
use crate::error::WeightsError;
use crate::safetensors_file::{Named, SafetensorsFile, WeightType, write};

impl Policy {
    /// All weights as the bytes of a `model.safetensors` file, in f32: the same weights give the
    /// same bytes.
    ///
    /// For weights that go into a folder there is [`Policy::save_folder`]. Tied embeddings are
    /// written once.
    ///
    /// # Errors
    /// When the policy has an adapter, which such a file cannot hold.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        let mut bytes = Vec::new();
        refuse_adapter(self, Path::new(BYTES))?;
        write(&mut bytes, &weights(self, model_name), WeightType::F32)
            .map_err(WeightsError::file("write", Path::new(BYTES)))?;
        Ok(bytes)
    }

    /// Replaces all weights by those in the bytes of a `model.safetensors` file, as
    /// [`Policy::load_folder`] reads them. An adapter stays.
    ///
    /// # Errors
    /// When the bytes are no safetensors file, or a tensor is missing, unknown or of another shape:
    /// the error names it.
    pub fn load_safetensors(self, bytes: &[u8]) -> Result<Self, WeightsError> {
        let file = SafetensorsFile::open(Path::new(BYTES), Cursor::new(bytes))?;
        load(self, Source::of_one(file), model_name)
    }
}

/// Where the weights come from, when they are in no file.
const BYTES: &str = "(bytes)";

/// The name in a file of the parameter at a path in the policy; `None` for those that the file has
/// not.
pub(crate) type Naming = fn(&str) -> Option<String>;

/// Of a model's own weights, without adapters.
pub(crate) fn model_name(path: &str) -> Option<String> {
    (!path.contains(".lora.")).then(|| path.to_string())
}

/// A model's files hold no adapter, and nobody should lose one without a word.
pub(crate) fn refuse_adapter(policy: &Policy, path: &Path) -> Result<(), WeightsError> {
    match policy.lora() {
        Some(_) => Err(WeightsError::format(
            path,
            "the policy has an adapter; save what `merged` gives, or `save_lora`",
        )),
        None => Ok(()),
    }
}

/// Files of weights, and which tensor is in which.
pub(crate) struct Source<R> {
    /// The single file, or the index of many.
    pub(crate) path: PathBuf,
    pub(crate) files: Vec<SafetensorsFile<R>>,
    /// Tensors to places in `files`.
    pub(crate) places: BTreeMap<String, usize>,
}

impl<R: Read + Seek> Source<R> {
    pub(crate) fn of_one(file: SafetensorsFile<R>) -> Self {
        let places = file.names().map(|name| (name.clone(), 0)).collect();
        Self {
            path: file.path.clone(),
            files: vec![file],
            places,
        }
    }

    /// Whether `expected` and what is there are the same, in name, shape and type.
    fn check(&self, expected: &[Named<()>], tied: bool) -> Result<(), WeightsError> {
        let missing = expected
            .iter()
            .map(|e| &e.name)
            .filter(|name| !self.places.contains_key(*name));
        let missing: Vec<String> = missing.cloned().collect();
        if !missing.is_empty() {
            return Err(WeightsError::Missing {
                path: self.path.clone(),
                names: missing,
            });
        }
        // What other programs write without need.
        let needless = |name: &str| {
            (tied && name == "lm_head.weight") || name.ends_with("rotary_emb.inv_freq")
        };
        let known = |name: &str| expected.iter().any(|e| e.name == name);
        let unknown: Vec<String> = self
            .places
            .keys()
            .filter(|name| !known(name) && !needless(name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(WeightsError::Unknown {
                path: self.path.clone(),
                names: unknown,
            });
        }
        expected
            .iter()
            .try_for_each(|e| self.files[self.places[&e.name]].check(&e.name, &e.shape))
    }
}

/// Replaces all weights of `policy` that have a name, one after the other.
pub(crate) fn load<R: Read + Seek>(
    policy: Policy,
    source: Source<R>,
    name: Naming,
) -> Result<Policy, WeightsError> {
    source.check(&shapes(&policy, name), policy.lm_head.is_none())?;
    let mut load = Load {
        path: vec![],
        name,
        source,
        failed: None,
    };
    let policy = policy.map(&mut load);
    load.failed.map_or(Ok(policy), Err)
}

struct Load<R> {
    path: Vec<String>,
    name: Naming,
    source: Source<R>,
    failed: Option<WeightsError>,
}

impl<R: Read + Seek> ModuleMapper for Load<R> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(name) = (self.name)(&self.path.join(".")).filter(|_| self.failed.is_none()) else {
            return param;
        };
        match self.source.files[self.source.places[&name]].read(&name) {
            Ok(numbers) => {
                let data = TensorData::new(numbers, param.lazy_shape());
                let (tensor, id) = (Tensor::from_data(data, &param.lazy_device()), param.id);
                param.transform_for_load(tensor, id)
            }
            Err(error) => {
                self.failed = Some(error);
                param
            }
        }
    }
}

/// Visits the weights with their names.
struct Visit<T, F> {
    path: Vec<String>,
    name: Naming,
    found: Vec<Named<T>>,
    values: F,
}

/// Names and shapes, in the order of the file.
fn shapes(policy: &Policy, name: Naming) -> Vec<Named<()>> {
    struct Shapes;
    impl Values<()> for Shapes {
        fn of<const D: usize>(&self, _: &Param<Tensor<D>>) {}
    }
    visit(policy, name, Shapes)
}

/// The weights, in the order of the file; nothing is copied.
pub(crate) fn weights(policy: &Policy, name: Naming) -> Vec<Named<Tensor<1>>> {
    struct Flat;
    impl Values<Tensor<1>> for Flat {
        fn of<const D: usize>(&self, param: &Param<Tensor<D>>) -> Tensor<1> {
            param.val().flatten(0, D - 1)
        }
    }
    visit(policy, name, Flat)
}

trait Values<T> {
    fn of<const D: usize>(&self, param: &Param<Tensor<D>>) -> T;
}

fn visit<T>(policy: &Policy, name: Naming, values: impl Values<T>) -> Vec<Named<T>> {
    let mut visit = Visit {
        path: vec![],
        name,
        found: vec![],
        values,
    };
    policy.visit(&mut visit);
    visit.found
}

impl<T, F: Values<T>> ModuleVisitor for Visit<T, F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(name) = (self.name)(&self.path.join(".")) {
            self.found.push(Named {
                name,
                shape: param.lazy_shape().to_vec(),
                values: self.values.of(param),
            });
        }
    }
}
