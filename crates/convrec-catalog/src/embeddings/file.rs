//! Embeddings in a file: a safetensors file of one f32 matrix, mapped into memory.

use std::io;
use std::path::Path;
use std::sync::Arc;

use convrec_core::files::{self, write_atomic};
use memmap2::Mmap;
use ndarray::{Array2, ArrayView2};
use safetensors::{Dtype, SafeTensors};

use super::{Embeddings, EmbeddingsError, Rows, check_shape, check_unit};

const NAME: &str = "embeddings";
const NUMBER: usize = size_of::<f32>();

impl Embeddings {
    /// Writes rows to a file as they come, without holding them, and replaces the file as a whole.
    /// A process that has the former file open keeps it.
    ///
    /// # Shapes
    /// - blocks: together `[C, D] = shape`, unit rows; each block some rows, one at least
    ///
    /// # Errors
    /// [`EmbeddingsError`] when C or D is 0, a row is not of unit length, the blocks together have
    /// another shape, or the file cannot be written. The former file is then still there.
    pub fn write(
        path: impl AsRef<Path>,
        shape: [usize; 2],
        blocks: impl IntoIterator<Item = Array2<f32>>,
    ) -> Result<(), EmbeddingsError> {
        let [rows, width] = shape;
        check_shape(rows, width)?;
        let mut refused = None;
        let written = write_atomic(path, |out| {
            out.write_all(&header(shape))?;
            let mut refuse = |error| {
                refused = Some(error);
                io::Error::other("the rows are refused")
            };
            let other = |problem: String| EmbeddingsError::Shape {
                rows,
                width,
                problem,
            };
            let mut count = 0;
            for block in blocks {
                if block.ncols() != width {
                    return Err(refuse(other(format!(
                        "a block has rows of {}",
                        block.ncols()
                    ))));
                }
                check_unit(block.view(), count).map_err(&mut refuse)?;
                count += block.nrows();
                if count > rows {
                    return Err(refuse(other(format!("{count} rows came, or more"))));
                }
                let block = block.as_standard_layout();
                out.write_all(bytemuck::cast_slice(
                    block.as_slice().expect("it is in standard layout"),
                ))?;
            }
            if count == rows {
                Ok(())
            } else {
                Err(refuse(other(format!("{count} rows came"))))
            }
        });
        match refused {
            Some(error) => Err(error),
            None => Ok(written?),
        }
    }

    /// Opens a file of [`Embeddings::write`], or any safetensors file with one f32 matrix
    /// `embeddings` of unit rows. The file is mapped into memory and shared by all processes that
    /// have it open. Every row is checked.
    ///
    /// It must not be written to while it is open. [`Embeddings::write`] does not: it puts another
    /// file in its place.
    ///
    /// # Errors
    /// [`EmbeddingsError`] when the file cannot be read, is damaged, or a row is not of unit
    /// length.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, EmbeddingsError> {
        let path = path.as_ref();
        let failed = |e| files::Error::new("read", path, e);
        // Pipes and devices are refused before they are opened.
        let file = files::open_regular(path, u64::MAX)?.into_inner();
        // SAFETY: the mapped file must not change. `write` replaces files and does not write to
        // them, and the documentation asks the same of everyone else. Any bytes are numbers.
        let bytes = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let damaged = |problem| EmbeddingsError::Damaged {
            file: path.display().to_string(),
            problem,
        };
        let (start, shape) = matrix(&bytes).map_err(damaged)?;
        check_shape(shape[0], shape[1])?;
        check_unit(rows(&bytes, start, shape), 0)
            .map_err(|problem| damaged(problem.to_string()))?;
        Ok(Self {
            rows: Rows::Mapped {
                bytes: Arc::new(bytes),
                start,
                shape,
            },
        })
    }
}

/// The numbers from byte `start` on, as [`matrix`] found them.
pub(super) fn rows(bytes: &[u8], start: usize, [rows, width]: [usize; 2]) -> ArrayView2<'_, f32> {
    let numbers = bytemuck::cast_slice(&bytes[start..start + rows * width * NUMBER]);
    ArrayView2::from_shape((rows, width), numbers).expect("there are as many numbers")
}

/// The length of the description, and the description, filled up so that the numbers behind it lie
/// on words.
fn header([rows, width]: [usize; 2]) -> Vec<u8> {
    let end = rows * width * NUMBER;
    let mut text = format!(
        r#"{{"{NAME}":{{"dtype":"F32","shape":[{rows},{width}],"data_offsets":[0,{end}]}}}}"#
    );
    while text.len() % 8 != 0 {
        text.push(' ');
    }
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// Where the matrix lies in the file, and its shape.
fn matrix(bytes: &[u8]) -> Result<(usize, [usize; 2]), String> {
    let tensors =
        SafeTensors::deserialize(bytes).map_err(|e| format!("is no safetensors file ({e})"))?;
    let tensor = tensors
        .tensor(NAME)
        .map_err(|_| format!("has no matrix `{NAME}`"))?;
    let &[rows, width] = tensor.shape() else {
        return Err(format!("`{NAME}` has shape {:?}", tensor.shape()));
    };
    if tensor.dtype() != Dtype::F32 {
        return Err(format!("`{NAME}` is of {:?}; expected F32", tensor.dtype()));
    }
    if bytemuck::try_cast_slice::<u8, f32>(tensor.data()).is_err() {
        return Err(format!("`{NAME}` does not lie on words of {NUMBER} bytes"));
    }
    Ok((
        tensor.data().as_ptr() as usize - bytes.as_ptr() as usize,
        [rows, width],
    ))
}
