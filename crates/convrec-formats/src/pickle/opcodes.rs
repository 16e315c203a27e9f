//! The opcodes of Python's `pickletools`.

pub(super) const MARK: u8 = b'(';
pub(super) const EMPTY_TUPLE: u8 = b')';
pub(super) const STOP: u8 = b'.';
pub(super) const BININT: u8 = b'J';
pub(super) const BININT1: u8 = b'K';
pub(super) const BININT2: u8 = b'M';
pub(super) const BINUNICODE: u8 = b'X';
pub(super) const EMPTY_LIST: u8 = b']';
pub(super) const APPEND: u8 = b'a';
pub(super) const APPENDS: u8 = b'e';
pub(super) const BINGET: u8 = b'h';
pub(super) const LONG_BINGET: u8 = b'j';
pub(super) const BINPUT: u8 = b'q';
pub(super) const LONG_BINPUT: u8 = b'r';
pub(super) const TUPLE: u8 = b't';
pub(super) const PROTO: u8 = 0x80;
pub(super) const TUPLE1: u8 = 0x85;
pub(super) const TUPLE2: u8 = 0x86;
pub(super) const TUPLE3: u8 = 0x87;
pub(super) const LONG1: u8 = 0x8a;
pub(super) const SHORT_BINUNICODE: u8 = 0x8c;
pub(super) const BINUNICODE8: u8 = 0x8d;
pub(super) const MEMOIZE: u8 = 0x94;
pub(super) const FRAME: u8 = 0x95;
pub(super) const NONE: u8 = b'N';
pub(super) const NEWTRUE: u8 = 0x88;
pub(super) const NEWFALSE: u8 = 0x89;
pub(super) const BINFLOAT: u8 = b'G';
pub(super) const SHORT_BINBYTES: u8 = b'C';
pub(super) const BINBYTES: u8 = b'B';
pub(super) const EMPTY_DICT: u8 = b'}';
pub(super) const SETITEM: u8 = b's';
pub(super) const SETITEMS: u8 = b'u';
pub(super) const GLOBAL: u8 = b'c';
pub(super) const STACK_GLOBAL: u8 = 0x93;
pub(super) const REDUCE: u8 = b'R';
pub(super) const BUILD: u8 = b'b';
pub(super) const LIST: u8 = b'l';
pub(super) const DICT: u8 = b'd';
pub(super) const INT: u8 = b'I';
pub(super) const LONG: u8 = b'L';
pub(super) const FLOAT: u8 = b'F';
pub(super) const UNICODE: u8 = b'V';
pub(super) const PUT: u8 = b'p';
pub(super) const GET: u8 = b'g';

/// The opcodes that are refused, by name.
const REFUSED: [(u8, &str); 23] = [
    (b'0', "POP"),
    (b'1', "POP_MARK"),
    (b'2', "DUP"),
    (b'P', "PERSID"),
    (b'Q', "BINPERSID"),
    (b'S', "STRING (text of Python 2; save it with Python 3)"),
    (b'T', "BINSTRING (text of Python 2; save it with Python 3)"),
    (
        b'U',
        "SHORT_BINSTRING (text of Python 2; save it with Python 3)",
    ),
    (b'i', "INST"),
    (b'o', "OBJ"),
    (0x81, "NEWOBJ"),
    (0x82, "EXT1"),
    (0x83, "EXT2"),
    (0x84, "EXT4"),
    (0x8b, "LONG4"),
    (0x8e, "BINBYTES8"),
    (0x8f, "EMPTY_SET (a set; save `sorted(items)`)"),
    (0x90, "ADDITEMS"),
    (0x91, "FROZENSET"),
    (0x92, "NEWOBJ_EX"),
    (0x96, "BYTEARRAY8"),
    (0x97, "NEXT_BUFFER"),
    (0x98, "READONLY_BUFFER"),
];

/// The name of an opcode that is refused.
pub(super) fn name(opcode: u8) -> String {
    let found = REFUSED.iter().find(|(refused, _)| *refused == opcode);
    found.map_or_else(
        || format!("{opcode:#04x}, which is none of Python's"),
        |(_, name)| (*name).into(),
    )
}
