"""The same allowed tokens as the Rust trie, along the lists that its example walked:

cargo run --release -p convrec-text --example allowed_sets -- python/convrec_constraint/tests/data
"""

import hashlib
import json
import struct
from pathlib import Path

from convrec_constraint import Cursor, Trie

DATA = Path(__file__).parent / "data"


def test_the_same_sets_as_rust():
    lists = json.loads((DATA / "allowed_sets.json").read_text())
    names = {found["trie"] for found in lists}
    assert names == {"plain", "numbered", "ids", "all"}
    sets = 0
    for found in lists:
        path = DATA / f"{found['trie']}.trie"
        trie = Trie.open(path, twins=found["twins"])
        assert trie.longest_list() == found["longest"]
        # An allow-list of all that was not seen is the same constraint.
        twins = {item: group for group in found["twins"] for item in group}
        seen = {twin for item in found["seen"] for twin in twins.get(item, [item])}
        only = [item for item in range(trie.n_items) if item not in seen]
        cursors = [Cursor(trie, seen=found["seen"]), Cursor(trie, only=only)]
        for token, allowed in zip(found["tokens"], found["allowed"], strict=True):
            for cursor in cursors:
                assert cursor.allowed().tolist() == allowed, found["trie"]
                cursor.push(token)
            sets += 1
        assert all(cursor.is_done and cursor.items == found["items"] for cursor in cursors)
    assert any(found["twins"] for found in lists) and any(found["seen"] for found in lists)
    assert sets > 800


def test_the_example_of_the_specification(tmp_path):
    """The bytes that docs/trie-file.md shows."""
    header = b"listtrie" + struct.pack("<6I", 1, 1, 0, 1, 9, 2) + bytes(64)
    words = [3, 0, 2, 2, 2, 3, 5, 0, 0, 1, 1, 0, 1, 0]
    body = header + struct.pack("<14I", *words)
    path = tmp_path / "two.trie"
    path.write_bytes(body + hashlib.sha256(body).digest())
    assert path.stat().st_size == 184
    cursor = Cursor(Trie.open(path))
    assert cursor.allowed().tolist() == [3, 5]
    cursor.push(3)
    cursor.push(9)
    assert cursor.items == [1] and cursor.is_done
