"""The loss on numpy tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native

PRESETS = (
    "paper", "authors", "grpo", "bnpo", "gspo", "luspo", "dr_grpo", "dapo", "cispo", "sapo",
    "vespo", "two_sided", "sibling_grpo",
)  # fmt: skip
"""The presets. `"trl:dapo"` and the like are TRL's loss types with TRL's own settings."""


def preset(name: str, max_completion_length: int = 512) -> dict[str, Any]:
    """The settings of a preset, to change and to give to `Loss`.

    Settings have TRL's names where TRL has one. `max_completion_length` counts for `dr_grpo` alone.

    >>> preset("paper")["clip"]
    {'ppo': {'epsilon': 0.06, 'epsilon_high': 0.08, 'delta': None}}
    """
    settings: dict[str, Any] = json.loads(_native.preset(name, max_completion_length))
    return settings


@dataclass(frozen=True)
class LossResult:
    """A loss with its gradients and the numbers to log."""

    loss: float
    gradient: NDArray[Any]
    """d loss / d log_probs, `[B, T]`; 0 for tokens that do not count."""
    entropy_gradient: NDArray[Any] | None
    """d loss / d entropies, `[B, T]`; `None` without an entropy bonus."""
    metrics: dict[str, Any]


class Loss:
    """A member of the loss family, checked.

    `config` is the name of a preset, or settings as `preset` returns them. Settings that make no
    sense raise a `ValueError`. `threads` is the most threads that a call takes, by default as many
    as the machine has. Only large batches take more than one (2**18 tokens or more), and they
    change no bit.
    """

    def __init__(
        self, config: str | dict[str, Any] = "paper", *, threads: int | None = None
    ) -> None:
        self.config = preset(config) if isinstance(config, str) else config
        self._native = _native.Loss(json.dumps(self.config), threads)

    def __call__(
        self,
        log_probs: ArrayLike,
        advantages: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        segments: ArrayLike | None = None,
        n_ranks: int = 0,
        overflow: bool = False,
        old_log_probs: ArrayLike | None = None,
        sampler_log_probs: ArrayLike | None = None,
        ref_log_probs: ArrayLike | None = None,
        entropies: ArrayLike | None = None,
        whole_batch: tuple[int, int] | None = None,
        out: NDArray[Any] | None = None,
    ) -> LossResult:
        """The loss of B completions of T tokens. All tables are `[B, T]`.

        float32 tables stay float32; all others are taken as float64. Sums are in float64.

        Args:
            log_probs: The log-probability of each token under the policy in training.
            advantages: The advantage of each token, or `[B]` for one of each completion.
            mask: The tokens that count; all by default.
            segments: The rank of each token, from 0. Other numbers are no rank.
            n_ranks: N, the ranks of a full list. It must be given with `segments`.
            overflow: Whether the tokens past the last rank are one more segment.
            old_log_probs: Under the policy that sampled; on-policy by default.
            sampler_log_probs: As the sampler reports them, for `correction` and
                `off_policy_mask_threshold`.
            ref_log_probs: Under the reference policy, for `kl`.
            entropies: In nats, for `entropy_coef` and `top_entropy_quantile`.
            whole_batch: (rows, tokens) of the batch that this is a micro-batch of.
            out: A contiguous array `[B, T]` of the same type, to take the gradient.

        Raises:
            ValueError: If tables do not fit, or if one is missing that the settings need.
        """
        values = np.asarray(log_probs)
        if values.dtype != np.float32:
            values = values.astype(np.float64)
        if values.ndim != 2:
            raise ValueError(f"log_probs has {values.ndim} dimensions, expected 2: [B, T]")
        dtype, shape = values.dtype, values.shape

        def table(given: ArrayLike | None, kind: Any = dtype) -> NDArray[Any] | None:
            if given is None:
                return None
            array = np.asarray(given)
            if array.ndim == 1 and len(array) == shape[0]:
                array = np.broadcast_to(array[:, None], shape)
            if array.shape != shape:
                raise ValueError(
                    f"a table has the shape {array.shape}, expected {shape} as log_probs"
                )
            return np.ascontiguousarray(array, dtype=kind).reshape(-1)

        gradient = np.empty(shape, dtype) if out is None else out
        if gradient.shape != shape or gradient.dtype != dtype or not gradient.flags.c_contiguous:
            raise ValueError(f"out must be a contiguous {dtype} array of shape {shape}")
        tables = SimpleNamespace(
            advantages=table(advantages),
            old_log_probs=table(old_log_probs),
            sampler_log_probs=table(sampler_log_probs),
            ref_log_probs=table(ref_log_probs),
            entropies=table(entropies),
            mask=table(np.ones(shape, bool) if mask is None else mask, bool),
            segments=table(segments, np.int64),
            n_ranks=n_ranks,
            overflow=overflow,
            shape=shape,
            whole_batch=whole_batch,
        )
        evaluate = self._native.evaluate_f32 if dtype == np.float32 else self._native.evaluate_f64
        loss, bonus, metrics = evaluate(
            np.ascontiguousarray(values).reshape(-1), tables, gradient.reshape(-1)
        )
        of_entropies = None if bonus is None else np.asarray(bonus, dtype).reshape(shape)
        return LossResult(loss, gradient, of_entropies, json.loads(metrics))
