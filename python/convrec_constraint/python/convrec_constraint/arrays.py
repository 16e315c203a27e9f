"""The lines of one rank as a trie in flat arrays (docs/trie-file.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Lines:
    """A trie of one line for each of I items, with M nodes. Edge e leads to node e + 1."""

    first: Words
    """The first edge of each node, and one more for the end, ``[M + 1]``."""
    tokens: Words
    """The token of each edge, ascending within a node, ``[M - 1]``."""
    places: Words
    """The place of the first line below each node, ``[M]``."""
    items: Words
    """The item at each place, ``[I]``."""
    place_of: Words
    """The place of each item, ``[I]``."""

    @property
    def root(self) -> Node:
        """The beginning of all lines."""
        return Node(0, 0, len(self.items))

    def edges(self, node: Node) -> tuple[int, int]:
        """The first edge of a node, and the one after its last."""
        return int(self.first[node.number]), int(self.first[node.number + 1])

    def child(self, node: Node, token: int) -> Node:
        """The node that a token leads to, which must be one of the node's."""
        start, end = self.edges(node)
        child = start + int(np.searchsorted(self.tokens[start:end], token)) + 1
        after = node.end if child == end else int(self.places[child + 1])
        return Node(child, int(self.places[child]), after)

    def longest(self, count: int) -> int:
        """The number of tokens of the ``count`` longest lines together."""
        lengths: list[int] = []
        start, end, depth = 0, 1, 0
        while start < end:
            first = self.first[start : end + 1]
            lengths += [depth] * int(np.count_nonzero(first[1:] == first[:-1]))
            start, end, depth = int(first[0]) + 1, int(first[-1]) + 1, depth + 1
        return sum(lengths[-count:])


@dataclass(frozen=True)
class Node:
    """A common beginning of the lines at the places from ``start`` to ``end``."""

    number: int
    start: int
    end: int


def problem_of(lines: Lines) -> str | None:
    """Says what is wrong with the arrays, if a cursor could leave them; all in O(M + I)."""
    first, tokens, places = lines.first, lines.tokens, lines.places
    nodes, count = len(places), len(lines.items)
    if first[0] != 0 or first[nodes] != nodes - 1:
        return "the edges are not all the nodes'"
    if np.any(first[1:] < first[:-1]):
        return "the edges are not in order"
    if np.any(first[:-1] < np.arange(nodes, dtype=np.uint32)):
        return "a node comes before its parent"
    if np.any(lines.place_of >= count) or np.any(
        lines.items[lines.place_of] != np.arange(count, dtype=np.uint32)
    ):
        return "the order of the items is none"
    if places[0] != 0:
        return "the root is not the beginning of all lines"
    ends = np.array([count], dtype=np.uint32)
    start, end = 0, 1
    # The children of a level's nodes are the next level.
    while start < end:
        edges = first[start : end + 1]
        degrees = np.diff(edges.astype(np.int64))
        begins = places[start:end]
        leaf = degrees == 0
        # A begin past its end wraps around in 32 bits, and is no 1 either.
        if np.any(ends[leaf] - begins[leaf] != 1):
            return "several lines end at one node, or none"
        start, end = int(edges[0]) + 1, int(edges[-1]) + 1
        inner = np.flatnonzero(~leaf)
        if len(inner) == 0:
            break
        level_tokens, level_places = tokens[start - 1 : end - 1], places[start:end]
        heads = edges[inner].astype(np.int64) - (start - 1)
        lasts = np.append(heads[1:], end - start) - 1
        follows = np.ones(end - start, dtype=bool)
        follows[heads] = False
        behind = np.flatnonzero(follows)
        if np.any(level_tokens[behind] <= level_tokens[behind - 1]):
            return "the tokens of a node are not ascending"
        if np.any(level_places[heads] != begins[inner]):
            return "the first child does not begin with its parent's lines"
        if np.any(level_places[behind] <= level_places[behind - 1]) or np.any(
            level_places[lasts] >= ends[inner]
        ):
            return "children do not share out their parent's lines"
        next_ends = np.append(level_places[1:], np.uint32(0))
        next_ends[lasts] = ends[inner]
        ends = next_ends
    return None
