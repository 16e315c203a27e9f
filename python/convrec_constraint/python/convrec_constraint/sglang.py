"""A logits processor for SGLang (``sglang.srt.sampling.custom_logit_processor``).

.. code-block:: sh

    CONVREC_TRIE=films.trie python -m sglang.launch_server --model-path MODEL \\
        --enable-custom-logit-processor --disable-overlap-schedule

A request carries ``custom_logit_processor`` (:meth:`CatalogLogitProcessor.to_str`) and, as
``custom_params``, the fields of :class:`~convrec_constraint.Options`.
"""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.sampling.custom_logit_processor import CustomLogitProcessor

from .follow import Follower
from .options import Options
from .rows import keep_only

_STATE = "__convrec__"


class CatalogLogitProcessor(CustomLogitProcessor):  # type: ignore[misc, unused-ignore]
    """Keeps the lists of its requests to the catalog.

    The state of a request stands in its ``custom_params``, which SGLang keeps for each request.
    """

    def __call__(
        self,
        logits: torch.Tensor,
        custom_param_list: list[dict[str, Any] | None] | None = None,
    ) -> torch.Tensor:
        """Masks the logits ``[requests, vocabulary]``, in place.

        Raises :class:`~convrec_constraint.OptionsError` when a request's lists cannot be written.
        SGLang has no way to refuse a request here, so check requests where they are made:
        ``Options(...).cursor()``.
        """
        rows: list[int] = []
        allowed, requests = [], set()
        for row, params in enumerate(custom_param_list or ()):
            if params is None:
                continue
            follower = params.get(_STATE)
            if follower is None:
                options = Options.of(params)
                if options is None:
                    continue
                follower = params[_STATE] = Follower(options.cursor())
            if id(params) in requests:
                raise ValueError("a request has several rows; start SGLang without speculation")
            requests.add(id(params))
            request = params.get("__req__")
            if request is None:
                raise ValueError(
                    "`__req__` is missing; expected a release of SGLang that hands requests to "
                    "custom logit processors"
                )
            rows.append(row)
            allowed.append(follower.allowed(list(request.output_ids)))
        return keep_only(logits, rows, allowed)
