"""Golden numbers of TRL 1.16.0's own loss, for crates/rank-grpo/tests/golden_trl.rs.

Calls `GRPOTrainer._compute_loss` on a stand-in for the trainer, in float64, with the
log-probabilities as leaves. Run it where TRL 1.16.0 and torch are installed:

    python make_trl.py > ../../../crates/rank-grpo/tests/data/trl_loss.json
"""

import itertools
import json
import math
import types
from collections import defaultdict

import torch
import trl
from trl.trainer.grpo_trainer import GRPOTrainer

B, T, LONGEST = 3, 5, 8


class Accelerator:
    """One process."""

    num_processes, process_index, sync_gradients, device = 1, 0, True, torch.device("cpu")

    def gather(self, x):
        return x

    def gather_for_metrics(self, x):
        return x

    def reduce(self, x, reduction="sum"):
        return x

    def pad_across_processes(self, x, dim=0, pad_index=0):
        return x


def trainer(case, log_probs, entropies):
    args = types.SimpleNamespace(
        delta=case["delta"],
        sapo_temperature_pos=1.0,
        sapo_temperature_neg=1.05,
        vespo_k_pos=2.0,
        vespo_lambda_pos=3.0,
        vespo_k_neg=3.0,
        vespo_lambda_neg=2.0,
        use_bias_correction_kl=case["use_bias_correction_kl"],
        steps_per_generation=1,
        entropy_target=0.2,
    )
    stand_in = types.SimpleNamespace(
        args=args,
        accelerator=Accelerator(),
        model=types.SimpleNamespace(training=True),
        loss_type=case["loss_type"],
        importance_sampling_level=case["importance_sampling_level"],
        epsilon_low=case["epsilon"],
        epsilon_high=case["epsilon_high"],
        beta=case["beta"],
        top_entropy_quantile=case["top_entropy_quantile"],
        off_policy_mask_threshold=case["off_policy_mask_threshold"],
        use_vllm=case["correction"] is not None,
        vllm_importance_sampling_correction=case["correction"] is not None,
        vllm_importance_sampling_mode=case["correction"],
        max_completion_length=LONGEST,
        current_gradient_accumulation_steps=1,
        entropy_coef=case["entropy_coef"],
        use_adaptive_entropy=False,
        _entropy_bonus_enabled=case["entropy_coef"] != 0.0,
        _last_world_entropy=float("inf"),
        _entropy_window_stats=None,
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
    )
    for name in ["get_high_entropy_mask"]:
        setattr(stand_in, name, types.MethodType(getattr(GRPOTrainer, name), stand_in))
    for name in ["get_off_policy_mask", "get_gamma_weights"]:
        setattr(stand_in, name, getattr(GRPOTrainer, name))
    stand_in._get_per_token_logps_and_entropies = lambda *a, **k: (log_probs, entropies, None)
    return stand_in


def sampler_weights(case, old, sampler, mask):
    """TRL's importance ratios of the sampler; it computes them before the loss."""
    mode, high, low = case["correction"], case["clip_max"], case["clip_min"]
    difference = (old - sampler) * mask
    if mode.startswith("sequence"):
        difference = difference.sum(-1, keepdim=True)
    ratio = torch.exp(difference)
    if mode.endswith("truncate"):
        return torch.clamp(ratio, min=low, max=high)
    out = (ratio < (low if low is not None else -math.inf)) | (ratio > high)
    return ratio.masked_fill(out, 0.0)


