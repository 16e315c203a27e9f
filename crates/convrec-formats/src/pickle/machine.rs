//! The stack machine, as far as it makes data.

use std::collections::HashMap;
use std::rc::Rc;

use super::ADVICE;
use super::numpy::{Callable, Dtype};
use super::opcodes::*;
use convrec_core::shown;

/// A list of dictionaries that hold lists is 3 deep.
const MAX_DEPTH: u8 = 6;

/// The values that a pickle may hold. Clones are shared, and nesting is at most [`MAX_DEPTH`].
#[derive(Debug, Clone)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Bytes(Rc<[u8]>),
    /// Its entries and its depth.
    Tuple(Rc<[Value]>, u8),
    /// Its entries, its depth, and its place in the memo. It may still grow.
    List(Vec<Value>, u8, Option<u32>),
    /// Its entries, its depth, and its place in the memo. It may still grow.
    Dict(Vec<(Value, Value)>, u8, Option<u32>),
    /// A list or dictionary that another value holds. It grows no more, and may be named again.
    Held(Rc<Value>),
    Callable(Callable),
    Dtype(Rc<Dtype>),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a string",
            Value::Bytes(_) => "bytes",
            Value::Tuple(..) => "a tuple",
            Value::List(..) => "a list",
            Value::Dict(..) => "a dictionary",
            Value::Held(value) => value.kind(),
            Value::Callable(_) => "a function",
            Value::Dtype(_) => "a type of numpy",
        }
    }

    /// The place in the memo of a list or dictionary that may still grow.
    fn place(&self) -> Option<u32> {
        match self {
            Value::List(_, _, place) | Value::Dict(_, _, place) => *place,
            _ => None,
        }
    }

    fn hold(&mut self) {
        *self = Value::Held(Rc::new(std::mem::replace(self, Value::None)));
    }

    fn depth(&self) -> u8 {
        match self {
            Value::Tuple(_, depth) | Value::List(_, depth, _) | Value::Dict(_, depth, _) => *depth,
            Value::Held(value) => value.depth(),
            _ => 0,
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
    memo: HashMap<u32, Memo>,
}

enum Memo {
    Known(Value),
    /// A list or dictionary that may still grow, at this height of the stack.
    Open(usize),
}

impl<'a> Machine<'a> {
    /// Takes one opcode. Returns the value at the end.
    fn step(&mut self) -> Result<Option<Value>, String> {
        let opcode = self.byte()?;
        match opcode {
            PROTO => match self.byte()? {
                0..=5 => {}
                other => return Err(format!("pickle protocol {other}; expected 0 to 5")),
            },
            // Frames help readers that stream.
            FRAME => {
                self.take(8)?;
            }
            MARK => self.marks.push(self.stack.len()),
            EMPTY_LIST => self.stack.push(Value::List(Vec::new(), 1, None)),
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
            NONE => self.stack.push(Value::None),
            NEWTRUE => self.stack.push(Value::Bool(true)),
            NEWFALSE => self.stack.push(Value::Bool(false)),
            BINFLOAT => {
                let number = f64::from_be_bytes(self.array()?);
                self.stack.push(Value::Float(number));
            }
            SHORT_BINBYTES => {
                let length = self.byte()?;
                self.bytes(length.into())?;
            }
            BINBYTES => {
                let length = u32::from_le_bytes(self.array()?);
                self.bytes(length as usize)?;
            }
            EMPTY_DICT => self.stack.push(Value::Dict(Vec::new(), 1, None)),
            SETITEM => {
                let pair = self.pop_many(2)?;
                self.set(pair)?;
            }
            SETITEMS => {
                let pairs = self.pop_to_mark()?;
                self.set(pairs)?;
            }
            GLOBAL => {
                let (module, name) = (self.line()?.to_string(), self.line()?.to_string());
                self.callable(&module, &name)?;
            }
            STACK_GLOBAL => match self.pop_many(2)?.as_slice() {
                [Value::Text(module), Value::Text(name)] => self.callable(module, name)?,
                _ => return Err("something is named, but not by text".into()),
            },
            REDUCE => match self.pop_many(2)?.as_slice() {
                [Value::Callable(callable), Value::Tuple(arguments, _)] => {
                    let value = callable.call(arguments)?;
                    self.stack.push(value);
                }
                [other, _] => return Err(format!("{} is called; {ADVICE}", other.kind())),
                _ => return Err("nothing is called".into()),
            },
            BUILD => {
                let state = self.pop()?;
                match (self.stack.last(), state) {
                    (Some(Value::Dtype(dtype)), Value::Tuple(state, _)) => dtype.build(&state),
                    _ => return Err(format!("an object is built; {ADVICE}")),
                }
            }
            // Protocol 0 writes lines of text.
            LIST => {
                let values = self.pop_to_mark()?;
                self.stack.push(Value::List(Vec::new(), 1, None));
                self.append(values)?;
            }
            DICT => {
                let values = self.pop_to_mark()?;
                self.stack.push(Value::Dict(Vec::new(), 1, None));
                self.set(values)?;
            }
            INT => {
                let value = match self.line()? {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    line => Value::Int(number(line)?),
                };
                self.stack.push(value);
            }
            LONG => {
                let line = self.line()?;
                let value = Value::Int(number(line.strip_suffix('L').unwrap_or(line))?);
                self.stack.push(value);
            }
            FLOAT => {
                let value = Value::Float(number(self.line()?)?);
                self.stack.push(value);
            }
            UNICODE => {
                let text = unescaped(self.raw_line()?)?;
                self.stack.push(Value::Text(text.into()));
            }
            PUT => {
                let place = number(self.line()?)?;
                self.memoize(place)?;
            }
            GET => {
                let place = number(self.line()?)?;
                self.name_again(place)?;
            }
            STOP => return self.stop().map(Some),
            other => {
                let name = name(other);
                return Err(format!(
                    "the pickle holds the opcode {name}; expected lists, tuples, dictionaries, \
                     text and numbers; {ADVICE}"
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
        let values = self.held(values);
        match self.stack.last_mut() {
            Some(Value::List(list, list_depth, _)) => {
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

    /// Puts keys and values, in turn, into the dictionary on top of the stack.
    fn set(&mut self, values: Vec<Value>) -> Result<(), String> {
        let depth = depth_above(&values)?;
        if values.len() % 2 == 1 {
            return Err("a key of a dictionary has no value".into());
        }
        let values = self.held(values);
        match self.stack.last_mut() {
            Some(Value::Dict(entries, dict_depth, _)) => {
                let mut values = values.into_iter();
                while let (Some(key), Some(value)) = (values.next(), values.next()) {
                    entries.push((key, value));
                }
                *dict_depth = depth.max(*dict_depth);
                Ok(())
            }
            other => Err(format!(
                "a key is set in {}",
                other.map_or("nothing", |value| value.kind())
            )),
        }
    }

    fn callable(&mut self, module: &str, name: &str) -> Result<(), String> {
        let callable = Callable::named(module, name).ok_or_else(|| {
            format!(
                "the pickle names `{}.{}`, which is not read: nothing in a pickle is executed; {}",
                shown(module),
                shown(name),
                match (module.split('.').next(), name) {
                    (Some("pandas"), _) =>
                        "save `df.to_parquet(path)`, or \
                        `df.to_json(path, orient=\"records\", lines=True)`",
                    (_, "_reconstruct" | "ndarray") => "save `array.tolist()`",
                    _ => ADVICE,
                }
            )
        })?;
        self.stack.push(Value::Callable(callable));
        Ok(())
    }

    fn tuple(&mut self, values: Vec<Value>) -> Result<(), String> {
        let depth = depth_above(&values)?;
        let values = self.held(values);
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

    fn bytes(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        self.stack.push(Value::Bytes(bytes.into()));
        Ok(())
    }

    /// The bytes up to the next line feed.
    fn raw_line(&mut self) -> Result<&'a [u8], String> {
        let left = &self.bytes[self.at..];
        let end = left.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or("the pickle is cut: a line does not end")?;
        self.at += end + 1;
        Ok(&left[..end])
    }

    fn line(&mut self) -> Result<&'a str, String> {
        std::str::from_utf8(self.raw_line()?).map_err(|_| "a line is not UTF-8".into())
    }

    /// A signed integer of any width. 64 bits are enough for years.
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
        let shared = match self.stack.last_mut() {
            None => return Err("nothing is put into the memo".into()),
            Some(Value::List(_, _, memo) | Value::Dict(_, _, memo)) => {
                *memo = Some(place);
                Memo::Open(self.stack.len() - 1)
            }
            Some(value) => Memo::Known(value.clone()),
        };
        self.memo.insert(place, shared);
        Ok(())
    }

    fn name_again(&mut self, place: u32) -> Result<(), String> {
        let value = match self.memo.get(&place) {
            None => return Err(format!("the memo has no place {place}")),
            Some(Memo::Known(value)) => value.clone(),
            Some(Memo::Open(height)) => self.close(*height, place)?,
        };
        self.stack.push(value);
        Ok(())
    }

    /// Finishes a list or dictionary that lies on the stack. Whatever would still grow it is
    /// refused, so that nothing holds itself.
    fn close(&mut self, height: usize, place: u32) -> Result<Value, String> {
        let top = self.stack.len();
        let fills_it = height + 1 == top && self.marks.last().is_none_or(|mark| *mark == top);
        match self.stack.get_mut(height) {
            Some(value) if !fills_it && value.place() == Some(place) => {
                value.hold();
                let value = value.clone();
                self.memo.insert(place, Memo::Known(value.clone()));
                Ok(value)
            }
            _ => Err("a list or dictionary is named twice, the second time within itself".into()),
        }
    }

    /// The values as another value holds them: finished, and in the memo where they have a place.
    fn held(&mut self, mut values: Vec<Value>) -> Vec<Value> {
        for value in &mut values {
            if let Some(place) = value.place() {
                value.hold();
                self.memo.insert(place, Memo::Known(value.clone()));
            }
        }
        values
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

/// The number of a line of protocol 0.
fn number<T: std::str::FromStr>(line: &str) -> Result<T, String> {
    let number = line.trim().parse();
    number.map_err(|_| format!("`{}`; expected a number", shown(line)))
}

/// Text of protocol 0: Latin-1 with escapes for everything else.
fn unescaped(line: &[u8]) -> Result<String, String> {
    let mut text = String::new();
    let mut at = 0;
    while at < line.len() {
        let digits = match &line[at..] {
            [b'\\', b'u', ..] => 4,
            [b'\\', b'U', ..] => 8,
            _ => {
                text.push(char::from(line[at]));
                at += 1;
                continue;
            }
        };
        let code = line
            .get(at + 2..at + 2 + digits)
            .filter(|code| code.iter().all(u8::is_ascii_hexdigit))
            .and_then(|code| u32::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok())
            .ok_or("an escape of this text is no character")?;
        text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        at += 2 + digits;
    }
    Ok(text)
}
