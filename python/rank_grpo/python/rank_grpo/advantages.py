"""From rewards to advantages.

Rewards are `[B, N]`, one for each rank. The `group_size` samples of a prompt are adjacent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native

Scale = Literal["group", "batch", "none"]
Advantages = tuple[NDArray[np.float64], float]
"""Advantages `[B, N]`, and the share of (group, rank) pairs whose rewards are all equal."""


def _rows(rewards: ArrayLike) -> list[list[float]]:
    table = np.asarray(rewards, np.float64)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2:
        raise ValueError(f"rewards have {table.ndim} dimensions, expected 2: [B, N]")
    rows: list[list[float]] = table.tolist()
    return rows


def _found(found: tuple[Any, float]) -> Advantages:
    values, frac_reward_zero_std = found
    return np.array(values, np.float64), frac_reward_zero_std


def group_advantages(
    rewards: ArrayLike, group_size: int, scale_rewards: Scale = "group"
) -> Advantages:
    """Each reward less its group's mean, divided by its standard deviation; each rank by itself."""
    return _found(_native.group_advantages(_rows(rewards), group_size, scale_rewards))


def ordinal_advantages(rewards: ArrayLike, group_size: int) -> Advantages:
    """Advantages from 2 to -2 by the order of rewards alone (GOPO, arXiv 2602.03876)."""
    return _found(_native.ordinal_advantages(_rows(rewards), group_size))


def _weighted(
    rewards: Sequence[ArrayLike], weights: Sequence[float] | None
) -> list[tuple[float, list[list[float]]]]:
    weights = [1.0] * len(rewards) if weights is None else list(weights)
    if len(weights) != len(rewards):
        raise ValueError(f"{len(weights)} reward_weights for {len(rewards)} tables of rewards")
    return [(float(weight), _rows(table)) for weight, table in zip(weights, rewards, strict=True)]


def sum_then_normalize(
    rewards: Sequence[ArrayLike],
    group_size: int,
    reward_weights: Sequence[float] | None = None,
    scale_rewards: Scale = "group",
) -> Advantages:
    """Advantages of the weighted sum of several tables of rewards. NaN is "no opinion"."""
    return _found(
        _native.sum_then_normalize(_weighted(rewards, reward_weights), group_size, scale_rewards)
    )


def normalize_then_sum(
    rewards: Sequence[ArrayLike], group_size: int, reward_weights: Sequence[float] | None = None
) -> Advantages:
    """Each table of rewards is compared within its groups by itself (GDPO, arXiv 2601.05242)."""
    return _found(_native.normalize_then_sum(_weighted(rewards, reward_weights), group_size))


def condition_rewards(
    rewards: ArrayLike, given: ArrayLike, threshold: float
) -> NDArray[np.float64]:
    """Rewards that count only where `given` reaches the threshold, and are 0 elsewhere."""
    return np.array(_native.condition_rewards(_rows(rewards), _rows(given), threshold))


def sibling_advantages(
    paths: Sequence[Sequence[int]], rewards: Sequence[float], group_size: int
) -> list[list[float]]:
    """Advantages of each step of a path among its siblings (Sibling-GRPO, arXiv 2602.10699)."""
    return _native.sibling_advantages([list(path) for path in paths], list(rewards), group_size)


def spread(advantages: ArrayLike, segments: ArrayLike, n_ranks: int) -> NDArray[np.float64]:
    """The advantage of each token `[B, T]` from those of ranks `[B, N]`; 0 without a rank."""
    ids = np.ascontiguousarray(segments, np.int64)
    if ids.ndim != 2:
        raise ValueError(f"segments have {ids.ndim} dimensions, expected 2: [B, T]")
    return np.array(_native.spread(_rows(advantages), ids.reshape(-1), n_ranks)).reshape(ids.shape)
