//! Arrow streams, as Hugging Face's `datasets` writes them in `save_to_disk`. Needs the feature
//! `arrow`.

use std::io::Read;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;

use crate::authors::AuthorsRow;
use crate::cells::{self, caught};
use crate::conversations::Row;
use crate::error::{At, Error, Place};

/// Bytes that are read at a time. A batch that is longer is put together as its bytes come, so that
/// a damaged length asks for no memory.
const CHUNK: usize = 1 << 20;

/// What ends a stream: the mark of a message, and its length 0.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The rows of one Arrow stream, each with its place; `name` names the file in errors. One batch is
/// in memory at a time.
///
/// # Errors
/// At the first bad row, and where the stream is damaged or ends before its end mark; nothing
/// follows an error.
pub fn rows<R: Read>(
    reader: R,
    name: &str,
) -> impl Iterator<Item = Result<(Place, AuthorsRow), Error>> + use<R> {
    let mut stream = Stream {
        reader,
        name: name.into(),
        decoder: StreamDecoder::new(),
        chunk: Buffer::default(),
        tail: Vec::new(),
        rows: 0,
    };
    cells::until_error(std::iter::from_fn(move || stream.next_batch()).flatten())
}

struct Stream<R> {
    reader: R,
    name: String,
    decoder: StreamDecoder,
    /// What was read and not yet decoded.
    chunk: Buffer,
    /// The last bytes that were read.
    tail: Vec<u8>,
    rows: usize,
}

impl<R: Read> Stream<R> {
    /// The rows of the next batch, or why there are none; `None` at the end.
    fn next_batch(&mut self) -> Option<Box<dyn Iterator<Item = Row>>> {
        match self.decode() {
            Ok(batch) => {
                let first = self.rows;
                let batch = batch?;
                self.rows += batch.num_rows();
                Some(Box::new(cells::rows(batch, first, &self.name)))
            }
            Err(error) => Some(Box::new(std::iter::once(Err(error)))),
        }
    }

    fn decode(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            if self.chunk.is_empty() && !self.fill()? {
                self.decoder
                    .finish()
                    .map_err(|e| self.damaged(e.to_string()))?;
                if self.tail != END {
                    return Err(self.damaged("the stream has no end mark".into()));
                }
                return Ok(None);
            }
            let batch =
                caught(|| self.decoder.decode(&mut self.chunk)).map_err(|e| self.damaged(e))?;
            if batch.is_some() {
                return Ok(batch);
            }
        }
    }

    /// Whether there was more to read.
    fn fill(&mut self) -> Result<bool, Error> {
        let mut bytes = Vec::new();
        let read = self
            .reader
            .by_ref()
            .take(CHUNK as u64)
            .read_to_end(&mut bytes);
        read.map_err(|e| self.damaged(e.to_string()))?;
        self.tail
            .extend(&bytes[bytes.len().saturating_sub(END.len())..]);
        self.tail.drain(..self.tail.len().saturating_sub(END.len()));
        let any = !bytes.is_empty();
        self.chunk = bytes.into();
        Ok(any)
    }

    fn damaged(&self, problem: String) -> Error {
        let problem = format!("this is no whole Arrow stream: {problem}; save the data set anew");
        Error::bad(Place::new(&self.name, At::Row(self.rows)), problem)
    }
}
