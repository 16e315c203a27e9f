"""Writing one list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Lines, Node, Words
from .trie import Ids, Trie

_NONE = np.empty(0, dtype=np.uint32)


class NotAllowed(ValueError):
    """A token cannot come next."""


class Cursor:
    """The state of one list that is written under a :class:`~convrec_constraint.Trie`.

    It admits the lists of ``n`` different items, none of them seen, and then the end token. It
    never enters a beginning without any item left, so :meth:`allowed` is only empty after the end.

    A cursor that writes from the catalog keeps the few items that are used up, one with an
    allow-list keeps those that are left.
    """

    def __init__(
        self,
        trie: Trie,
        *,
        seen: Iterable[int] = (),
        only: Iterable[int] | None = None,
        n: int | None = None,
    ) -> None:
        """Begins a list of ``n`` items (the trie's N where it is None), without those of ``seen``
        and, where ``only`` is given, with none but its items. Both hold ids.

        Raises ``ValueError`` for an id that is no item's and an ``n`` that no list can have, and
        :class:`~convrec_constraint.TooFewItems` when fewer than ``n`` items may be written.
        """
        self._trie = trie
        self._n = trie.checked_n(n)
        used = trie.with_twins(trie.ids(seen, "seen"))
        self._allow_list = only is not None
        # The ids that are left where there is an allow-list, else those that are used up.
        self._ids: Ids = used
        if only is not None:
            self._ids = np.setdiff1d(trie.ids(only, "only"), used)
            trie.check_count(trie.distinct(self._ids), self._n)
        else:
            trie.check_count(trie.distinct_but(used), self._n)
        self._items: list[int] = []
        self._done = False
        self._node: Node
        self._allowed: Words
        self._begin_line()

    @property
    def items(self) -> list[int]:
        """The ids of the items written so far, best first."""
        return list(self._items)

    @property
    def is_done(self) -> bool:
        """Whether the list is complete: its end token is written."""
        return self._done

    @property
    def forced(self) -> int | None:
        """The token that must come next, where there is no choice."""
        return int(self._allowed[0]) if len(self._allowed) == 1 else None

    @property
    def trie(self) -> Trie:
        """The trie."""
        return self._trie

    def allowed(self) -> Words:
        """The tokens that may come next, ascending: none after the end token, one where there is
        no choice. The array must not be written to."""
        return self._allowed

    def is_allowed(self, token: int) -> bool:
        """Whether a token may come next."""
        place = int(np.searchsorted(self._allowed, token))
        return place < len(self._allowed) and int(self._allowed[place]) == token

    def mask(self, logits: npt.NDArray[np.floating[Any]]) -> None:
        """Sets the logits of all tokens that may not come next to negative infinity, in place.

        ``logits`` are ``[vocabulary]``. Raises ``ValueError`` when they have another shape, or none
        for a token that may come next: they are of another tokenizer.
        """
        if logits.ndim != 1:
            raise ValueError(f"logits have shape {logits.shape}; expected [vocabulary]")
        if len(self._allowed) and int(self._allowed[-1]) >= len(logits):
            raise ValueError(
                f"{len(logits)} logits have none for token {int(self._allowed[-1])}; expected the "
                "model of the tokenizer that the trie was made with"
            )
        kept = logits[self._allowed]
        logits.fill(-np.inf)
        logits[self._allowed] = kept

    def push(self, token: int) -> None:
        """Goes on with a token. Raises :class:`NotAllowed` when it is not one of
        :meth:`allowed`; the cursor then stays where it was."""
        if not self.is_allowed(token):
            raise NotAllowed(
                f"token {token} cannot come here after {len(self._items)} items; expected one of "
                f"the {len(self._allowed)} tokens that `allowed` names"
            )
        if len(self._items) == self._n:
            self._done, self._allowed = True, _NONE
            return
        self._node = self._lines.child(self._node, token)
        if self._is_leaf():
            self._end_line(int(self._lines.items[self._node.start]))
        else:
            self._allowed = self._look_ahead()

    def copy(self) -> Cursor:
        """Another cursor at the same place; cheap."""
        other = object.__new__(Cursor)
        other.__dict__.update(self.__dict__)
        other._items = list(self._items)
        return other

    @property
    def _lines(self) -> Lines:
        return self._trie.lines(len(self._items))

    def _is_leaf(self) -> bool:
        start, end = self._lines.edges(self._node)
        return start == end

    def _end_line(self, item: int) -> None:
        self._items.append(item)
        together = self._trie.with_twins(np.array([item], dtype=np.int64))
        if self._allow_list:
            self._ids = self._ids[~np.isin(self._ids, together)]
        else:
            self._ids = np.union1d(self._ids, together)
        if len(self._items) == self._n:
            self._allowed = np.array([self._trie.end], dtype=np.uint32)
        else:
            self._begin_line()

    def _begin_line(self) -> None:
        lines = self._lines
        self._places: Words = np.sort(lines.place_of[self._ids])
        self._node = lines.root
        self._allowed = self._look_ahead()

    def _look_ahead(self) -> Words:
        """The tokens that go on to an item that may be written."""
        lines, node = self._lines, self._node
        start, end = lines.edges(node)
        tokens = lines.tokens[start:end]
        low, high = np.searchsorted(self._places, [node.start, node.end])
        within = self._places[low:high]
        begins = lines.places[start + 1 : end + 1]
        if self._allow_list:
            return tokens[_with_some(begins, within, node.end)]
        if len(within) == 0:
            return tokens
        # There are few items that are used up: only the children above them are looked at.
        children, used = np.unique(
            np.searchsorted(begins, within, side="right") - 1, return_counts=True
        )
        last = len(begins) - 1
        ends = np.where(children == last, node.end, begins[np.minimum(children + 1, last)])
        full = children[used == ends.astype(np.int64) - begins[children]]
        return tokens if len(full) == 0 else np.delete(tokens, full)


def _with_some(begins: Words, left: Words, end: int) -> Ids:
    """The children with a place of ``left`` below them; the last child's places go to ``end``."""
    if len(left) < len(begins):
        return np.unique(np.searchsorted(begins, left, side="right") - 1)
    bounds = np.searchsorted(left, np.append(begins, np.uint32(end)))
    return np.flatnonzero(np.diff(bounds))
