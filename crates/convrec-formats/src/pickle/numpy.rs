//! numpy's scalars, as pickles hold them: a type by name, its byte order, and bytes.

use std::cell::Cell;
use std::rc::Rc;

use super::machine::Value;

/// The functions that a pickle may name and call. Each call only makes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callable {
    /// `numpy.dtype(name, align, copy)`
    Dtype,
    /// `numpy.core.multiarray.scalar(dtype, bytes)`
    Scalar,
    /// `_codecs.encode(text, "latin1")`, by which protocol 2 writes bytes.
    Encode,
}

impl Callable {
    pub(super) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("numpy", "dtype") => Self::Dtype,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Self::Scalar,
            ("_codecs", "encode") => Self::Encode,
            _ => return None,
        })
    }

    /// The value of a call, or a message with what was found and expected.
    pub(super) fn call(self, arguments: &[Value]) -> Result<Value, String> {
        match (self, arguments) {
            (Self::Dtype, [Value::Text(name), ..]) => Ok(Value::Dtype(Rc::new(Dtype {
                name: name.to_string(),
                is_big_endian: Cell::new(false),
            }))),
            (Self::Scalar, [Value::Dtype(dtype), Value::Bytes(bytes)]) => dtype.value(bytes),
            (Self::Encode, [Value::Text(text), Value::Text(_)]) => {
                let bytes: Option<Vec<u8>> = text
                    .chars()
                    .map(|c| u8::try_from(u32::from(c)).ok())
                    .collect();
                let bytes = bytes.ok_or("bytes that are no Latin-1; expected Latin-1")?;
                Ok(Value::Bytes(bytes.into()))
            }
            _ => Err("a call of numpy with other arguments than those of a scalar".into()),
        }
    }
}

/// A type of numpy, as `i8`, `f4` or `U12`.
#[derive(Debug)]
pub(super) struct Dtype {
    name: String,
    /// Whether bytes are big-endian. The pickle says it after the type is made and may have been
    /// put into the memo.
    is_big_endian: Cell<bool>,
}

impl Dtype {
    /// Takes the state `(version, byte order, ...)`.
    pub(super) fn build(&self, state: &[Value]) {
        if let Some(Value::Text(order)) = state.get(1) {
            self.is_big_endian.set(&**order == ">");
        }
    }

    fn value(&self, bytes: &[u8]) -> Result<Value, String> {
        let unknown = || {
            format!(
                "a numpy scalar of type {} and {} bytes; expected integers, floats and text",
                convrec_core::shown(&self.name),
                bytes.len()
            )
        };
        let (kind, size) = self.name.split_at_checked(1).ok_or_else(unknown)?;
        let size: usize = size.parse().map_err(|_| unknown())?;
        let big = self.is_big_endian.get();
        if kind == "U" {
            return text(bytes, size, big).ok_or_else(unknown);
        }
        if size != bytes.len() || !matches!(size, 1 | 2 | 4 | 8) {
            return Err(unknown());
        }
        // The bytes as the low ones of a 64-bit number.
        let mut low = [0; 8];
        for (place, byte) in bytes.iter().enumerate() {
            low[if big { size - 1 - place } else { place }] = *byte;
        }
        let unsigned = u64::from_le_bytes(low);
        let shift = 64 - 8 * size as u32;
        Ok(match (kind, size) {
            ("i", _) => Value::Int((unsigned as i64) << shift >> shift),
            ("u", _) => Value::Int(i64::try_from(unsigned).map_err(|_| unknown())?),
            ("b", 1) => Value::Bool(unsigned != 0),
            ("f", 4) => Value::Float(f32::from_bits(unsigned as u32).into()),
            ("f", 8) => Value::Float(f64::from_bits(unsigned)),
            _ => return Err(unknown()),
        })
    }
}

/// Text of `size` characters of 4 bytes, filled up with zeros.
fn text(bytes: &[u8], size: usize, big: bool) -> Option<Value> {
    let (units, rest) = bytes.as_chunks::<4>();
    if units.len() != size || !rest.is_empty() {
        return None;
    }
    let code = |unit: &[u8; 4]| {
        char::from_u32(if big {
            u32::from_be_bytes(*unit)
        } else {
            u32::from_le_bytes(*unit)
        })
    };
    let text: String = units.iter().map(code).collect::<Option<_>>()?;
    Some(Value::Text(text.trim_end_matches('\0').into()))
}
