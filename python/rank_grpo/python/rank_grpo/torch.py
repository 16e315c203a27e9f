"""The loss with torch autograd."""

from __future__ import annotations

from typing import Any

import torch

from .loss import Loss


class _RankLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        log_probs: torch.Tensor,
        entropies: torch.Tensor | None,
        loss: Loss,
        tables: dict[str, Any],
        metrics: dict[str, Any],
    ) -> torch.Tensor:
        def host(x: Any) -> Any:
            if not isinstance(x, torch.Tensor):
                return x
            x = x.detach()
            return (x.float() if x.dtype in (torch.bfloat16, torch.float16) else x).cpu().numpy()

        given = {name: host(value) for name, value in tables.items()}
        result = loss(host(log_probs), entropies=host(entropies), **given)
        metrics.update(result.metrics)

        def like(gradient: Any, tensor: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(gradient).to(tensor.device, tensor.dtype)

        bonus = result.entropy_gradient
        ctx.has_bonus = bonus is not None and entropies is not None
        saved = [like(result.gradient, log_probs)]
        if bonus is not None and entropies is not None:
            saved.append(like(bonus, entropies))
        ctx.save_for_backward(*saved)
        return torch.tensor(result.loss, dtype=torch.float64).to(log_probs.device, log_probs.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        saved = ctx.saved_tensors
        bonus = saved[1] * grads[0] if ctx.has_bonus else None
        return saved[0] * grads[0], bonus, None, None, None


def rank_loss(
    loss: Loss, log_probs: torch.Tensor, *, entropies: torch.Tensor | None = None, **tables: Any
) -> tuple[torch.Tensor, dict[str, Any]]:
    """The loss as a tensor to call `backward` on, and the numbers to log.

    `log_probs` and `entropies` are `[B, T]` on any device, and gradients go to both. The other
    tables are those of `Loss`, as tensors or arrays; they are constants. bfloat16 and float16 are
    computed as float32.
    """
    metrics: dict[str, Any] = {}
    value = _RankLoss.apply(log_probs, entropies, loss, tables, metrics)
    return value, metrics
