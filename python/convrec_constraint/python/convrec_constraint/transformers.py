"""A logits processor for ``generate`` of transformers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import LogitsProcessor

from .arrays import Words
from .cursor import Cursor, NotAllowed
from .follow import Follower
from .rows import keep_only

Key = tuple[int, tuple[int, ...]]


class CatalogLogitsProcessor(LogitsProcessor):  # type: ignore[misc, unused-ignore]
    """Keeps each row of a batch to lists of its own cursor. One processor serves one call of
    ``generate``.

    Sampling, greedy search, beam search and ``num_return_sequences`` work. The rows of one prompt
    are adjacent, as ``generate`` has them. Assisted decoding does not work, as it asks for several
    tokens at once. Prompts may be padded on the left.
    """

    def __init__(self, cursors: Cursor | Sequence[Cursor]) -> None:
        """``cursors`` are those of the prompts, in order; a single one is that of every prompt.
        They must be at the beginning of their lists, and stay there."""
        super().__init__()
        self._cursors = [cursors] if isinstance(cursors, Cursor) else list(cursors)
        if not self._cursors:
            raise ValueError("no cursor; expected one for each prompt")
        self._prompt: int | None = None
        self._length = 0
        # The followers of the last step, by the prompt and what was written after it.
        self._states: dict[Key, Follower] = {}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """``scores`` ``[rows, vocabulary]`` with negative infinity for all that may not follow
        ``input_ids`` ``[rows, length]``.

        Raises ``ValueError`` when the rows are no multiple of the cursors, and when the processor
        was used before.
        """
        length, rows = input_ids.shape[1], input_ids.shape[0]
        if self._prompt is None:
            self._prompt = length
        elif length != self._length + 1:
            raise ValueError(
                f"rows of {length} tokens came after rows of {self._length}; expected one more. "
                "Make a new processor for each call of `generate`, and no assistant model"
            )
        self._length = length
        group, rest = divmod(rows, len(self._cursors))
        if rest or group == 0:
            raise ValueError(
                f"{rows} rows for {len(self._cursors)} cursors; expected as many for each"
            )
        states: dict[Key, Follower] = {}
        allowed: list[Words] = []
        end = np.array([self._cursors[0].trie.end], dtype=np.uint32)
        for row, written in enumerate(input_ids[:, self._prompt :].tolist()):
            key = (row // group, tuple(written))
            if key not in states:
                states[key] = self._follow(key)
            try:
                allowed.append(states[key].allowed(written))
            except NotAllowed:
                # Beam search fills up with candidates of no probability; they stay without any.
                allowed.append(end)
        self._states = states
        return keep_only(scores.clone(), range(rows), allowed)

    def _follow(self, key: Key) -> Follower:
        prompt, written = key
        before = self._states.get((prompt, written[:-1])) if written else None
        return Follower(self._cursors[prompt]) if before is None else before.copy()
