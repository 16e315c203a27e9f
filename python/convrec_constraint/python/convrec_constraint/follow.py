"""A cursor that follows the tokens of a request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .arrays import Words
from .cursor import Cursor, NotAllowed


class Follower:
    """The tokens that may come next in a request, given those written so far.

    Engines repeat a step, or begin again, where a request is set back. The list is then walked
    from its beginning.
    """

    def __init__(self, cursor: Cursor) -> None:
        self._begin = cursor
        self._cursor = cursor.copy()
        self._pushed: list[int] = []

    def allowed(self, tokens: Sequence[int]) -> Words:
        """The tokens that may follow ``tokens``, at least one. After the end it is the end token
        again, as an engine may still ask for a row that has ended; what it padded with is ignored.

        Raises :class:`~convrec_constraint.NotAllowed` when ``tokens`` are no beginning of a list:
        the engine drew them without the constraint.
        """
        known = len(self._pushed)
        if len(tokens) < known or list(tokens[:known]) != self._pushed:
            self._cursor, self._pushed = self._begin.copy(), []
            known = 0
        for token in tokens[known:]:
            if not self._cursor.is_done:
                self._push(int(token))
            self._pushed.append(int(token))
        if self._cursor.is_done:
            return np.array([self._cursor.trie.end], dtype=np.uint32)
        return self._cursor.allowed()

    def copy(self) -> Follower:
        """Another one at the same place; cheap."""
        other = Follower(self._begin)
        other._cursor, other._pushed = self._cursor.copy(), list(self._pushed)
        return other

    def _push(self, token: int) -> None:
        try:
            self._cursor.push(token)
        except NotAllowed as problem:
            raise NotAllowed(
                f"{problem}. The engine drew it before it knew the token before; switch off what "
                "runs ahead (SGLang: --disable-overlap-schedule; vLLM: pass the class by "
                "--logits-processors, not as a plugin)"
            ) from None
