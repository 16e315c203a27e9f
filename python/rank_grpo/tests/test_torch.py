"""The loss against torch autograd, and against TRL's own loss."""

import sys
from pathlib import Path

import numpy as np
import pytest

from rank_grpo import Loss, preset

torch = pytest.importorskip("torch")
from rank_grpo.torch import rank_loss  # noqa: E402


def composed(log_probs, old, ref, ranks, advantages, n_ranks):
    """Rank-GRPO as its formula stands, in torch operations."""
    rows = []
    for b in range(log_probs.size(0)):
        total = log_probs.new_zeros(())
        for k in range(n_ranks):
            of_rank = ranks[b] == k
            if of_rank.any():
                w = (log_probs[b] - old[b])[of_rank].mean().exp()
                a = advantages[b, k]
                d = (ref[b] - log_probs[b])[of_rank]
                policy = -torch.minimum(w * a, w.clamp(0.94, 1.08) * a)
                total = total + policy + 1e-3 * (d.exp() - d - 1).mean()
        rows.append(total / n_ranks)
    return torch.stack(rows).mean()


@pytest.mark.parametrize("dtype,tolerance", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_rank_grpo_is_what_autograd_makes_of_its_formula(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    rand = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)
    ranks = torch.tensor([[0, 0, 1, 1, 2, -1], [0, 1, 1, 2, 2, 2], [0, 0, 0, 0, 1, 3]])
    log_probs = (-3 * rand(3, 6)).to(dtype).requires_grad_()
    old, ref = ((log_probs.detach() + 0.4 * (rand(3, 6) - 0.5)).to(dtype) for _ in range(2))
    advantages = (rand(3, 3) - 0.5).to(dtype)
    expected = composed(log_probs, old, ref, ranks, advantages, 3)
    (gradient,) = torch.autograd.grad(2 * expected, log_probs)
    tokens = torch.where(ranks < 3, advantages.gather(1, ranks.clamp(0, 2)), 0.0)
    found, metrics = rank_loss(
        Loss("paper"), log_probs, advantages=tokens, mask=ranks >= 0, segments=ranks, n_ranks=3,
        old_log_probs=old, ref_log_probs=ref,
    )  # fmt: skip
    (2 * found).backward()
    assert found.dtype == dtype and abs(found.item() - expected.item()) < tolerance
    torch.testing.assert_close(log_probs.grad, gradient, rtol=0, atol=tolerance)
    assert metrics["tokens"] == 16


def test_a_bonus_reaches_the_entropies_and_half_precision_works():
    entropies = torch.tensor([[1.0, 3.0]], requires_grad=True)
    log_probs = torch.tensor([[-1.0, -2.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = Loss({**preset("bnpo"), "entropy_coef": 0.5})
    value, _ = rank_loss(loss, log_probs, entropies=entropies, advantages=torch.tensor([1.0]))
    value.backward()
    assert entropies.grad.tolist() == [[-0.25, -0.25]]
    assert log_probs.grad.dtype == torch.bfloat16 and log_probs.grad.tolist() == [[-0.5, -0.5]]


def test_the_loss_is_that_of_trl():
    pytest.importorskip("trl")
    sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
    import make_trl

    generator = torch.Generator().manual_seed(7)
    for case in make_trl.cases():
        solved = make_trl.solve(case, generator)
        config = preset("trl:" + case["loss_type"], make_trl.LONGEST)
        clip = config["clip"]
        if "ppo" in clip:
            clip["ppo"] = {name: case[name] for name in ("epsilon", "epsilon_high", "delta")}
            config["importance_sampling_level"] = case["importance_sampling_level"]
        if "cispo" in clip:
            clip["cispo"]["epsilon_high"] = case["epsilon_high"]
        if case["beta"]:
            config["kl"] = {
                "beta": case["beta"],
                "use_bias_correction_kl": case["use_bias_correction_kl"],
            }
        if case["correction"]:
            level, mode = case["correction"].split("_")
            bounds = {"clip_max": case["clip_max"], "clip_min": case["clip_min"]}
            config["correction"] = {"level": level, "mode": {mode: bounds}}
        for name in ("top_entropy_quantile", "entropy_coef", "off_policy_mask_threshold"):
            config[name] = case[name]
        whole = case["loss_type"] in ("dapo", "cispo", "vespo") and not case["entropy_coef"]
        names = ("advantages", "old_log_probs", "sampler_log_probs", "ref_log_probs", "entropies")
        found = Loss(config)(
            np.array(solved["log_probs"]),
            mask=np.array(solved["mask"], bool),
            whole_batch=(make_trl.B, case["num_items_in_batch"]) if whole else None,
            **{name: solved[name] for name in names},
        )
        tolerance = 1e-6 if case["loss_type"] == "sapo" else 1e-12
        assert abs(found.loss - solved["loss"]) < tolerance, config
        np.testing.assert_allclose(
            found.gradient, solved["gradient"], rtol=0, atol=tolerance, err_msg=str(config)
        )
