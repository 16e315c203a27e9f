//! The weights of a policy by their names in Hugging Face checkpoints: listing, reading and
//! replacing them.

use std::io::{Cursor, Read, Seek};
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};

use crate::decoder::Policy;
use crate::error::WeightsError;
use crate::safetensors_file::{Named, SafetensorsFile, WeightType, write};
use crate::source::Source;

impl Policy {
    /// All weights as the bytes of a `model.safetensors` file, in f32. The same weights give the
    /// same bytes.
    ///
    /// [`Policy::save_folder`] writes weights into a folder. Tied embeddings are written once.
    ///
    /// # Errors
    /// [`WeightsError::Format`] when the policy has an adapter, which such a file cannot hold.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, WeightsError> {
        let mut bytes = Vec::new();
        refuse_adapter(self, Path::new(BYTES))?;
        write(&mut bytes, &weights(self, &model_name), WeightType::F32)
            .map_err(WeightsError::file("write", Path::new(BYTES)))?;
        Ok(bytes)
    }

    /// Replaces all weights by those in the bytes of a `model.safetensors` file, as
    /// [`Policy::load_folder`] reads them. An adapter stays.
    ///
    /// # Errors
    /// [`WeightsError::Format`] when the bytes are no safetensors file, [`WeightsError::Missing`],
    /// [`WeightsError::Unknown`] or [`WeightsError::Tensor`] when a tensor is missing, unknown, of
    /// another shape, or holds NaN or infinite numbers. The error names it.
    pub fn load_safetensors(self, bytes: &[u8]) -> Result<Self, WeightsError> {
        let file = SafetensorsFile::open(Path::new(BYTES), Cursor::new(bytes))?;
        load_model(self, Source::of_one(file)?)
    }
}

/// The name of weights that are in no file.
const BYTES: &str = "(bytes)";

/// The name in a file of the parameter at a path in the policy; `None` for those that the file has
/// not.
pub(crate) type Naming<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The names of a model's own weights, without adapters.
pub(crate) fn model_name(path: &str) -> Option<String> {
    (!path.contains(".lora.")).then(|| path.to_string())
}

/// Refuses to save a policy with an adapter as a model. The files hold no adapter, and it must not
/// be lost silently. A packed policy no longer has the weights that they hold.
pub(crate) fn refuse_adapter(policy: &Policy, path: &Path) -> Result<(), WeightsError> {
    match policy.lora() {
        None if policy.is_packed() => Err(WeightsError::format(
            path,
            "the policy is packed, which is for sampling alone; save the one that was packed",
        )),
        Some(_) => Err(WeightsError::format(
            path,
            "the policy has an adapter; save what `merged` gives, or `save_lora`",
        )),
        None => Ok(()),
    }
}

/// Replaces the weights of a model, all of them.
///
/// Where tied embeddings have a different head beside them, the policy gets that head: the file
/// holds the trained weights.
pub(crate) fn load_model<R: Read + Seek>(
    mut policy: Policy,
    mut source: Source<R>,
) -> Result<Policy, WeightsError> {
    const HEAD: &str = "lm_head.weight";
    if policy.lm_head.is_none() && source.places.contains_key(HEAD) {
        let embeddings = &policy.model.embed_tokens.weight;
        let (shape, device) = (embeddings.lazy_shape(), embeddings.lazy_device());
        if source.is_same("model.embed_tokens.weight", HEAD)? {
            source.places.remove(HEAD);
        } else {
            let zeros = {
                let shape = shape.clone();
                move |device: &Device, grad| {
                    Tensor::zeros(shape.clone(), device).set_require_grad(grad)
                }
            };
            let id = policy.head_id();
            policy.untie(Param::uninitialized(id, zeros, device, true, shape));
        }
    }
    load(policy, source, &model_name)
}

/// Replaces all weights of `policy` that have a name, one after the other.
pub(crate) fn load<R: Read + Seek>(
    policy: Policy,
    source: Source<R>,
    name: Naming<'_>,
) -> Result<Policy, WeightsError> {
    source.check(&shapes(&policy, name))?;
    let mut load = Load {
        path: vec![],
        name,
        source,
        failed: None,
    };
    let policy = policy.map(&mut load);
    load.failed.map_or(Ok(policy), Err)
}

struct Load<'a, R> {
    path: Vec<String>,
    name: Naming<'a>,
    source: Source<R>,
    failed: Option<WeightsError>,
}

impl<R: Read + Seek> ModuleMapper for Load<'_, R> {
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
        match self.source.read(&name) {
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
struct Visit<'a, T, F> {
    path: Vec<String>,
    name: Naming<'a>,
    found: Vec<Named<T>>,
    values: F,
}

/// Names and shapes, in the order of the file.
fn shapes(policy: &Policy, name: Naming<'_>) -> Vec<Named<()>> {
    struct Shapes;
    impl Values<()> for Shapes {
        fn of<const D: usize>(&self, _: &Param<Tensor<D>>) {}
    }
    visit(policy, name, Shapes)
}

/// The weights, in the order of the file; nothing is copied.
pub(crate) fn weights(policy: &Policy, name: Naming<'_>) -> Vec<Named<Tensor<1>>> {
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

fn visit<T>(policy: &Policy, name: Naming<'_>, values: impl Values<T>) -> Vec<Named<T>> {
    let mut visit = Visit {
        path: vec![],
        name,
        found: vec![],
        values,
    };
    policy.visit(&mut visit);
    visit.found
}

impl<T, F: Values<T>> ModuleVisitor for Visit<'_, T, F> {
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
