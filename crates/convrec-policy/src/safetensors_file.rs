//! One safetensors file, read and written tensor by tensor: memory holds one tensor beside the
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
/// Before the header: its length.
const LENGTH: u64 = 8;

/// The type of the numbers in a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

    fn of(dtype: Dtype) -> Option<Self> {
        [Self::F32, Self::BF16, Self::F16]
            .into_iter()
            .find(|known| known.dtype() == dtype)
    }

    fn append(self, bytes: &[u8], numbers: &mut Vec<f32>) {
        let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
        match self {
            Self::F32 => numbers.extend(
                bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
            Self::BF16 => numbers.extend(pairs().map(|b| bf16::from_le_bytes(b).to_f32())),
            Self::F16 => numbers.extend(pairs().map(|b| f16::from_le_bytes(b).to_f32())),
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
    /// Where the header ends.
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
                "type {:?}, expected F32, F16 or BF16; take weights that are not quantised",
                info.dtype
            ));
        }
        Ok(())
    }

    /// The numbers of a tensor that [`Self::check`] found in order.
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let (dtype, (from, to)) = (self.tensors[name].dtype, self.tensors[name].data_offsets);
        let kind = WeightType::of(dtype).expect("the type has been checked");
        let mut numbers = Vec::with_capacity((to - from) / kind.width());
        let mut read = || -> io::Result<()> {
            self.reader
                .seek(SeekFrom::Start(self.start + from as u64))?;
            let mut chunk = vec![0; CHUNK.min(to - from)];
            let mut left = to - from;
            while left > 0 {
                let part = &mut chunk[..left.min(CHUNK)];
                self.reader.read_exact(part)?;
                kind.append(part, &mut numbers);
                left -= part.len();
            }
            Ok(())
        };
        read().map_err(WeightsError::file("read", &self.path))?;
        Ok(numbers)
    }
}

/// Writes a file: the same weights give the same bytes.
///
/// # Errors
/// Where a number does not fit `kind`, an [`io::ErrorKind::InvalidData`] that names the tensor.
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
    // So that the numbers are aligned for programs that map the file.
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
