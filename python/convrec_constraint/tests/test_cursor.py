"""Cursors against the constraint by definition."""

import random

import numpy as np
import pytest
from slow import Catalog, SlowCursor, random_catalog

from convrec_constraint import Cursor, NotAllowed, TooFewItems, Trie, log_probs


def options(rng, catalog):
    """Random seen items, allow-list and length."""
    ids = range(catalog.n_items)
    seen = rng.sample(ids, rng.randint(0, min(6, catalog.n_items)))
    only = rng.sample(ids, rng.randint(0, catalog.n_items)) if rng.random() < 0.5 else None
    most = catalog.n if len(catalog.ranks) > 1 else catalog.n_items
    n = rng.randint(1, most) if rng.random() < 0.3 else None
    return {"seen": seen, "only": only, "n": n}


def test_random_lists(tmp_path):
    walked = refused = 0
    for seed in range(150):
        rng = random.Random(seed)
        catalog = random_catalog(rng)
        trie = Trie.open(catalog.save(tmp_path / "random.trie"), twins=catalog.twins)
        for _ in range(4):
            asked = options(rng, catalog)
            slow = SlowCursor(catalog, **asked)
            if slow.different() < slow.n:
                with pytest.raises(TooFewItems):
                    Cursor(trie, **asked)
                refused += 1
                continue
            cursor = Cursor(trie, **asked)
            while not cursor.is_done:
                allowed = slow.allowed()
                assert cursor.allowed().tolist() == allowed, (seed, asked)
                assert cursor.forced == (allowed[0] if len(allowed) == 1 else None)
                wrong = next(token for token in range(100) if token not in allowed)
                with pytest.raises(NotAllowed, match=f"{len(allowed)} tokens"):
                    cursor.push(wrong)
                token = rng.choice(allowed)
                before = cursor.copy()
                cursor.push(token)
                slow.push(token)
                assert before.allowed().tolist() == allowed
            assert cursor.allowed().tolist() == slow.allowed() == []
            assert cursor.items == slow.items
            assert len(set(cursor.items)) == slow.n and not set(cursor.items) & set(asked["seen"])
            walked += 1
    assert walked > 200 and refused > 50


def test_no_list_is_longer_than_the_longest(tmp_path):
    for seed in range(50):
        rng = random.Random(seed)
        catalog = random_catalog(rng)
        trie = Trie.open(catalog.save(tmp_path / "random.trie"))
        for n in {1, catalog.n}:
            lengths = [
                sorted(map(len, lines), reverse=True)[: n if len(catalog.ranks) == 1 else 1]
                for lines in catalog.ranks[:n]
            ]
            assert trie.longest_list(n) == sum(map(sum, lengths)) + 1


@pytest.fixture
def trie(tmp_path):
    return Trie.open(Catalog([[[1, 5], [1, 6], [2, 5]]], n=2, end=9).save(tmp_path / "three.trie"))


def test_masks(trie):
    cursor = Cursor(trie, seen=[2])
    logits = np.arange(12, dtype=np.float32)
    cursor.mask(logits)
    assert logits[1] == 1 and np.isneginf(np.delete(logits, 1)).all()
    with pytest.raises(ValueError, match="1 logits have none for token 1"):
        cursor.mask(np.zeros(1))
    with pytest.raises(ValueError, match="expected \\[vocabulary\\]"):
        cursor.mask(np.zeros((1, 12)))
    for token in (1, 5, 1, 6, 9):
        cursor.push(token)
    cursor.mask(logits := np.zeros(12))
    assert cursor.is_done and cursor.items == [0, 1] and np.isneginf(logits).all()
    with pytest.raises(NotAllowed):
        cursor.push(9)


def test_log_probs_are_renormalised(trie):
    logits = np.random.default_rng(7).normal(size=(5, 12)).astype(np.float32)
    tokens = [1, 6, 2, 5, 9]
    for temperature in (1.0, 0.7):
        found = log_probs(Cursor(trie), logits, tokens, temperature)
        scores = logits.astype(np.float64) / temperature
        share = np.exp(scores[0, [1, 2]])
        assert np.isclose(found[0], np.log(share[0] / share.sum()))
        share = np.exp(scores[1, [5, 6]])
        assert np.isclose(found[1], np.log(share[1] / share.sum()))
        share = np.exp(scores[2, [1, 2]])
        assert np.isclose(found[2], np.log(share[1] / share.sum()))
        assert found[3] == found[4] == 0
    with pytest.raises(NotAllowed):
        log_probs(Cursor(trie), logits, [1, 6, 1, 6, 9])
    with pytest.raises(ValueError, match="a row for"):
        log_probs(Cursor(trie), logits, [1])
    with pytest.raises(ValueError, match="temperature is 0"):
        log_probs(Cursor(trie), logits, tokens, 0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"seen": [3]}, "seen: 3 is no item; expected ids from 0 to 2"),
        ({"only": [-1]}, "only: -1 is no item"),
        ({"seen": ["Heat"]}, "expected item ids"),
        ({"n": 0}, "n is 0; expected 1 to 3"),
        ({"n": 4}, "n is 4; expected 1 to 3"),
        ({"n": True}, "n is True"),
        ({"seen": [0, 1]}, "a list of 2 items cannot be made of 1: there are 3"),
        ({"only": []}, "cannot be made of 0"),
    ],
)
def test_wrong_options_are_named(trie, asked, message):
    with pytest.raises(ValueError, match=message):
        Cursor(trie, **asked)