def solve(case, generator):
    def table(low, high):
        return low + (high - low) * torch.rand(B, T, generator=generator, dtype=torch.float64)

    log_probs = table(-3.0, -0.05).requires_grad_()
    entropies = table(0.0, 3.0).requires_grad_()
    old, sampler, ref = (log_probs.detach() + table(-0.5, 0.5) for _ in range(3))
    lengths = [5, 3, 4]
    mask = torch.tensor([[int(t < n) for t in range(T)] for n in lengths])
    per_token = case["advantages_per_token"]
    advantages = table(-1.5, 1.5) if per_token else table(-1.5, 1.5)[:, 0]
    inputs = {
        "prompt_ids": torch.zeros(B, 1, dtype=torch.long),
        "prompt_mask": torch.ones(B, 1, dtype=torch.long),
        "completion_ids": torch.zeros(B, T, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
        "num_items_in_batch": torch.tensor(case["num_items_in_batch"]),
    }
    if not case["on_policy"]:
        inputs["old_per_token_logps"] = old
    if case["beta"] != 0.0:
        inputs["ref_per_token_logps"] = ref
    if case["correction"] is not None:
        inputs["sampling_per_token_logps"] = sampler
        inputs["importance_sampling_ratio"] = sampler_weights(case, old, sampler, mask)
    stand_in = trainer(case, log_probs, entropies)
    loss = GRPOTrainer._compute_loss(stand_in, None, inputs)
    loss.backward()
    metrics = {name: values[-1] for name, values in stand_in._metrics["train"].items()}
    gradient = lambda x: None if x.grad is None else x.grad.tolist()
    return {
        **case,
        "log_probs": log_probs.tolist(),
        "entropies": entropies.tolist(),
        "old_log_probs": None if case["on_policy"] else old.tolist(),
        "sampler_log_probs": None if case["correction"] is None else sampler.tolist(),
        "ref_log_probs": ref.tolist() if case["beta"] != 0.0 else None,
        "mask": mask.tolist(),
        "advantages": advantages.tolist() if per_token else [[a] * T for a in advantages.tolist()],
        "loss": loss.item(),
        "gradient": gradient(log_probs),
        "entropy_gradient": gradient(entropies) if case["entropy_coef"] != 0.0 else None,
        "metrics": {k: v for k, v in metrics.items() if isinstance(v, float)},
    }


def cases():
    plain = {
        "importance_sampling_level": "token",
        "epsilon": 0.2,
        "epsilon_high": 0.28,
        "delta": None,
        "beta": 0.0,
        "use_bias_correction_kl": False,
        "top_entropy_quantile": 1.0,
        "entropy_coef": 0.0,
        "off_policy_mask_threshold": None,
        "correction": None,
        "clip_max": None,
        "clip_min": None,
        "on_policy": False,
        "advantages_per_token": False,
        "num_items_in_batch": 12,
    }
    types_ = ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"]
    changes = [
        {},
        {"beta": 0.1},
        {"advantages_per_token": True, "beta": 0.05, "use_bias_correction_kl": True},
        {"off_policy_mask_threshold": 0.02},
        {"off_policy_mask_threshold": 0.0, "advantages_per_token": True},
        {"entropy_coef": 0.3},
        {"entropy_coef": 0.3, "top_entropy_quantile": 0.4, "beta": 0.1},
        {"correction": "token_truncate", "clip_max": 1.3, "clip_min": None},
        {
            "correction": "token_truncate",
            "clip_max": 1.3,
            "clip_min": 0.8,
            "off_policy_mask_threshold": 0.01,
        },
        {"correction": "token_mask", "clip_max": 1.3, "clip_min": 0.8},
        {"correction": "sequence_truncate", "clip_max": 1.2, "clip_min": None},
        {
            "correction": "sequence_mask",
            "clip_max": 1.4,
            "clip_min": 0.7,
            "advantages_per_token": True,
        },
        {"on_policy": True, "beta": 0.1},
        {"num_items_in_batch": 20},
    ]
    for loss_type, change in itertools.product(types_, changes):
        if loss_type == "vespo" and (change.get("correction") or "").startswith("sequence"):
            continue  # TRL refuses it
        case = {**plain, "loss_type": loss_type, **change}
        if loss_type == "cispo":
            case["epsilon_high"] = 1.2
        if loss_type == "vespo":
            case["use_bias_correction_kl"] = False  # TRL takes token ratios there
        if loss_type == "luspo":
            case["importance_sampling_level"] = "sequence"
        if loss_type not in ("dapo", "cispo", "vespo"):
            case["num_items_in_batch"] = 12
        yield case
    for loss_type in ["grpo", "bnpo", "dapo"]:
        yield {**plain, "loss_type": loss_type, "delta": 1.15}
        yield {
            **plain,
            "loss_type": loss_type,
            "importance_sampling_level": "sequence",
            "epsilon": 0.05,
            "epsilon_high": 0.05,
        }


def main():
    generator = torch.Generator().manual_seed(20260)
    solved = [{"id": f"trl-{n}", **solve(case, generator)} for n, case in enumerate(cases())]
    header = {"trl": trl.__version__, "max_completion_length": LONGEST}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in solved)
    print(json.dumps(header)[:-1] + ', "cases": [\n' + lines + "\n]}")


if __name__ == "__main__":
    main()
