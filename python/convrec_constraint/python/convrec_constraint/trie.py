"""A catalog's token trie."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from . import file
from .arrays import Lines
from .file import TrieFileError

Ids = npt.NDArray[np.int64]


class TooFewItems(ValueError):
    """More items are wanted than may be written."""


class Trie:
    """A token trie over the item lines of a catalog, from the file in which Rust saved it.

    An item's id is its place in the catalog, from 0. The file is mapped into memory, and shared by
    all processes that have it open. It must not be written to meanwhile; replace it instead.
    """

    def __init__(self, content: file.Content, twins: Sequence[Iterable[int]] = ()) -> None:
        """Is :meth:`open`'s; ``twins`` as there."""
        self._content = content
        self._members = [np.unique(_ids(group, self.n_items, "twins")) for group in twins]
        # Items of one group have one name, each other item has its own.
        self._group_of: Ids | None = None
        if self._members:
            self._group_of = np.arange(self.n_items, dtype=np.int64)
            together = np.concatenate(self._members)
            if len(np.unique(together)) < len(together):
                raise ValueError("twins: an item is in two groups; expected each in at most one")
            for number, group in enumerate(self._members):
                self._group_of[group] = self.n_items + number
        surplus = sum(len(group) - 1 for group in self._members if len(group) > 0)
        self._distinct = self.n_items - surplus
        self.check_count(self._distinct, self.n)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        items: Iterable[str] | None = None,
        twins: Sequence[Iterable[int]] = (),
    ) -> Trie:
        """Opens a file and checks it from end to end.

        ``items`` are the catalog's names in order, as ``"Heat (1995)"``. Where they are given, a
        file that was made from another catalog is refused. ``twins`` are groups of ids that are
        one item: where one of a group is written or seen, the others cannot be written either.
        They are no part of the file.

        Raises :class:`TrieFileError` when the file is no trie, damaged, or of another catalog,
        ``OSError`` when it cannot be read, ``ValueError`` when ``twins`` are wrong, and
        :class:`TooFewItems` when they leave fewer than N items.
        """
        trie = cls(file.read(path), twins)
        if items is not None and _hash(items) != trie._content.catalog_sha256:
            raise TrieFileError(
                f"{os.fspath(path)} was made from something else: the catalog's names, or their "
                "order, differ; make it anew, or give what it was made from"
            )
        return trie

    @property
    def n(self) -> int:
        """N, the number of items in a list where a cursor is not asked for another."""
        return self._content.n

    @property
    def n_items(self) -> int:
        """The number of items in the catalog."""
        return self._content.n_items

    @property
    def end(self) -> int:
        """The token that ends a list."""
        return self._content.end

    @property
    def most(self) -> int:
        """The most items that a list may have: numbered lines are made for N ranks."""
        return self.n if self._content.numbered else self.n_items

    def longest_list(self, n: int | None = None) -> int:
        """No list of ``n`` items has more tokens, the end token included."""
        n = self.checked_n(n)
        ranks = self._content.ranks
        if len(ranks) == 1:
            return ranks[0].longest(n) + 1
        return sum(lines.longest(1) for lines in ranks[:n]) + 1

    def lines(self, rank: int) -> Lines:
        """The lines that can stand at a rank, from 0."""
        ranks = self._content.ranks
        return ranks[min(rank, len(ranks) - 1)]

    @property
    def lines_of_each_rank(self) -> bool:
        """Whether the lines of each rank have tokens of their own."""
        return len(self._content.ranks) > 1

    def with_twins(self, ids: Ids) -> Ids:
        """These items and their twins, ascending, each once."""
        if self._group_of is None:
            return np.unique(ids)
        groups = self._group_of[ids]
        found = np.unique(groups[groups >= self.n_items]) - self.n_items
        return np.unique(np.concatenate([ids, *(self._members[group] for group in found)]))

    def checked_n(self, n: int | None) -> int:
        """``n``, or N where it is None. Raises ``ValueError`` when no list can have so many."""
        if n is None:
            return self.n
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= self.most:
            why = "its lines are numbered" if self._content.numbered else "the items there are"
            raise ValueError(f"n is {n!r}; expected 1 to {self.most}, {why}")
        return n

    def distinct(self, ids: Ids) -> int:
        """The number of different items among these; twins are one."""
        return len(ids) if self._group_of is None else len(np.unique(self._group_of[ids]))

    def distinct_but(self, used: Ids) -> int:
        """The number of different items but for these, which must hold whole groups."""
        return self._distinct - self.distinct(used)

    def check_count(self, left: int, n: int) -> None:
        """Raises :class:`TooFewItems` when ``left`` different items are fewer than ``n``."""
        if left < n:
            raise TooFewItems(
                f"a list of {n} items cannot be made of {left}: there are {self._distinct} in the "
                "catalog, and the others may not be written; ask for shorter lists (n), or allow "
                "more items"
            )

    def ids(self, ids: Iterable[int], name: str) -> Ids:
        """Ids as an array, in their order. Raises ``ValueError`` for one that is no item's."""
        return _ids(ids, self.n_items, name)

    def __repr__(self) -> str:
        return f"Trie(n_items={self.n_items}, n={self.n}, end={self.end})"


def _ids(ids: Iterable[int], n_items: int, name: str) -> Ids:
    given = ids if isinstance(ids, np.ndarray) else list(ids)
    array = np.asarray(given)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name}: found {array.dtype} of {array.ndim} dimensions; expected item ids"
        )
    wrong = (array < 0) | (array >= n_items)
    if wrong.any():
        raise ValueError(
            f"{name}: {array[wrong][0]} is no item; expected ids from 0 to {n_items - 1}, which "
            "are places in the catalog"
        )
    return array.astype(np.int64)


def _hash(items: Iterable[str]) -> bytes:
    digest = hashlib.sha256()
    for name in items:
        digest.update(f"{name}\n".encode())
    return digest.digest()
