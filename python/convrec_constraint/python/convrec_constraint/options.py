"""What a request to a server says about its lists."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cursor import Cursor
from .trie import Trie

ENVIRONMENT = "CONVREC_TRIE"
"""The environment variable that names the trie files of a server, separated as in ``PATH``."""

FIELDS = ("convrec_seen", "convrec_only", "convrec_n", "convrec_trie")


class OptionsError(ValueError):
    """A request asks for lists that cannot be written."""


@dataclass(frozen=True)
class Options:
    """What may be written for one request. Ids are places in the catalog, from 0."""

    seen: tuple[int, ...] = ()
    """Items that are not written."""
    only: tuple[int, ...] | None = None
    """The only items that may be written; None for all of the catalog."""
    n: int | None = None
    """The number of items in a list; None for the trie's."""
    trie: str | None = None
    """The name of the server's trie file without its suffix; None where it has one."""

    @classmethod
    def of(cls, fields: Mapping[str, Any] | None) -> Options | None:
        """The options among a request's extra fields: ``convrec_seen``, ``convrec_only``,
        ``convrec_n`` and ``convrec_trie``. None where there are none of them: the request's lists
        are not constrained.

        Raises :class:`OptionsError` for a field of another type or with an unknown name.
        """
        ours = {name: value for name, value in (fields or {}).items() if _is_ours(name)}
        if not ours:
            return None
        unknown = sorted(set(ours) - set(FIELDS))
        if unknown:
            raise OptionsError(
                f"unknown field `{unknown[0]}`; expected some of {', '.join(FIELDS)}"
            )
        n, trie = ours.get("convrec_n"), ours.get("convrec_trie")
        if n is not None and not _is_int(n):
            raise OptionsError(f"field `convrec_n`: found {n!r}, expected a number of items")
        if trie is not None and not isinstance(trie, str):
            raise OptionsError(f"field `convrec_trie`: found {trie!r}, expected a trie's name")
        only = ours.get("convrec_only")
        return cls(
            seen=_ids("convrec_seen", ours.get("convrec_seen") or ()),
            only=None if only is None else _ids("convrec_only", only),
            n=n,
            trie=trie,
        )

    def fields(self) -> dict[str, Any]:
        """The fields of a request, for ``vllm_xargs`` of vLLM and ``custom_params`` of SGLang."""
        found: dict[str, Any] = {"convrec_seen": list(self.seen)}
        if self.only is not None:
            found["convrec_only"] = list(self.only)
        if self.n is not None:
            found["convrec_n"] = self.n
        if self.trie is not None:
            found["convrec_trie"] = self.trie
        return found

    def cursor(self) -> Cursor:
        """Begins a list under the server's trie.

        Raises :class:`OptionsError` when there is no such trie, an id is no item's, or too few
        items may be written, and :class:`~convrec_constraint.TrieFileError` or ``OSError`` when
        the file cannot be used.
        """
        trie = _open(*_file(self.trie))
        try:
            return Cursor(trie, seen=self.seen, only=self.only, n=self.n)
        except ValueError as problem:
            raise OptionsError(str(problem)) from problem


def _is_ours(name: object) -> bool:
    return isinstance(name, str) and name.startswith("convrec_")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _ids(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not all(map(_is_int, value)):
        raise OptionsError(f"field `{name}`: found {value!r}, expected a list of item ids")
    return tuple(value)


def _file(name: str | None) -> tuple[str, int]:
    """The path of the trie of this name, and when it was changed."""
    paths = [path for path in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if path]
    if not paths:
        raise OptionsError(f"the server has no trie; set {ENVIRONMENT} to the path of a trie file")
    found = [path for path in paths if name is None or Path(path).stem == name]
    if len(found) != 1:
        names = ", ".join(Path(path).stem for path in paths)
        raise OptionsError(f"field `convrec_trie`: found {name!r}, expected one of {names}")
    return found[0], os.stat(found[0]).st_mtime_ns


@functools.lru_cache(maxsize=8)
def _open(path: str, _changed: int) -> Trie:
    return Trie.open(path)
