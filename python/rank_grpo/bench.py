"""Speed of the loss beside torch on the same inputs: forward and backward by the log-probabilities.

Prints the median times in milliseconds and the ratio for torch as it is, for torch.compile where it
works, and for TRL's own function where TRL is installed. All run on the CPU, in float32, with the
threads that torch chooses; this package uses one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rank_grpo import Loss, preset

N_RANKS, BETA = 20, 0.04


def median(call: Callable[[], Any], seconds: float = 3.0) -> float:
    call()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def inputs(b: int, t: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3407)
    lengths = rng.integers(t // 2, t + 1, b)
    mask = np.arange(t) < lengths[:, None]
    log_probs = -3 * rng.random((b, t))
    near = lambda width: (log_probs + width * (rng.random((b, t)) - 0.5)).astype(np.float32)
    return {
        "log_probs": log_probs.astype(np.float32),
        "old": near(0.1),
        "ref": near(0.5),
        "mask": mask,
        "ranks": np.where(mask, np.arange(t) * N_RANKS // lengths[:, None], -1),
        "advantages": rng.normal(size=b).astype(np.float32),
    }


def grpo(log_probs, old, ref, mask, advantages):
    """GRPO as its formula stands."""
    w = (log_probs - old).exp()
    a = advantages[:, None]
    d = ref - log_probs
    loss = -torch.minimum(w * a, w.clamp(0.8, 1.2) * a) + BETA * (d.exp() - d - 1)
    return ((loss * mask).sum(1) / mask.sum(1)).mean()


def rank_grpo(log_probs, old, ref, mask, advantages, ranks):
    """Rank-GRPO as its formula stands: means over ranks by scatter."""
    place = ranks.clamp(0)
    shape = (len(ranks), N_RANKS)
    sizes = log_probs.new_zeros(shape).scatter_add(1, place, mask).clamp(1)
    means = lambda x: log_probs.new_zeros(shape).scatter_add(1, place, x * mask) / sizes
    w = means(log_probs - old).exp()
    a = advantages[:, None]
    d = ref - log_probs
    loss = -torch.minimum(w * a, w.clamp(0.94, 1.08) * a) + BETA * means(d.exp() - d - 1)
    return loss.sum(1).mean() / N_RANKS


def trl_loss(tables: dict[str, torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor] | None:
    try:
        sys.path.insert(0, str(Path(__file__).parent / "golden"))
        import make_trl
    except ImportError:
        return None
    case = {
        "loss_type": "grpo", "importance_sampling_level": "token", "epsilon": 0.2,
        "epsilon_high": 0.2, "delta": None, "beta": BETA, "use_bias_correction_kl": False,
        "top_entropy_quantile": 1.0, "entropy_coef": 0.0, "off_policy_mask_threshold": None,
        "correction": None,
    }  # fmt: skip
    entropies = torch.ones_like(tables["log_probs"])
    given = {
        "prompt_ids": torch.zeros(len(entropies), 1, dtype=torch.long),
        "prompt_mask": torch.ones(len(entropies), 1, dtype=torch.long),
        "completion_ids": torch.zeros(entropies.shape, dtype=torch.long),
        "completion_mask": tables["mask"].long(),
        "advantages": tables["advantages"],
        "old_per_token_logps": tables["old"],
        "ref_per_token_logps": tables["ref"],
    }

    def call(log_probs: torch.Tensor) -> torch.Tensor:
        stand_in = make_trl.trainer(case, log_probs, entropies)
        return make_trl.GRPOTrainer._compute_loss(stand_in, None, given)

    return call


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for b, t in ((64, 512), (1024, 1024)):
        tables = inputs(b, t)
        tensors = {name: torch.from_numpy(value) for name, value in tables.items()}
        leaf = tensors["log_probs"].requires_grad_()
        constants = [tensors["old"], tensors["ref"], tensors["mask"].float(), tensors["advantages"]]
        for name, formula, extra in (
            ("GRPO", grpo, []),
            ("Rank-GRPO", rank_grpo, [tensors["ranks"]]),
        ):
            config = preset("grpo" if name == "GRPO" else "paper")
            config["kl"]["beta"] = BETA
            loss, out = Loss(config), np.empty((b, t), np.float32)
            given = {"old_log_probs": tables["old"], "ref_log_probs": tables["ref"]}
            given |= {"mask": tables["mask"], "advantages": tables["advantages"], "out": out}
            if name != "GRPO":
                given |= {"segments": tables["ranks"], "n_ranks": N_RANKS}
            log_probs = tables["log_probs"]

            def backward(call: Callable[..., torch.Tensor], *given: Any) -> torch.Tensor:
                (gradient,) = torch.autograd.grad(call(leaf, *given), leaf)  # noqa: B023
                return gradient

            ours = median(lambda: loss(log_probs, **given))  # noqa: B023
            expected = backward(formula, *constants, *extra).numpy()
            assert np.abs(out - expected).max() <= 1e-5 * np.abs(expected).max(), "gradients differ"
            print(f"\nB {b} x T {t}, {name}: rank_grpo {ours:.2f} ms")
            rivals = {"torch": formula, "torch.compile": torch.compile(formula)}
            if name == "GRPO" and (trl := trl_loss(tensors)):
                rivals["TRL 1.16.0"] = lambda x, *_, trl=trl: trl(x)
            for rival, call in rivals.items():
                try:
                    theirs = median(lambda: backward(call, *constants, *extra))  # noqa: B023
                except Exception as error:  # torch.compile needs a C++ compiler
                    print(f"  {rival}: not measured ({type(error).__name__})")
                    continue
                print(f"  {rival}: {theirs:.2f} ms, ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
