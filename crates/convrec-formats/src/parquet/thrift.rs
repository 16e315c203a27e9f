//! Structs in thrift's compact encoding, as far as page headers need it.

use std::io::Read;

/// The longest header of a page, in bytes. Statistics may hold texts.
const MAX_HEADER: u64 = 16 << 20;

/// Structs and lists may nest this deep.
const MAX_DEPTH: u8 = 8;

/// A field of a struct.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field {
    Integer(i64),
    Bool(bool),
    Struct(Fields),
    /// A value that no page header is asked for.
    Skipped,
}

/// The fields of a struct, each with its number.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Fields(Vec<(i64, Field)>);

impl Fields {
    fn get(&self, number: i64) -> Option<&Field> {
        let found = self.0.iter().find(|(other, _)| *other == number);
        found.map(|(_, field)| field)
    }

    pub(super) fn integer(&self, number: i64) -> Option<i64> {
        match self.get(number)? {
            Field::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn bool(&self, number: i64) -> Option<bool> {
        match self.get(number)? {
            Field::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn inner(&self, number: i64) -> Option<&Fields> {
        match self.get(number)? {
            Field::Struct(fields) => Some(fields),
            _ => None,
        }
    }
}

/// The struct that `reader` begins with, and its length in bytes.
pub(super) fn read(reader: impl Read) -> Result<(Fields, u64), String> {
    let mut parser = Parser { reader, read: 0 };
    let fields = parser.fields(0)?;
    Ok((fields, parser.read))
}

struct Parser<R> {
    reader: R,
    read: u64,
}

impl<R: Read> Parser<R> {
    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        self.reader
            .read_exact(&mut byte)
            .map_err(|e| e.to_string())?;
        self.count(1)?;
        Ok(byte[0])
    }

    fn count(&mut self, bytes: u64) -> Result<(), String> {
        self.read = self.read.saturating_add(bytes);
        if self.read > MAX_HEADER {
            return Err(format!(
                "a page header is longer than {} MB",
                MAX_HEADER >> 20
            ));
        }
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        self.count(bytes)?;
        let skipped = std::io::copy(&mut self.reader.by_ref().take(bytes), &mut std::io::sink());
        match skipped {
            Ok(skipped) if skipped == bytes => Ok(()),
            Ok(_) => Err("a page header is cut".into()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("an integer of a page header does not end".into())
    }

    fn integer(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn fields(&mut self, depth: u8) -> Result<Fields, String> {
        if depth > MAX_DEPTH {
            return Err("a page header nests too deep".into());
        }
        let mut fields = Fields::default();
        let mut number = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Ok(fields);
            }
            number = match head >> 4 {
                0 => self.integer()?,
                delta => number.saturating_add(delta.into()),
            };
            let field = self.value(head & 0xf, depth)?;
            fields.0.push((number, field));
        }
    }

    fn value(&mut self, kind: u8, depth: u8) -> Result<Field, String> {
        Ok(match kind {
            1 => Field::Bool(true),
            2 => Field::Bool(false),
            3 => {
                self.byte()?;
                Field::Skipped
            }
            4..=6 => Field::Integer(self.integer()?),
            7 => {
                self.skip(8)?;
                Field::Skipped
            }
            8 => {
                let length = self.varint()?;
                self.skip(length)?;
                Field::Skipped
            }
            12 => Field::Struct(self.fields(depth + 1)?),
            other => return Err(format!("a page header holds a value of kind {other}")),
        })
    }
}
