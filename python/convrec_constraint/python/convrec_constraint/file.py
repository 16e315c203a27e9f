"""Trie files: little-endian words, mapped into memory (docs/trie-file.md)."""

from __future__ import annotations

import hashlib
import mmap
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .arrays import Lines, Words, problem_of

MAGIC = b"listtrie"
VERSION = 1
HEADER = 96
CHECKSUM = 32
PLAIN, NUMBERED = 0, 1


class TrieFileError(ValueError):
    """The file holds no trie, a damaged one, or one that was made from something else."""


@dataclass(frozen=True)
class Content:
    """What a file holds."""

    numbered: bool
    n: int
    end: int
    n_items: int
    catalog_sha256: bytes
    tokenizer_sha256: bytes
    ranks: tuple[Lines, ...]


def read(path: str | os.PathLike[str]) -> Content:
    """Maps a file and checks it from end to end.

    Raises :class:`TrieFileError` when it is no trie or damaged, ``OSError`` when it cannot be read.
    """
    name = os.fspath(path)

    def damaged(problem: str) -> TrieFileError:
        return TrieFileError(f"{name}: {problem}; make it anew")

    data = _mapped(Path(path))
    if data[: len(MAGIC)] != MAGIC:
        raise damaged("is no token trie; expected a file of `ListTrie::save`")
    if len(data) >= 12 and (version := _word(data, 8)) != VERSION:
        raise damaged(f"is a token trie of version {version}; expected version {VERSION}")
    if len(data) < HEADER + CHECKSUM:
        raise damaged(f"is cut off after {len(data)} bytes")
    with memoryview(data) as view:
        whole = hashlib.sha256(view[:-CHECKSUM]).digest()
    if whole != data[-CHECKSUM:]:
        raise damaged("the checksum is wrong: some bytes are missing or others")

    ranks, style, n, end, n_items = (_word(data, at) for at in (12, 16, 20, 24, 28))
    if style not in (PLAIN, NUMBERED):
        raise damaged(f"list style {style}; expected {PLAIN} (plain) or {NUMBERED} (numbered)")
    if not 1 <= n <= n_items:
        raise damaged(f"lists of {n} items; expected 1 to the {n_items} of its catalog")
    expected = n if style == NUMBERED else 1
    if ranks != expected:
        raise damaged(f"arrays of {ranks} ranks; expected {expected} for its list style")
    body = (len(data) - HEADER - CHECKSUM) // 4
    if ranks > body:
        raise damaged(f"{ranks} ranks, more than its bytes")
    words = np.frombuffer(data, dtype="<u4", count=body, offset=HEADER)
    nodes = [int(count) for count in words[:ranks]]
    if 0 in nodes:
        raise damaged("a rank has no nodes")
    size = 4 * (ranks + sum(3 * count + 2 * n_items for count in nodes))
    if size != len(data) - HEADER - CHECKSUM:
        found = len(data) - HEADER - CHECKSUM
        raise damaged(f"{found} bytes of arrays; expected {size}")

    lines, at = [], ranks
    for rank, count in enumerate(nodes):
        arrays: list[Words] = []
        for length in (count + 1, count - 1, count, n_items, n_items):
            arrays.append(words[at : at + length])
            at += length
        lines.append(Lines(*arrays))
        if problem := problem_of(lines[-1]):
            raise damaged(f"arrays of rank {rank + 1}: {problem}")
    return Content(
        numbered=style == NUMBERED,
        n=n,
        end=end,
        n_items=n_items,
        catalog_sha256=bytes(data[32:64]),
        tokenizer_sha256=bytes(data[64:96]),
        ranks=tuple(lines),
    )


def _mapped(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _word(data: mmap.mmap | bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
