"""Advantages and the parse of lists."""

import doctest

import numpy as np
import pytest

import rank_grpo
from rank_grpo import (
    condition_rewards,
    group_advantages,
    normalize_then_sum,
    ordinal_advantages,
    parse_lists,
    sibling_advantages,
    spread,
    sum_then_normalize,
)

REWARDS = np.random.default_rng(1).normal(size=(8, 3))


def by_numpy(rewards, group):
    grouped = rewards.reshape(-1, group, rewards.shape[1])
    normal = (grouped - grouped.mean(1, keepdims=True)) / (
        grouped.std(1, ddof=1, keepdims=True) + 1e-4
    )
    return normal.reshape(rewards.shape)


def test_advantages_are_those_of_numpy():
    found, silent = group_advantages(REWARDS, 4)
    np.testing.assert_allclose(found, by_numpy(REWARDS, 4), atol=1e-12)
    assert silent == 0.0
    other = REWARDS[::-1] ** 3
    found, _ = sum_then_normalize([REWARDS, other], 4, [1.0, 0.5])
    np.testing.assert_allclose(found, by_numpy(REWARDS + 0.5 * other, 4), atol=1e-12)
    found, _ = normalize_then_sum([REWARDS, other], 4, [1.0, 0.5])
    total = by_numpy(REWARDS, 4) + 0.5 * by_numpy(other, 4)
    np.testing.assert_allclose(found, total / (total.std(0, ddof=1) + 1e-4), atol=1e-12)


def test_completions_without_an_opinion_are_no_part_of_their_group():
    rewards = np.array([1.0, np.nan, 3.0, np.nan])
    found, _ = sum_then_normalize([rewards, np.full(4, np.nan)], 4, scale_rewards="none")
    assert found.ravel().tolist() == [-1.0, 0.0, 1.0, 0.0]


def test_the_others_in_short():
    assert ordinal_advantages([0.1, 9.0, 0.2], 3)[0].ravel().tolist() == [-2.0, 2.0, 0.0]
    assert condition_rewards([[1.0, 2.0]], [[0.0, 1.0]], 0.5).tolist() == [[0.0, 2.0]]
    steps = sibling_advantages([[7, 1], [7, 2]], [1.0, 0.0], 2)
    assert steps[0][0] == 0.0 and steps[0][1] > 0.99 and steps[1][1] < -0.99
    assert spread([[1.0, 2.0]], [[0, 0, 1, -1, 2]], 2).tolist() == [[1.0, 1.0, 2.0, 0.0, 0.0]]
    for wrong in (lambda: group_advantages(REWARDS, 3), lambda: group_advantages([np.inf], 1)):
        with pytest.raises(ValueError):
            wrong()


def test_ranks_and_items_are_one_parse():
    lists = ["Heat\nAlien\n\n Up\n", "", "\n\nOnly", "no newline", "  \n "]
    ranks, items = parse_lists([list(text) for text in lists])
    assert items == [["Heat", "Alien", "Up"], [], ["Only"], ["no newline"], []]
    for text, row, found in zip(lists, ranks, items, strict=True):
        assert (row[len(text) :] == -1).all()
        for rank, item in enumerate(found):
            written = "".join(c for c, r in zip(text, row, strict=False) if r == rank)
            assert written.strip() == item
        assert row.max() < max(len(found), 1)


def test_the_examples_in_the_documentation():
    for module in (rank_grpo.lists, rank_grpo.loss):
        found = doctest.testmod(module)
        assert found.attempted > 0 and found.failed == 0
