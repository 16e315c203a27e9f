"""vLLM and SGLang where they are installed; else stubs of the interfaces that they publish."""

from __future__ import annotations

import abc
import enum
import sys
import types
from dataclasses import dataclass


def _module(name: str, **content) -> None:
    """A module, and its packages."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    vars(sys.modules[name]).update(content)


def _stub_vllm() -> None:
    class MoveDirectionality(enum.Enum):
        UNIDIRECTIONAL = enum.auto()
        SWAP = enum.auto()

    @dataclass(frozen=True)
    class BatchUpdate:
        batch_size: int
        removed: list
        added: list
        moved: list

    class LogitsProcessor(abc.ABC):
        @abc.abstractmethod
        def apply(self, logits): ...

        @abc.abstractmethod
        def is_argmax_invariant(self): ...

        @abc.abstractmethod
        def update_state(self, batch_update): ...

    _module(
        "vllm.v1.sample.logits_processor",
        BatchUpdate=BatchUpdate,
        LogitsProcessor=LogitsProcessor,
        MoveDirectionality=MoveDirectionality,
        STUB=True,
    )


def _stub_sglang() -> None:
    class CustomLogitProcessor(abc.ABC):
        @abc.abstractmethod
        def __call__(self, logits, custom_param_list=None): ...

    _module(
        "sglang.srt.sampling.custom_logit_processor",
        CustomLogitProcessor=CustomLogitProcessor,
        STUB=True,
    )


try:
    import vllm.v1.sample.logits_processor  # noqa: F401
except ImportError:
    _stub_vllm()
try:
    import sglang.srt.sampling.custom_logit_processor  # noqa: F401
except ImportError:
    _stub_sglang()
