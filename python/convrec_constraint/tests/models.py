"""Where tests find SmolLM2-135M-Instruct, and the trie of some films."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from convrec_constraint import Trie

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[3]


def smollm2() -> Path:
    """The model's folder; skips the test, and says so, where there is none."""
    folder = Path(os.environ.get("CONVREC_MODELS", ROOT / "models")) / "smollm2-135m-instruct"
    if not (folder / "config.json").exists():
        message = f"SKIPPED: there is no {folder}; set CONVREC_MODELS"
        assert not os.environ.get("CONVREC_REQUIRE_ALL"), message
        print(message, file=sys.__stderr__)
        pytest.skip(message)
    return folder


def films() -> Trie:
    """The trie, checked against its catalog."""
    rows = [json.loads(line) for line in (DATA / "films.jsonl").read_text().splitlines()]
    return Trie.open(DATA / "films.trie", items=[f"{r['title']} ({r['year']})" for r in rows])


def rust_lists() -> dict:
    """What the Rust policy wrote."""
    return json.loads((DATA / "smollm2_lists.json").read_text())
