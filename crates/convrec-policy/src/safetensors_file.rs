//! One safetensors file, read and written tensor by tensor. Memory holds one tensor beside the
//! model, never the file.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};

use crate::error::WeightsError;

/// Bytes read or converted at once; a multiple of every width.
const CHUNK: usize = 1 << 20;
/// The bytes before the header, which hold its length.
const LENGTH: u64 = 8;
/// The longest header that is read, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;

/// The type of the numbers in a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightType {
    /// 32 bits: exactly what the policy holds.
    #[default]
    F32,
    /// 16 bits with the range of f32 and 8 bits of precision, rounded to nearest.
    BF16,
    /// 16 bits with 11 bits of precision, rounded to nearest; numbers above 65,504 do not fit.
    F16,
}

impl WeightType {
    /// torch's name, as in `config.json`.
    pub(crate) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::BF16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::BF16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }

    /// Bytes of one number.
    pub(crate) fn width(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// The type that weights of a file's type are written in again.
    fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F64 | Dtype::F32 => Some(Self::F32),
            Dtype::BF16 => Some(Self::BF16),
            Dtype::F16 => Some(Self::F16),
            _ => None,
        }
    }

    /// `None` where a finite number would become an infinite one.
    fn to_bytes(self, numbers: &[f32]) -> Option<Vec<u8>> {
        let fits = |x: &f32, y: f32| y.is_finite() || !x.is_finite();
        match self {
            Self::F32 => Some(numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Self::BF16 => {
                let short = |x: &f32| Some(bf16::from_f32(*x)).filter(|y| fits(x, y.to_f32()));
                Some(
                    numbers
                        .iter()
                        .map(short)
                        .collect::<Option<Vec<_>>>()?
                        .iter()
                        .flat_map(|y| y.to_le_bytes())
                        .collect(),
                )
            }
            Self::F16 => {
                let short = |x: &f32| Some(f16::from_f32(*x)).filter(|y| fits(x, y.to_f32()));
                Some(
                    numbers
                        .iter()
                        .map(short)
                        .collect::<Option<Vec<_>>>()?
                        .iter()
                        .flat_map(|y| y.to_le_bytes())
                        .collect(),
                )
            }
        }
    }
}

