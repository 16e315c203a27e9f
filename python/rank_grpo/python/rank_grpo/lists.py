"""One parse of a list: which token belongs to which item, and what the items are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def parse_lists(tokens: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], list[list[str]]]:
    """The rank of each token `[B, T]`, and the items of each completion.

    `tokens` are the texts of the tokens of each completion. Each line that is not blank is an item.
    Ranks and items are counted by the same rule: the tokens with `ranks[b] == k` write
    `items[b][k]`. The end of a line belongs to its item. A blank line belongs to the item after it,
    or to the last one. Short rows are filled up with -1, which is no rank.

    >>> ranks, items = parse_lists([["Hea", "t", "\\n\\n", "Alien"]])
    >>> ranks.tolist(), items
    ([[0, 0, 0, 1]], [['Heat', 'Alien']])
    """
    width = max((len(row) for row in tokens), default=0)
    ranks = np.full((len(tokens), width), -1, np.int64)
    items: list[list[str]] = []
    for row, texts in enumerate(tokens):
        line, lines = "", list[str]()
        for column, text in enumerate(texts):
            ranks[row, column] = len(lines)
            *ended, rest = text.split("\n")
            for part in ended:
                line += part
                if line.strip():
                    lines.append(line.strip())
                line = ""
            line += rest
        if line.strip():
            lines.append(line.strip())
        elif texts:
            # Tokens after the last item, such as its end token, belong to it.
            ranks[row][ranks[row] >= len(lines)] = max(len(lines) - 1, 0)
        items.append(lines)
    return ranks, items
