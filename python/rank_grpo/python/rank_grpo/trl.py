"""A TRL trainer with a reward for each rank of a list. For TRL 1.16.0, on one process."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import partial
from typing import Any

import torch
import trl

from .advantages import group_advantages, spread
from .lists import parse_lists
from .loss import Loss, preset
from .torch import rank_loss

UNREAD = (
    "loss_type", "importance_sampling_level", "reward_weights", "multi_objective_aggregation",
    "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos",
    "vespo_k_neg", "vespo_lambda_neg", "entropy_coef", "use_adaptive_entropy", "entropy_coef_min",
    "entropy_coef_max", "entropy_coef_delta", "entropy_target", "off_policy_mask_threshold",
    "use_bias_correction_kl", "router_aux_loss_coef", "use_liger_kernel",
    "vllm_importance_sampling_mode", "vllm_importance_sampling_clip_max",
    "vllm_importance_sampling_clip_min", "vllm_importance_sampling_cap",
)  # fmt: skip
"""Settings of a `GRPOConfig` that TRL's loss reads and this trainer does not."""

REPLACED = ("epsilon", "epsilon_high", "delta", "top_entropy_quantile")
"""Settings that `loss` takes the place of."""


def check_settings(args: Any, has_loss: bool = False) -> None:
    """Raises a `ValueError` that names the settings which would change nothing.

    A setting that is left at TRL's default says nothing, and is passed over.
    """
    defaults: dict[str, Any] = {}
    for field in fields(args):
        made = field.default_factory
        defaults[field.name] = field.default if made is MISSING else made()
    names = UNREAD + (REPLACED if has_loss else ())
    found = [n for n in names if n in defaults and getattr(args, n, None) != defaults[n]]
    use_vllm = getattr(args, "use_vllm", False)
    if use_vllm and getattr(args, "vllm_importance_sampling_correction", False):
        found.append("vllm_importance_sampling_correction")
    if found:
        listed = ", ".join(f"`{name}` = {getattr(args, name)!r}" for name in found)
        raise ValueError(
            f"RankGRPOTrainer does not read {listed}; leave them at their defaults"
            " (vllm_importance_sampling_correction: False), or say what is meant by `loss`:"
            " a preset's name or its settings"
        )


_Trainer: Any = trl.GRPOTrainer  # type: ignore[attr-defined, unused-ignore]


class RankGRPOTrainer(_Trainer):  # type: ignore[misc]
    """Trains completions that are lists, an item a line, with a reward for each of `n_ranks` ranks.

    `rank_rewards` takes `items` (the lists), `prompts` and the data set's columns by name, and
    returns `n_ranks` rewards for each list. The `GRPOConfig` gives `scale_rewards` and the loss;
    `loss`, a preset's name or settings, takes its place. Settings that would change nothing are
    refused by name (`check_settings`). All else is as in `GRPOTrainer`.
    """

    def __init__(self, *args: Any, rank_rewards: Any, n_ranks: int, **kwargs: Any) -> None:
        self.rank_rewards, self.n_ranks, loss = rank_rewards, n_ranks, kwargs.pop("loss", None)
        if "reward_funcs" in kwargs:
            raise ValueError("RankGRPOTrainer takes `rank_rewards` in place of `reward_funcs`")
        super().__init__(*args, reward_funcs=[self._list_reward], **kwargs)
        check_settings(self.args, loss is not None)
        if self.accelerator.num_processes > 1:
            raise ValueError("RankGRPOTrainer needs whole groups: run it on one process")
        config = {**preset("paper"), "top_entropy_quantile": self.top_entropy_quantile}
        low, high, delta = self.epsilon_low, self.epsilon_high, self.args.delta
        config["clip"] = {"ppo": {"epsilon": low, "epsilon_high": high, "delta": delta}}
        config["kl"] = {"beta": self.beta} if self.beta else None
        self.rank_loss = Loss(loss or config)

    def _list_reward(
        self, prompts: Any, completions: Any, completion_ids: Any, **columns: Any
    ) -> Any:
        decode: Any = partial(self.processing_class.decode, skip_special_tokens=True)
        self._ranks, items = parse_lists([[decode([t]) for t in row] for row in completion_ids])
        self._rewards = self.rank_rewards(items=items, prompts=prompts, **columns)
        return [float(sum(row)) for row in self._rewards]

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        output = super()._generate_and_score_completions(inputs)
        mode = "train" if self.model.training else "eval"
        group = self.num_generations if mode == "train" else self.num_generations_eval
        advantages, silent = group_advantages(self._rewards, group, self.scale_rewards)
        self._metrics[mode]["rank_frac_reward_zero_std"].append(silent)
        missing = output["completion_ids"].size(1) - self._ranks.shape[1]
        ranks = torch.nn.functional.pad(torch.from_numpy(self._ranks), (0, missing), value=-1)
        tokens = torch.from_numpy(spread(advantages, ranks, self.n_ranks)).float()
        output["segments"] = ranks.to(self.accelerator.device)
        output["advantages"] = tokens.to(self.accelerator.device)
        return output

    def _compute_loss(self, model: Any, inputs: Any) -> torch.Tensor:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        log_probs, entropies, _ = self._get_per_token_logps_and_entropies(
            model, ids, attention, inputs["completion_ids"].size(1), compute_entropy=True
        )
        loss, metrics = rank_loss(
            self.rank_loss,
            log_probs,
            entropies=entropies,
            advantages=inputs["advantages"],
            mask=inputs["completion_mask"].bool(),
            segments=inputs["segments"],
            n_ranks=self.n_ranks,
            old_log_probs=inputs.get("old_per_token_logps"),
            ref_log_probs=inputs.get("ref_per_token_logps"),
        )
        mode = "train" if self.model.training else "eval"
        for name in ("kl", "entropy", "clip_ratio_region", "ratio_mean", "dropped"):
            self._metrics[mode][name].append(metrics[name] or 0.0)
        return loss / (self.current_gradient_accumulation_steps if mode == "train" else 1)
