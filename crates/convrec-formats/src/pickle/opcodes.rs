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

/// The opcodes that are refused, by name.
const REFUSED: [(u8, &str); 44] = [
    (b'0', "POP"),
    (b'1', "POP_MARK"),
    (b'2', "DUP"),
    (b'B', "BINBYTES"),
    (b'C', "SHORT_BINBYTES"),
    (b'F', "FLOAT"),
    (b'G', "BINFLOAT"),
    (b'I', "INT (protocol 0; save with protocol 2 or later)"),
    (b'L', "LONG (protocol 0; save with protocol 2 or later)"),
    (b'N', "NONE"),
    (b'P', "PERSID"),
    (b'Q', "BINPERSID"),
    (b'R', "REDUCE"),
    (b'S', "STRING (protocol 0; save with protocol 2 or later)"),
    (b'T', "BINSTRING"),
    (b'U', "SHORT_BINSTRING"),
    (b'V', "UNICODE (protocol 0; save with protocol 2 or later)"),
    (b'b', "BUILD"),
    (b'c', "GLOBAL"),
    (b'd', "DICT"),
    (b'g', "GET (protocol 0; save with protocol 2 or later)"),
    (b'i', "INST"),
    (b'l', "LIST (protocol 0; save with protocol 2 or later)"),
    (b'o', "OBJ"),
    (b'p', "PUT (protocol 0; save with protocol 2 or later)"),
    (b's', "SETITEM"),
    (b'u', "SETITEMS"),
    (b'}', "EMPTY_DICT"),
    (0x81, "NEWOBJ"),
    (0x82, "EXT1"),
    (0x83, "EXT2"),
    (0x84, "EXT4"),
    (0x88, "NEWTRUE"),
    (0x89, "NEWFALSE"),
    (0x8b, "LONG4"),
    (0x8e, "BINBYTES8"),
    (0x8f, "EMPTY_SET"),
    (0x90, "ADDITEMS"),
    (0x91, "FROZENSET"),
    (0x92, "NEWOBJ_EX"),
    (0x93, "STACK_GLOBAL"),
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
