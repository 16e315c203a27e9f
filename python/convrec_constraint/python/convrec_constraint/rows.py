"""Masks over a batch of logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from .arrays import Words


def keep_only(logits: torch.Tensor, rows: Sequence[int], allowed: Sequence[Words]) -> torch.Tensor:
    """Sets all logits of some rows of ``[B, vocabulary]`` to negative infinity, but for those of
    the tokens allowed in each; in place. Other rows stay as they are.

    The tokens go to the device of the logits in one copy. Raises ``ValueError`` when a token has no
    logit.
    """
    if not rows:
        return logits
    largest = max(int(tokens[-1]) for tokens in allowed)
    if largest >= logits.shape[-1]:
        raise ValueError(
            f"{logits.shape[-1]} logits have none for token {largest}; expected the model of the "
            "tokenizer that the trie was made with"
        )
    sizes = [len(tokens) for tokens in allowed]
    places = np.stack([np.repeat(rows, sizes), np.concatenate(allowed)]).astype(np.int64)
    row, token = torch.from_numpy(places).to(logits.device)
    kept = logits[row, token]
    logits[torch.tensor(rows, device=logits.device)] = -torch.inf
    logits[row, token] = kept
    return logits
