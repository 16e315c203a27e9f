//! The stack machine, as far as it makes data.

use std::collections::HashMap;
use std::rc::Rc;

use super::opcodes::*;

/// A list of tuples is 2 deep.
const MAX_DEPTH: u8 = 4;

/// What a pickle may hold. Clones are shared, and nesting is at most [`MAX_DEPTH`].
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(Rc<str>),
    Int(i64),
    /// Its entries and its depth.
    Tuple(Rc<[Value]>, u8),
    /// Likewise. Lists may still grow, so they are never shared.
    List(Vec<Value>, u8),
}

impl Value {
    pub(super) fn entries(&self) -> Option<&[Value]> {
        match self {
            Value::List(entries, _) => Some(entries),
            Value::Tuple(entries, _) => Some(entries),
            Value::Text(_) | Value::Int(_) => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Int(_) => "an integer",
            Value::Tuple(..) => "a tuple",
            Value::List(..) => "a list",
        }
    }

    fn depth(&self) -> u8 {
        match self {
            Value::Text(_) | Value::Int(_) => 0,
            Value::Tuple(_, depth) | Value::List(_, depth) => *depth,
        }
    }
}

/// The byte of the opcode that has a problem, and the problem.
pub(super) type Refused = (usize, String);

/// The one value that a pickle makes.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Refused> {
    let mut machine = Machine {
        bytes,
        at: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let start = machine.at;
        if let Some(value) = machine.step().map_err(|problem| (start, problem))? {
            return Ok(value);
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack that opcodes of many values go back to.
    marks: Vec<usize>,
    /// `None` stands for a list, which may not be named again.
    memo: HashMap<u32, Option<Value>>,
}

impl<'a> Machine<'a> {
    /// Takes one opcode; the value at the end.
    fn step(&mut self) -> Result<Option<Value>, String> {
        let opcode = self.byte()?;
        match opcode {
            PROTO => match self.byte()? {
                2..=5 => {}
                other => return Err(format!("pickle protocol {other}; expected 2 to 5")),
            },
            // Frames help readers that stream.
            FRAME => {
                self.take(8)?;
            }
            MARK => self.marks.push(self.stack.len()),
            EMPTY_LIST => self.stack.push(Value::List(Vec::new(), 1)),
            APPEND => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            APPENDS => {
                let values = self.pop_to_mark()?;
                self.append(values)?;
            }
            EMPTY_TUPLE => self.tuple(Vec::new())?,
            TUPLE1 | TUPLE2 | TUPLE3 => {
                let length = (opcode - TUPLE1 + 1) as usize;
                let values = self.pop_many(length)?;
                self.tuple(values)?;
            }
            TUPLE => {
                let values = self.pop_to_mark()?;
                self.tuple(values)?;
            }
            BININT => {
                let number = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(number.into()));
            }
            BININT1 => {
                let number = self.byte()?;
                self.stack.push(Value::Int(number.into()));
            }
            BININT2 => {
                let number = u16::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(number.into()));
            }
            LONG1 => {
                let length = self.byte()? as usize;
                let number = self.long(length)?;
                self.stack.push(Value::Int(number));
            }
            SHORT_BINUNICODE => {
                let length = self.byte()?;
                self.text(length.into())?;
            }
            BINUNICODE => {
                let length = u32::from_le_bytes(self.array()?);
                self.text(length.into())?;
            }
            BINUNICODE8 => {
                let length = u64::from_le_bytes(self.array()?);
                self.text(length)?;
            }
            MEMOIZE => self.memoize(self.memo.len() as u32)?,
            BINPUT => {
                let place = self.byte()?;
                self.memoize(place.into())?;
            }
            LONG_BINPUT => {
                let place = u32::from_le_bytes(self.array()?);
                self.memoize(place)?;
            }
            BINGET => {
                let place = self.byte()?;
                self.name_again(place.into())?;
            }
            LONG_BINGET => {
                let place = u32::from_le_bytes(self.array()?);
                self.name_again(place)?;
            }
            STOP => return self.stop().map(Some),
            other => {
                let name = name(other);
                return Err(format!(
                    "the pickle holds the opcode {name}; only lists, tuples, strings and integers are read"
                ));
            }
        }
        Ok(None)
    }

    fn stop(&mut self) -> Result<Value, String> {
        let value = self.pop()?;
        match (self.stack.len(), self.bytes.len() - self.at) {
            (0, 0) => Ok(value),
            (0, surplus) => Err(format!("{surplus} bytes follow the end of the pickle")),
            (unused, _) => Err(format!("the pickle ends with {unused} values unused")),
        }
    }

    /// Grows the list on top of the stack.
    fn append(&mut self, values: Vec<Value>) -> Result<(), String> {
        let depth = depth_above(&values)?;
        match self.stack.last_mut() {
            Some(Value::List(list, list_depth)) => {
                list.extend(values);
                *list_depth = depth.max(*list_depth);
                Ok(())
            }
            other => Err(format!(
                "something is appended to {}",
                other.map_or("nothing", |value| value.kind())
            )),
        }
    }

    fn tuple(&mut self, values: Vec<Value>) -> Result<(), String> {
        let depth = depth_above(&values)?;
        self.stack.push(Value::Tuple(values.into(), depth));
        Ok(())
    }

    fn text(&mut self, length: u64) -> Result<(), String> {
        let bytes = self.take(length.try_into().unwrap_or(usize::MAX))?;
        let text = std::str::from_utf8(bytes).map_err(|e| {
            format!(
                "byte {} of this string is not UTF-8; expected UTF-8 text",
                e.valid_up_to() + 1
            )
        })?;
        let text = Value::Text(text.into());
        self.stack.push(text);
        Ok(())
    }

    /// A signed integer of any width; of years, 64 bits are enough.
    fn long(&mut self, length: usize) -> Result<i64, String> {
        let bytes = self.take(length)?;
        if length > 8 {
            return Err(format!("an integer of {length} bytes; expected at most 8"));
        }
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
            0xff
        } else {
            0
        };
        let mut number = [sign; 8];
        number[..length].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(number))
    }

    fn memoize(&mut self, place: u32) -> Result<(), String> {
        let shared = match self.stack.last() {
            None => return Err("nothing is put into the memo".into()),
            Some(Value::List(..)) => None,
            Some(value) => Some(value.clone()),
        };
        self.memo.insert(place, shared);
        Ok(())
    }

    fn name_again(&mut self, place: u32) -> Result<(), String> {
        match self.memo.get(&place) {
            None => Err(format!("the memo has no place {place}")),
            Some(None) => Err("a list is named twice; expected each once".into()),
            Some(Some(value)) => {
                let value = value.clone();
                self.stack.push(value);
                Ok(())
            }
        }
    }

    fn pop(&mut self) -> Result<Value, String> {
        Ok(self.pop_many(1)?.remove(0))
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(height) if height >= floor => Ok(self.stack.split_off(height)),
            _ => Err("the stack is empty here".into()),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let height = self.marks.pop().ok_or("there is no mark for this")?;
        Ok(self.stack.split_off(height))
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        Ok(self.take(N)?.try_into().expect("as many as asked for"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let left = &self.bytes[self.at..];
        let taken = left.get(..length).ok_or_else(|| {
            format!(
                "the pickle is cut: {} bytes are left where {length} are needed",
                left.len()
            )
        })?;
        self.at += length;
        Ok(taken)
    }
}

fn depth_above(values: &[Value]) -> Result<u8, String> {
    let depth = values.iter().map(Value::depth).max().unwrap_or(0) + 1;
    if depth > MAX_DEPTH {
        Err(format!("nested more than {MAX_DEPTH} deep"))
    } else {
        Ok(depth)
    }
}
