"""Damaged files are refused, and no file leads a cursor astray."""

import hashlib
import random

import numpy as np
import pytest
from slow import Catalog, random_catalog

from convrec_constraint import Cursor, TooFewItems, Trie, TrieFileError

CATALOG = Catalog([[[1, 5], [1, 6], [2, 5]]], n=2, end=9)


def test_says_what_it_holds(tmp_path):
    trie = Trie.open(CATALOG.save(tmp_path / "three.trie"))
    assert (trie.n, trie.n_items, trie.end, trie.most) == (2, 3, 9, 3)
    assert repr(trie) == "Trie(n_items=3, n=2, end=9)"
    names = [f"Item {i}" for i in range(3)]
    assert Trie.open(tmp_path / "three.trie", items=names).n == 2
    with pytest.raises(TrieFileError, match="the catalog's names, or their order, differ"):
        Trie.open(tmp_path / "three.trie", items=reversed(names))


def test_twins_are_checked(tmp_path):
    path = CATALOG.save(tmp_path / "three.trie")
    for twins, message in [
        ([[0, 1], [1, 2]], "in two groups"),
        ([[0, 3]], "twins: 3 is no item"),
        ([[0, 1, 2]], "a list of 2 items cannot be made of 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            Trie.open(path, twins=twins)
    with pytest.raises(TooFewItems):
        Cursor(Trie.open(path, twins=[[0, 1]]), seen=[1])


def test_every_changed_byte_and_every_cut_is_found(tmp_path):
    whole = CATALOG.save(tmp_path / "three.trie").read_bytes()
    damaged = tmp_path / "damaged.trie"
    for at in range(len(whole)):
        damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(TrieFileError, match="damaged.trie: .*; make it anew"):
            Trie.open(damaged)
        damaged.write_bytes(whole[:at])
        with pytest.raises(TrieFileError):
            Trie.open(damaged)
    damaged.write_bytes(whole + bytes(4))
    with pytest.raises(TrieFileError, match="checksum"):
        Trie.open(damaged)
    with pytest.raises(FileNotFoundError):
        Trie.open(tmp_path / "missing.trie")


def signed(body):
    return body + hashlib.sha256(body).digest()


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (8, 2, "version 2; expected version 1"),
        (12, 2, "arrays of 2 ranks; expected 1"),
        (16, 2, "list style 2; expected 0 \\(plain\\) or 1"),
        (16, 1, "arrays of 1 ranks; expected 2"),
        (20, 4, "lists of 4 items; expected 1 to the 3"),
        (20, 0, "lists of 0 items"),
        (28, 4, "bytes of arrays; expected"),
        (96, 0, "a rank has no nodes"),
        (96, 7, "bytes of arrays; expected"),
        (100, 1, "arrays of rank 1: the edges are not all the nodes'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, at, value, message):
    body = bytearray(CATALOG.save(tmp_path / "three.trie").read_bytes()[:-32])
    body[at : at + 4] = value.to_bytes(4, "little")
    (tmp_path / "wrong.trie").write_bytes(signed(bytes(body)))
    with pytest.raises(TrieFileError, match=message):
        Trie.open(tmp_path / "wrong.trie")


def test_other_files_are_named(tmp_path):
    for content in (b"", b"hello", b'{"items": []}'):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(TrieFileError, match="is no token trie"):
            Trie.open(tmp_path / "other")


def test_forged_files_are_refused_or_can_be_walked(tmp_path):
    """A file with a right checksum and wrong words: what is not refused admits complete lists."""
    refused = walked = 0
    path = tmp_path / "forged.trie"
    for seed in range(150):
        rng = random.Random(seed)
        body = bytearray(random_catalog(rng).save(path).read_bytes()[:-32])
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(24, len(body) // 4) * 4
            value = rng.choice([rng.randrange(60), 2**32 - 1, body[at] + 1])
            body[at : at + 4] = value.to_bytes(4, "little")
        path.write_bytes(signed(bytes(body)))
        try:
            trie = Trie.open(path)
        except TrieFileError:
            refused += 1
            continue
        cursor = Cursor(trie)
        while not cursor.is_done:
            cursor.push(int(rng.choice(cursor.allowed())))
        assert len(set(cursor.items)) == trie.n
        walked += 1
    assert refused > 100 and walked > 4


def test_the_file_is_mapped_not_copied(tmp_path):
    lines = Trie.open(CATALOG.save(tmp_path / "three.trie")).lines(0)
    assert isinstance(lines.tokens, np.ndarray) and not lines.tokens.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        lines.tokens[0] = 3
