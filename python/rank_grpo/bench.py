"""Speed and memory of the loss beside torch on the same inputs.

Prints a Markdown table. Each row compares one call forward and backward by the log-probabilities:
this package with torch as it is, with torch.compile where it works (it needs a C++ compiler), and
with TRL's own function where TRL is installed. All run on the CPU in float32, with at most the
threads that torch chooses, or those of --threads. This package takes one for the smaller size.

The implementations take turns, so that other work on the machine slows all of them. A ratio is that
of two calls of one turn. Brackets hold the 10th and the 90th percentile. --cpu counts processor
time in place of time on the wall, for a machine with much other work; take --threads 1 with it.
Memory is the growth of the process's resident memory at its peak, with the gradient. Here it begins
with a fresh loss.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
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
SIZES = ((64, 512), (1024, 1024))


Clock = Callable[[], float]


def seconds(call: Callable[[], Any], clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start


def turns(
    calls: dict[str, Callable[[], Any]], budget: float, clock: Clock
) -> dict[str, list[float]]:
    """The milliseconds of each implementation, turn by turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    while time.perf_counter() - begin < budget or len(times["rank_grpo"]) < 5:
        for name, call in calls.items():
            times[name].append(1e3 * seconds(call, clock))
    return times


def shown(values: list[float], digits: int) -> str:
    """The median with the 10th and the 90th percentile."""
    low, high = np.quantile(values, [0.1, 0.9])
    median = statistics.median(values)
    return f"{median:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def status(field: str) -> int:
    """A number of kilobytes from Linux's report on this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def peak(call: Callable[[], Any]) -> str:
    """The megabytes by which resident memory grows during a call, on Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return ""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    kept = call()
    grown = status("VmHWM") - before
    del kept
    return f"{grown / 1024:.1f}"


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


def compare(b: int, t: int, name: str, budget: float, clock: Clock) -> None:
    """Prints the rows of one loss at one size."""
    tables = inputs(b, t)
    tensors = {key: torch.from_numpy(value) for key, value in tables.items()}
    leaf = tensors["log_probs"].requires_grad_()
    constants = [tensors["old"], tensors["ref"], tensors["mask"].float(), tensors["advantages"]]
    given = {"old_log_probs": tables["old"], "ref_log_probs": tables["ref"]}
    given |= {"mask": tables["mask"], "advantages": tables["advantages"]}
    formula, config = grpo, preset("grpo")
    if name == "Rank-GRPO":
        formula, config = rank_grpo, preset("paper")
        constants.append(tensors["ranks"])
        given |= {"segments": tables["ranks"], "n_ranks": N_RANKS}
    config["kl"]["beta"] = BETA
    out = np.empty((b, t), np.float32)
    threads = torch.get_num_threads()
    loss, log_probs = Loss(config, threads=threads), tables["log_probs"]

    def backward(call: Callable[..., torch.Tensor]) -> torch.Tensor:
        (gradient,) = torch.autograd.grad(call(leaf, *constants), leaf)
        return gradient

    rivals: dict[str, Callable[..., torch.Tensor]] = {"torch": formula}
    rivals["torch.compile"] = torch.compile(formula)
    if name == "GRPO" and (trl := trl_loss(tensors)):
        rivals["TRL 1.16.0"] = lambda x, *_: trl(x)
    loss(log_probs, **given, out=out)
    calls: dict[str, Callable[[], Any]] = {"rank_grpo": lambda: loss(log_probs, **given, out=out)}
    for rival, call in rivals.items():
        try:
            found = backward(call).numpy()
        except Exception as error:  # torch.compile without a C++ compiler
            print(f"{rival} was not measured: {type(error).__name__}", file=sys.stderr)
            continue
        assert np.abs(out - found).max() <= 1e-5 * np.abs(found).max(), f"{rival} differs"
        calls[rival] = lambda call=call: backward(call)
    times = turns(calls, budget, clock)
    memory = {rival: peak(call) for rival, call in calls.items()}
    memory["rank_grpo"] = peak(lambda: Loss(config, threads=threads)(log_probs, **given))
    ours = times.pop("rank_grpo")
    for rival, theirs in times.items():
        ratios = [other / own for other, own in zip(theirs, ours, strict=True)]
        row = [f"{b} x {t}", name, rival, shown(theirs, 2), shown(ours, 2), shown(ratios, 1)]
        print(f"| {' | '.join([*row, memory[rival], memory['rank_grpo']])} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the loss beside torch, as a table.")
    parser.add_argument("--threads", type=int, help="torch's threads")
    parser.add_argument("--cpu", action="store_true", help="count processor time")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each loss and size")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu else time.perf_counter
    kind = "processor time" if options.cpu else "time on the wall"
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {kind}\n")
    heading = ["B x T", "loss", "beside", "ms", "rank_grpo, ms", "ratio", "MB", "rank_grpo, MB"]
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    for b, t in SIZES:
        for name in ("GRPO", "Rank-GRPO"):
            compare(b, t, name, options.seconds, clock)


if __name__ == "__main__":
    main()
