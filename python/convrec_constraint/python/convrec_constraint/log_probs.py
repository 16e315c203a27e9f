"""Log-probabilities under the constraint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .cursor import Cursor


def log_probs(
    cursor: Cursor,
    logits: npt.NDArray[np.floating[Any]],
    tokens: Sequence[int],
    temperature: float = 1.0,
) -> npt.NDArray[np.float64]:
    """The log-probability in nats of each token, ``[T]``, under ``softmax(logits / temperature)``
    renormalised over the tokens that may come next. It is 0 where there is no choice. These are
    the numbers that the Rust trainer computes.

    ``logits`` are ``[T, vocabulary]``, those that each token was drawn from. ``cursor`` stays where
    it is. Raises ``ValueError`` for other shapes and a temperature that is not positive, and
    :class:`~convrec_constraint.NotAllowed` for a token that could not be written.
    """
    if logits.ndim != 2 or len(logits) != len(tokens):
        raise ValueError(
            f"logits have shape {logits.shape}; expected [{len(tokens)}, vocabulary], a row for "
            "each token"
        )
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; expected a positive number")
    cursor = cursor.copy()
    found = np.zeros(len(tokens))
    for row, token in enumerate(tokens):
        allowed = cursor.allowed()
        cursor.push(token)
        scores = logits[row, allowed].astype(np.float64) / temperature
        highest = scores.max()
        chosen = scores[np.searchsorted(allowed, token)]
        found[row] = chosen - highest - np.log(np.exp(scores - highest).sum())
    return found
