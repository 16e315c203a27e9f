"""The loss on numpy tables, by finite differences and by its own words."""

import numpy as np
import pytest

from rank_grpo import PRESETS, Loss, preset

RNG = np.random.default_rng(3407)
SHAPE = (3, 7)
RANKS = np.array([[0, 0, 1, 1, 2, 2, -1], [0, 1, 1, 1, 2, 3, 3], [0, 1, 2, -1, -1, -1, -1]])


def tables(dtype=np.float64):
    log_probs = -3 * RNG.random(SHAPE)
    near = lambda: (log_probs + 0.6 * (RNG.random(SHAPE) - 0.5)).astype(dtype)
    given = {
        "advantages": RNG.normal(size=SHAPE).astype(dtype),
        "mask": RANKS >= 0,
        "segments": RANKS,
        "n_ranks": 3,
        "old_log_probs": near(),
        "ref_log_probs": near(),
    }
    return log_probs.astype(dtype), given


@pytest.mark.parametrize("name", [p for p in PRESETS if p not in ("cispo", "vespo")])
def test_gradients_are_those_of_finite_differences(name):
    loss, (log_probs, given) = Loss(name), tables()
    result = loss(log_probs, **given)
    for place in np.ndindex(*SHAPE):
        step = np.zeros(SHAPE)
        step[place] = 1e-6
        up, down = loss(log_probs + step, **given), loss(log_probs - step, **given)
        assert abs((up.loss - down.loss) / 2e-6 - result.gradient[place]) < 1e-6


def test_float32_stays_and_a_buffer_takes_the_gradient():
    loss, (log_probs, given) = Loss(), tables(np.float32)
    out = np.empty(SHAPE, np.float32)
    result = loss(log_probs, **given, out=out)
    assert result.gradient is out and result.gradient.dtype == np.float32
    wide = {
        k: v.astype(np.float64) if getattr(v, "dtype", None) == np.float32 else v
        for k, v in given.items()
    }
    expected = loss(log_probs.astype(np.float64), **wide)
    assert result.loss == expected.loss
    np.testing.assert_array_equal(out, expected.gradient.astype(np.float32))
    assert not result.gradient[RANKS < 0].any()


def test_threads_and_other_segments_change_no_bit():
    log_probs = -3 * RNG.random((256, 1024), np.float32)
    given = {"advantages": RNG.normal(size=256), "old_log_probs": log_probs - np.float32(0.1)}
    loss, one = (Loss({**preset("paper"), "kl": None}, threads=n) for n in (2, 1))
    for n_ranks in (20, 8, 8):  # the segments' memory is used again
        given["segments"] = RNG.integers(-1, n_ranks, log_probs.shape)
        found, expected = (x(log_probs, n_ranks=n_ranks, **given) for x in (loss, one))
        assert found.loss == expected.loss and found.metrics == expected.metrics
        np.testing.assert_array_equal(found.gradient, expected.gradient)
        fresh = Loss(loss.config)(log_probs, n_ranks=n_ranks, **given)
        np.testing.assert_array_equal(found.gradient, fresh.gradient)


def test_one_advantage_of_each_completion_and_defaults():
    result = Loss("bnpo")(np.full((2, 2), -1.0), [1.0, -3.0])
    np.testing.assert_allclose(result.gradient, [[-0.25, -0.25], [0.75, 0.75]])
    assert result.metrics["ratio_mean"] == 1.0 and result.metrics["tokens"] == 4


def test_an_entropy_bonus_has_a_gradient_and_needs_entropies():
    loss, log_probs = Loss({**preset("bnpo"), "entropy_coef": 0.5}), np.full((1, 2), -1.0)
    with pytest.raises(
        ValueError, match="no `entropies`, which the loss config's `entropy_coef` needs"
    ):
        loss(log_probs, [1.0])
    result = loss(log_probs, [0.0], entropies=[[1.0, 3.0]])
    assert result.loss == -1.0
    np.testing.assert_allclose(result.entropy_gradient, [[-0.25, -0.25]])


def test_what_does_not_fit_is_named():
    log_probs = np.zeros((2, 3))
    for message, call in {
        'no preset "gpro"': lambda: Loss("gpro"),
        "unknown field `epsilon`": lambda: Loss({**preset("grpo"), "epsilon": 1}),
        "`clip.ppo.epsilon` is -1": lambda: Loss(
            {**preset("grpo"), "clip": {"ppo": {"epsilon": -1, "epsilon_high": 1}}}
        ),
        "no `ref_log_probs`": lambda: Loss("grpo")(log_probs, [1.0, 2.0]),
        "expected 2: ": lambda: Loss("bnpo")(np.zeros(3), [1.0]),
        "a table has the shape": lambda: Loss("bnpo")(log_probs, np.zeros((3, 2))),
        "n_ranks is 0": lambda: Loss("bnpo")(log_probs, [1.0, 2.0], segments=np.zeros((2, 3))),
        "out must be": lambda: Loss("bnpo")(
            log_probs, [1.0, 2.0], out=np.zeros((2, 3), np.float32)
        ),
        "`whole_batch` has 1 rows": lambda: Loss("bnpo")(log_probs, [1.0, 2.0], whole_batch=(1, 9)),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
