//! Arrow streams, as Hugging Face's `datasets` writes them in `save_to_disk`. Needs the feature `arrow`.

use std::io::Read;

use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;

use crate::authors::AuthorsRow;
use crate::cells::{self, caught};
use crate::error::{At, Error, Place};

/// Bytes that are read at a time. A batch that is longer is put together as its bytes come, so that a damaged length asks
/// for no memory.
const CHUNK: usize = 1 << 20;

/// What ends a stream: the mark of a message, and its length 0.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// The rows of one Arrow stream, each with its place; `name` names the file in errors. One batch is in memory at a time.
///
/// # Errors
/// At the first bad row, and where the stream is damaged or ends before its end mark; nothing follows an error.
pub fn rows<R: Read>(reader: R, name: &str) -> impl Iterator<Item = Result<(Place, AuthorsRow), Error>> + use<R> {
    let mut stream = Stream {
        reader,
        name: name.into(),
        decoder: StreamDecoder::new(),
        chunk: Buffer::default(),
        tail: Vec::new(),
        rows: 0,
    };
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let batch = stream.next_batch().transpose()?;
        failed = batch.is_err();
        Some(batch.unwrap_or_else(|error| vec![Err(error)]))
    })
    .flatten()
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
    fn next_batch(&mut self) -> Result<Option<Vec<crate::conversations::Row>>, Error> {
        loop {
            if self.chunk.is_empty() && !self.fill()? {
                self.decoder.finish().map_err(|e| self.damaged(e.to_string()))?;
                if self.tail != END {
                    return Err(self.damaged("the stream has no end mark".into()));
                }
                return Ok(None);
            }
            let batch = caught(|| self.decoder.decode(&mut self.chunk)).map_err(|e| self.damaged(e))?;
            if let Some(batch) = batch {
                let rows = cells::rows(&batch, self.rows, &self.name);
                self.rows += rows.len();
                return Ok(Some(rows));
            }
        }
    }

    /// Whether there was more to read.
    fn fill(&mut self) -> Result<bool, Error> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(CHUNK as u64).read_to_end(&mut bytes);
        read.map_err(|e| self.damaged(e.to_string()))?;
        self.tail.extend(&bytes[bytes.len().saturating_sub(END.len())..]);
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
