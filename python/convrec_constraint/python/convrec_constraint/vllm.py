"""A logits processor for vLLM (``vllm.v1.sample.logits_processor``).

.. code-block:: sh

    CONVREC_TRIE=films.trie vllm serve MODEL \\
        --logits-processors convrec_constraint.vllm:CatalogLogitsProcessor \\
        --logprobs-mode processed_logprobs

A request with one of the fields of :class:`~convrec_constraint.Options` in ``vllm_xargs`` (offline:
in ``extra_args``) is constrained, also with ``convrec_seen: []``; others are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from .follow import Follower
from .options import Options
from .rows import keep_only

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig


class CatalogLogitsProcessor(LogitsProcessor):  # type: ignore[misc, unused-ignore]
    """Keeps the lists of constrained requests to the catalog."""

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Raises ``ValueError`` for a request whose lists cannot be written; vLLM then refuses it,
        and goes on."""
        options = Options.of(sampling_params.extra_args)
        if options is not None:
            options.cursor()

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        # The constrained rows of the batch: what follows them, and their tokens so far. vLLM
        # appends to this list.
        self._rows: dict[int, tuple[Follower, list[int]]] = {}

    def is_argmax_invariant(self) -> bool:
        """False: the most likely token may not be allowed."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Keeps up with the requests of the batch: removed, added, moved, in this order."""
        if batch_update is None:
            return
        for row in batch_update.removed:
            self._rows.pop(row, None)
        for row, params, _prompt, output in batch_update.added:
            self._rows.pop(row, None)
            options = Options.of(params.extra_args)
            if options is not None:
                self._rows[row] = (Follower(options.cursor()), output)
        for source, target, direction in batch_update.moved:
            moved, replaced = self._rows.pop(source, None), self._rows.pop(target, None)
            if moved is not None:
                self._rows[target] = moved
            if direction == MoveDirectionality.SWAP and replaced is not None:
                self._rows[source] = replaced

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Masks the logits ``[batch, vocabulary]`` of the constrained rows, in place.

        Raises ``ValueError`` when vLLM does not know the tokens drawn before yet.
        """
        rows: list[int] = []
        allowed = []
        for row, (follower, output) in self._rows.items():
            if output and output[-1] < 0:
                raise ValueError(
                    "the last token is not known yet; pass the class by --logits-processors, not "
                    "as a plugin, or start vLLM with --no-async-scheduling"
                )
            rows.append(row)
            allowed.append(follower.allowed(output))
        return keep_only(logits, rows, allowed)
