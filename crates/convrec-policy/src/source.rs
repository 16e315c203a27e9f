//! The files of the weights, with the file of each tensor under the name that this crate knows it
//! by.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::path::PathBuf;

use crate::error::WeightsError;
use crate::safetensors_file::{Named, SafetensorsFile, WeightType};

pub(crate) struct Source<R> {
    /// The single file, or the index of many.
    pub(crate) path: PathBuf,
    files: Vec<SafetensorsFile<R>>,
    /// Tensors by the policy's names.
    pub(crate) places: BTreeMap<String, Place>,
    /// The method by which the weights are quantised, where the config names one.
    pub(crate) quantisation: Option<String>,
}

/// A file, and the name of a tensor there.
pub(crate) struct Place {
    file: usize,
    name: String,
}

/// Prefixes that wrappers of a model put into the names of its tensors: torch.compile, FSDP and
/// others.
const WRAPPERS: [&str; 3] = [
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
];

/// The ends of names of tensors that belong to quantised matrices.
const PACKED: [&str; 8] = [
    ".qweight",
    ".qzeros",
    ".scales",
    ".g_idx",
    ".weight_packed",
    ".weight_scale",
    ".SCB",
    ".weight.absmax",
];

/// The policy's name of a tensor; `None` for tensors that follow from the rest or are not used
/// here.
fn known_name(name: &str) -> Option<String> {
    let mut known = name.strip_prefix("module.").unwrap_or(name).to_string();
    for wrapper in WRAPPERS {
        known = known.replace(wrapper, "");
    }
    // TRL's value head belongs to a critic, not to the policy.
    if known.ends_with("rotary_emb.inv_freq") || known.starts_with("v_head.") {
        return None;
    }
    // The names of a base model that was saved without its head.
    let is_base = ["embed_tokens.", "layers.", "norm."];
    if is_base.iter().any(|part| known.starts_with(part)) {
        known = format!("model.{known}");
    }
    Some(known)
}

impl<R: Read + Seek> Source<R> {
    pub(crate) fn of_one(file: SafetensorsFile<R>) -> Result<Self, WeightsError> {
        Self::new(file.path.clone(), vec![file])
    }

    /// All tensors of some files.
    pub(crate) fn new(path: PathBuf, files: Vec<SafetensorsFile<R>>) -> Result<Self, WeightsError> {
        let mut places = BTreeMap::new();
        for (n, file) in files.iter().enumerate() {
            for name in file.names() {
                let Some(known) = known_name(name) else {
                    continue;
                };
                let place = Place {
                    file: n,
                    name: name.clone(),
                };
                if let Some(other) = places.insert(known.clone(), place) {
                    let problem = format!("it and `{}` are both `{known}`", other.name);
                    return Err(WeightsError::tensor(&file.path, name, problem));
                }
            }
        }
        Ok(Self {
            path,
            files,
            places,
            quantisation: None,
        })
    }

    /// The number of all elements.
    pub(crate) fn numbers(&self) -> usize {
        let numbers = |place: &Place| self.files[place.file].kind(&place.name).0;
        self.places
            .values()
            .map(numbers)
            .fold(0, usize::saturating_add)
    }

    /// The type that most numbers have.
    pub(crate) fn weight_type(&self) -> WeightType {
        let count = |kind| {
            let all = self.places.values();
            let kinds = all.map(|place| self.files[place.file].kind(&place.name));
            kinds
                .filter(|found| found.1 == Some(kind))
                .map(|found| found.0)
                .sum::<usize>()
        };
        let kinds = [WeightType::F16, WeightType::BF16, WeightType::F32];
        kinds
            .into_iter()
            .max_by_key(|kind| count(*kind))
            .unwrap_or_default()
    }

    /// The numbers of a tensor, which must be there.
    pub(crate) fn read(&mut self, known: &str) -> Result<Vec<f32>, WeightsError> {
        let Place { file, name } = &self.places[known];
        self.files[*file].read(name)
    }

    /// Whether two tensors hold the same numbers.
    pub(crate) fn is_same(&mut self, one: &str, other: &str) -> Result<bool, WeightsError> {
        let mut digests = vec![];
        for known in [one, other] {
            let Some(Place { file, name }) = self.places.get(known) else {
                return Ok(false);
            };
            let file = &mut self.files[*file];
            digests.push((file.shape(name).to_vec(), file.digest(name)?));
        }
        Ok(digests[0] == digests[1])
    }

    /// Checks that the files hold `expected`, in name, shape and type.
    pub(crate) fn check(&self, expected: &[Named<()>]) -> Result<(), WeightsError> {
        self.refuse_quantised()?;
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
        let wanted: std::collections::HashSet<&str> =
            expected.iter().map(|e| e.name.as_str()).collect();
        let unknown = self
            .places
            .iter()
            .filter(|(known, _)| !wanted.contains(known.as_str()));
        let unknown: Vec<String> = unknown.map(|(_, place)| place.name.clone()).collect();
        if !unknown.is_empty() {
            return Err(WeightsError::Unknown {
                path: self.path.clone(),
                names: unknown,
            });
        }
        expected.iter().try_for_each(|e| {
            let Place { file, name } = &self.places[&e.name];
            self.files[*file].check(name, &e.shape)
        })
    }

    /// Refuses quantised weights. Without this check the error would be about missing tensors or
    /// other shapes.
    pub(crate) fn refuse_quantised(&self) -> Result<(), WeightsError> {
        let is_packed = |place: &&Place| {
            let kind = self.files[place.file].kind(&place.name).1;
            PACKED.iter().any(|end| place.name.ends_with(end)) || kind.is_none()
        };
        let Some(Place { file, name }) = self.places.values().find(is_packed) else {
            return Ok(());
        };
        let file = &self.files[*file];
        let method = match &self.quantisation {
            Some(method) => format!("{method}, as config.json says"),
            None => "quantised or packed".into(),
        };
        let problem = format!(
            "type {} ({method}); quantised weights are not read: take the model in bf16, f16, f32 \
             or f64",
            file.type_name(name)
        );
        Err(WeightsError::tensor(&file.path, name, problem))
    }
}
