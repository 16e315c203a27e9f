//! Arrow IPC: streams, as Hugging Face's `datasets` writes them, and files, as Feather and
//! `pyarrow.feather` do.

use std::io::{BufReader, Cursor, Read};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{MessageHeader, root_as_message};

use crate::cells::{Batches, caught, check_columns};
use crate::input::{Data, Input};
use crate::limits::Budget;
use crate::row::Rows;

/// The first bytes of a file, with the zeros between them and the stream.
const FILE_MAGIC: &[u8; 8] = b"ARROW1\0\0";

/// The first bytes of Feather's first version, which is no Arrow file.
const FEATHER_1: &[u8; 4] = b"FEA1";

const CONTINUATION: [u8; 4] = [0xff; 4];

/// The largest number of zeros in front of the stream of a file.
const MAX_PADDING: usize = 4096;

/// Bytes that are reserved before they have been read.
const RESERVED: usize = 16 << 20;

/// The rows of one Arrow stream or file.
///
/// A file holds a stream between its first bytes and its footer, so both are read as streams. A
/// message is put together as its bytes come, so a damaged length asks for no memory.
pub(crate) fn rows(input: Input) -> Rows {
    let Input { name, length, data } = input;
    let reader: Box<dyn Read> = match data {
        Data::File(file) => Box::new(BufReader::with_capacity(1 << 20, file)),
        Data::Bytes(bytes) => Box::new(Cursor::new(bytes)),
    };
    let mut stream = Stream {
        reader,
        decoder: StreamDecoder::new(),
        message: Buffer::default(),
        budget: Budget::new(length),
        state: State::Start,
    };
    let mut checked = false;
    Box::new(Batches::new(&name, length, move || {
        let batch = stream.next_batch().map_err(|problem| {
            format!("this is no whole Arrow stream or file: {problem}; save it anew")
        })?;
        // All batches have the columns of the first.
        if let Some(batch) = batch
            .as_ref()
            .filter(|_| !std::mem::replace(&mut checked, true))
        {
            check_columns(batch.schema_ref())?;
        }
        Ok(batch)
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Stream,
    File,
    /// The end mark was read.
    Ended,
}

struct Stream {
    reader: Box<dyn Read>,
    decoder: StreamDecoder,
    /// The bytes that were read and not yet decoded.
    message: Buffer,
    /// The budget of bytes that compressed buffers may unfold to.
    budget: Budget,
    state: State,
}

impl Stream {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>, String> {
        loop {
            while !self.message.is_empty() {
                let Self {
                    decoder, message, ..
                } = self;
                if let Some(batch) = caught(|| decoder.decode(message))? {
                    return Ok(Some(batch));
                }
            }
            if self.state == State::Ended {
                return self
                    .decoder
                    .finish()
                    .map(|()| None)
                    .map_err(|e| e.to_string());
            }
            self.message = self.read_message()?.into();
        }
    }

    /// The bytes of the next message: its length, its header and its body.
    fn read_message(&mut self) -> Result<Vec<u8>, String> {
        let mut message = Vec::new();
        self.read(4, &mut message)?;
        if self.state == State::Start {
            self.state = State::Stream;
            if message.starts_with(FEATHER_1) {
                return Err("it is Feather of version 1, which no one writes any more".into());
            }
            if message.starts_with(&FILE_MAGIC[..4]) {
                self.read(4, &mut message)?;
                if message != FILE_MAGIC {
                    return Err("its first bytes are none of an Arrow file".into());
                }
                self.state = State::File;
                self.skip_padding(&mut message)?;
            }
        }
        if message == CONTINUATION {
            self.read(4, &mut message)?;
        }
        let start = message.len();
        let length = u32::from_le_bytes(message[start - 4..].try_into().expect("4 bytes"));
        if length == 0 {
            // Nothing follows the end of a stream, but a file has its footer there.
            if self.state == State::Stream
                && self.reader.read(&mut [0]).map_err(|e| e.to_string())? > 0
            {
                return Err("bytes follow its end mark".into());
            }
            self.state = State::Ended;
            return Ok(message);
        }
        self.read(length.into(), &mut message)?;
        let header = root_as_message(&message[start..]).map_err(|e| e.to_string())?;
        let body =
            u64::try_from(header.bodyLength()).map_err(|_| "a body has a negative length")?;
        let end = message.len();
        let compressed = compressed_buffers(&message[start..])?;
        self.read(body, &mut message)?;
        self.check_unfolded(&message[end..], &compressed)?;
        Ok(message)
    }

    /// Reads the first 4 bytes behind the zeros that fill up the first bytes of a file. Arrow asks
    /// for 2 zeros, and its Rust writer for 58.
    fn skip_padding(&mut self, message: &mut Vec<u8>) -> Result<(), String> {
        for _ in 0..MAX_PADDING / 4 {
            message.clear();
            self.read(4, message)?;
            if *message != [0; 4] {
                return Ok(());
            }
        }
        Err("zeros stand where its schema is expected".into())
    }

    fn read(&mut self, length: u64, bytes: &mut Vec<u8>) -> Result<(), String> {
        bytes.reserve(RESERVED.min(length as usize));
        let read = self.reader.by_ref().take(length).read_to_end(bytes);
        let read = read.map_err(|e| e.to_string())? as u64;
        if read < length {
            return Err(if bytes.is_empty() {
                "it has no end mark".into()
            } else {
                format!("it is cut: {read} bytes are left where {length} are needed")
            });
        }
        Ok(())
    }

    /// Checks the size that a compressed buffer claims in its first 8 bytes, as Arrow reserves it.
    fn check_unfolded(&mut self, body: &[u8], buffers: &[(i64, i64)]) -> Result<(), String> {
        for (offset, length) in buffers.iter().filter(|(_, length)| *length > 0) {
            let start = usize::try_from(*offset).map_err(|_| "a buffer has a negative place")?;
            let unfolded = body
                .get(start..)
                .and_then(|rest| rest.first_chunk::<8>())
                .map(|bytes| i64::from_le_bytes(*bytes))
                .ok_or("a buffer lies behind its body")?;
            // -1 stands for a buffer that is not compressed.
            self.budget.take(unfolded.max(*length) as u64)?;
        }
        Ok(())
    }
}

/// Place and length of the buffers of a message, if they are compressed.
fn compressed_buffers(header: &[u8]) -> Result<Vec<(i64, i64)>, String> {
    let message = root_as_message(header).map_err(|e| e.to_string())?;
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message
            .header_as_dictionary_batch()
            .and_then(|batch| batch.data()),
        _ => None,
    };
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else {
        return Ok(Vec::new());
    };
    let buffers = batch.buffers().into_iter().flatten();
    Ok(buffers
        .map(|buffer| (buffer.offset(), buffer.length()))
        .collect())
}
