"""The constraint by definition, and trie files by their specification: slow, and apart from the
package."""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Catalog:
    """Items by the tokens of their lines at each rank: one rank, or as many as a list has."""

    ranks: list[list[list[int]]]
    n: int
    end: int
    twins: list[list[int]] = field(default_factory=list)

    @property
    def n_items(self) -> int:
        return len(self.ranks[0])

    def line(self, rank: int, item: int) -> list[int]:
        return self.ranks[min(rank, len(self.ranks) - 1)][item]

    def together(self, item: int) -> set[int]:
        return next((set(group) for group in self.twins if item in group), {item})

    def save(self, path: Path) -> Path:
        """The file of docs/trie-file.md."""
        arrays = [_arrays(lines) for lines in self.ranks]
        style = 0 if len(self.ranks) == 1 else 1
        head = struct.pack("<IIIIII", 1, len(arrays), style, self.n, self.end, self.n_items)
        names = hashlib.sha256("".join(f"Item {i}\n" for i in range(self.n_items)).encode())
        words = [len(places) for _, _, places, _, _ in arrays]
        words += [word for parts in arrays for part in parts for word in part]
        body = (
            b"listtrie" + head + names.digest() + bytes(32) + struct.pack(f"<{len(words)}I", *words)
        )
        path.write_bytes(body + hashlib.sha256(body).digest())
        return path


def _arrays(lines: list[list[int]]) -> tuple[list[int], ...]:
    """Breadth first, by the definition: a node is a prefix."""
    order = sorted(range(len(lines)), key=lambda item: lines[item])
    first, tokens, places = [], [], []
    level: list[tuple[int, ...]] = [()]
    while level:
        below = []
        for prefix in level:
            first.append(len(tokens))
            longer = [lines[i] for i in order if tuple(lines[i][: len(prefix)]) == prefix]
            places.append(next(p for p, i in enumerate(order) if lines[i] == longer[0]))
            for token in sorted({line[len(prefix)] for line in longer if len(line) > len(prefix)}):
                tokens.append(token)
                below.append((*prefix, token))
        level = below
    first.append(len(tokens))
    return first, tokens, places, order, [order.index(item) for item in range(len(lines))]


class SlowCursor:
    """Looks through all items at each token."""

    def __init__(self, catalog, seen=(), only=None, n=None):
        self.catalog, self.n = catalog, n or catalog.n
        self.left = set(range(catalog.n_items) if only is None else only)
        for item in seen:
            self.left -= catalog.together(item)
        self.items, self.prefix, self.done = [], [], False

    def allowed(self) -> list[int]:
        if len(self.items) == self.n:
            return [] if self.done else [self.catalog.end]
        at = len(self.prefix)
        lines = (self.catalog.line(len(self.items), item) for item in self.left)
        return sorted({line[at] for line in lines if line[:at] == self.prefix})

    def push(self, token: int) -> None:
        if len(self.items) == self.n:
            self.done = True
            return
        self.prefix.append(token)
        rank = len(self.items)
        for item in self.left:
            if self.catalog.line(rank, item) == self.prefix:
                self.items.append(item)
                self.left -= self.catalog.together(item)
                self.prefix = []
                return

    def different(self) -> int:
        return len({min(self.catalog.together(item)) for item in self.left})


def random_catalog(rng: random.Random) -> Catalog:
    """Lines over a small vocabulary, so that many begin alike; numbered now and then."""
    count, vocabulary = rng.randint(1, 40), rng.randint(2, 9)
    names: set[tuple[int, ...]] = set()
    for _ in range(count):
        names.add(tuple(rng.randrange(vocabulary) for _ in range(rng.randint(1, 5))))
    # The separator makes no line the beginning of another.
    lines = [[*name, 50] for name in names]
    rng.shuffle(lines)
    n = rng.randint(1, min(5, len(lines)))
    ranks = [lines]
    if n > 1 and rng.random() < 0.3:
        ranks = [[[60 + rank, *line] for line in lines] for rank in range(n)]
    twins = []
    if rng.random() < 0.4 and len(lines) >= n + 4:
        chosen = rng.sample(range(len(lines)), 4)
        twins = [chosen[:2], chosen[2:]]
    return Catalog(ranks, n, end=90, twins=twins)
