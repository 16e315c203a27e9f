"""GRPO, GSPO, DAPO, VESPO and Rank-GRPO as one loss, with a reward for each rank of a list.

`Loss` takes numpy tables and returns the loss with its gradient. `group_advantages` and its kin
make advantages from rewards. `parse_lists` tells which token belongs to which item.
`rank_grpo.torch` has the same loss with autograd, and `rank_grpo.trl` has a trainer for TRL.
"""

from .advantages import (
    condition_rewards,
    group_advantages,
    normalize_then_sum,
    ordinal_advantages,
    sibling_advantages,
    spread,
    sum_then_normalize,
)
from .lists import parse_lists
from .loss import PRESETS, Loss, LossResult, preset

__all__ = [
    "PRESETS",
    "Loss",
    "LossResult",
    "condition_rewards",
    "group_advantages",
    "normalize_then_sum",
    "ordinal_advantages",
    "parse_lists",
    "preset",
    "sibling_advantages",
    "spread",
    "sum_then_normalize",
]