/// Appends the numbers of a type that [`WeightType::of`] knows.
fn append(dtype: Dtype, bytes: &[u8], numbers: &mut Vec<f32>) {
    let (pairs, _) = bytes.as_chunks::<2>();
    match dtype {
        Dtype::BF16 => numbers.extend(pairs.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
        Dtype::F16 => numbers.extend(pairs.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
        Dtype::F64 => {
            let (eights, _) = bytes.as_chunks::<8>();
            numbers.extend(eights.iter().map(|b| f64::from_le_bytes(*b) as f32));
        }
        _ => {
            let (fours, _) = bytes.as_chunks::<4>();
            numbers.extend(fours.iter().map(|b| f32::from_le_bytes(*b)));
        }
    }
}

/// A tensor that goes into a file or is expected in one.
pub(crate) struct Named<T> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: T,
}

impl<T> Named<T> {
    pub(crate) fn numbers(&self) -> usize {
        self.shape.iter().product()
    }
}

/// An opened file whose header has been read.
pub(crate) struct SafetensorsFile<R> {
    pub(crate) path: PathBuf,
    reader: R,
    /// The end of the header.
    start: u64,
    tensors: HashMap<String, TensorInfo>,
}

impl<R: Read + Seek> SafetensorsFile<R> {
    /// Reads the header; `path` is for errors.
    pub(crate) fn open(path: &Path, mut reader: R) -> Result<Self, WeightsError> {
        let io = || WeightsError::file("read", path);
        let bad = |problem: String| WeightsError::format(path, problem);
        let length = reader.seek(SeekFrom::End(0)).map_err(io())?;
        if length < LENGTH {
            return Err(bad(format!(
                "{length} bytes; a safetensors file has at least {LENGTH}: fetch it again"
            )));
        }
        reader.rewind().map_err(io())?;
        let mut header = [0; LENGTH as usize];
        reader.read_exact(&mut header).map_err(io())?;
        let header = u64::from_le_bytes(header);
        if header > length - LENGTH {
            let found =
                format!("its header should have {header} bytes and the file has {length} in all");
            return Err(bad(format!(
                "{found}; it is truncated or no safetensors file: fetch it again"
            )));
        }
        if header > MAX_HEADER {
            let found = format!("its header has {header} bytes; expected at most {MAX_HEADER}");
            return Err(bad(found));
        }
        let mut text = vec![0; header as usize];
        reader.read_exact(&mut text).map_err(io())?;
        let metadata: Metadata = serde_json::from_slice(&text)
            .map_err(|e| bad(format!("not a safetensors header: {e}")))?;
        let (start, data) = (LENGTH + header, metadata.data_len() as u64);
        if start.checked_add(data) != Some(length) {
            let found = format!("{length} bytes; by its header it should have {start} + {data}");
            return Err(bad(format!(
                "{found}: it is truncated or damaged, fetch it again"
            )));
        }
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .collect();
        Ok(Self {
            path: path.into(),
            reader,
            start,
            tensors,
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.tensors.keys()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor that must be there.
    pub(crate) fn shape(&self, name: &str) -> &[usize] {
        &self.tensors[name].shape
    }

    /// The number of elements of a tensor, which must be there, and the type to write them in
    /// again.
    pub(crate) fn kind(&self, name: &str) -> (usize, Option<WeightType>) {
        let info = &self.tensors[name];
        (info.shape.iter().product(), WeightType::of(info.dtype))
    }

    /// The type of a tensor, which must be there, in the file's words.
    pub(crate) fn type_name(&self, name: &str) -> String {
        format!("{:?}", self.tensors[name].dtype)
    }

    /// Whether the tensor, which must be there, has this shape and a type that is read.
    pub(crate) fn check(&self, name: &str, shape: &[usize]) -> Result<(), WeightsError> {
        let info = &self.tensors[name];
        let bad = |problem: String| Err(WeightsError::tensor(&self.path, name, problem));
        if info.shape != shape {
            let why = "the weights are of another model, or the config is";
            return bad(format!("shape {:?}, expected {shape:?}; {why}", info.shape));
        }
        if WeightType::of(info.dtype).is_none() {
            return bad(format!(
                "type {:?}, expected F64, F32, F16 or BF16; take weights that are not quantised",
                info.dtype
            ));
        }
        Ok(())
    }

    /// The numbers of a tensor that [`Self::check`] found in order.
    ///
    /// # Errors
    /// [`WeightsError::Tensor`] also when one of them is NaN or infinite, in f32 or already in the
    /// file.
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let (dtype, (from, to)) = (self.tensors[name].dtype, self.tensors[name].data_offsets);
        let mut numbers = Vec::with_capacity(self.tensors[name].shape.iter().product());
        self.chunks(from..to, |bytes| append(dtype, bytes, &mut numbers))?;
        let ill = numbers.iter().filter(|x| !x.is_finite()).count();
        if ill > 0 {
            let all = numbers.len();
            let problem = format!(
                "{ill} of its {all} numbers are NaN or infinite; the model is damaged or has \
                 diverged: take another copy or an earlier checkpoint"
            );
            return Err(WeightsError::tensor(&self.path, name, problem));
        }
        Ok(numbers)
    }

    /// The bytes of a tensor, to be compared with another's of the same shape.
    pub(crate) fn digest(&mut self, name: &str) -> Result<u64, WeightsError> {
        use std::hash::{DefaultHasher, Hasher};
        let (from, to) = self.tensors[name].data_offsets;
        let mut hasher = DefaultHasher::new();
        hasher.write(self.type_name(name).as_bytes());
        self.chunks(from..to, |bytes| hasher.write(bytes))?;
        Ok(hasher.finish())
    }

    fn chunks(
        &mut self,
        bytes: std::ops::Range<usize>,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), WeightsError> {
        let mut read = || -> io::Result<()> {
            self.reader
                .seek(SeekFrom::Start(self.start + bytes.start as u64))?;
            let mut chunk = vec![0; CHUNK.min(bytes.len())];
            let mut left = bytes.len();
            while left > 0 {
                let part = &mut chunk[..left.min(CHUNK)];
                self.reader.read_exact(part)?;
                take(part);
                left -= part.len();
            }
            Ok(())
        };
        read().map_err(WeightsError::file("read", &self.path))
    }
}

/// Writes a file: the same weights give the same bytes.
///
/// # Errors
/// An [`io::ErrorKind::InvalidData`] that names the tensor, where a number does not fit `kind`.
pub(crate) fn write(
    out: &mut dyn Write,
    weights: &[Named<Tensor<1>>],
    kind: WeightType,
) -> io::Result<()> {
    let mut end = 0;
    let infos = weights.iter().map(|weight| {
        let start = end;
        end += weight.numbers() * kind.width();
        let info = TensorInfo {
            dtype: kind.dtype(),
            shape: weight.shape.clone(),
            data_offsets: (start, end),
        };
        (weight.name.clone(), info)
    });
    // transformers 4 refuses files whose format is not "pt".
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    let metadata = Metadata::new(Some(format), infos.collect()).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    // The padding aligns the numbers for programs that map the file.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for weight in weights {
        let numbers = weight
            .values
            .clone()
            .into_data()
            .try_into_vec_as::<f32>()
            .map_err(io::Error::other)?;
        for part in numbers.chunks(CHUNK / 4) {
            let bytes = kind.to_bytes(part).ok_or_else(|| {
                let problem = format!(
                    "tensor `{}` has a number beyond the range of {}",
                    weight.name,
                    kind.torch_name()
                );
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    problem + "; save it as f32 or bf16",
                )
            })?;
            out.write_all(&bytes)?;
        }
    }
    Ok(())
}
