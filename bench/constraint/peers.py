"""Measures libraries for Python at the walks of ``constraint-bench prepare``, as the Rust program
measures its own: ``python peers.py LIBRARY FORM --folder OUT --items N --tokenizer NAME``.

Each prints a JSON line when the constraint is made, and one when all lists are written.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

N = 20


class Walk(NamedTuple):
    seen: list[int]
    text: str
    tokens: list[int]


class Inputs(NamedTuple):
    names: list[str]
    vocabulary: list[bytes]
    end: int
    walks: list[Walk]
    trie: Path
    tokenizer: Path


class Constraint:
    """What a library does here. A walker is the state of one list."""

    def begin(self, walk: Walk) -> Any:
        """A walker at the beginning, with its first mask made."""
        raise NotImplementedError

    def step(self, walker: Any, token: int) -> bool:
        """Whether the token is accepted; then the next mask is made too."""
        raise NotImplementedError

    def allows(self, walker: Any, token: int) -> bool:
        """Whether the mask has the token."""
        raise NotImplementedError

    def passes(self, walk: Walk) -> int:
        """The forward passes of a list."""
        return len(walk.tokens)


class XGrammar(Constraint):
    def __init__(self, form: str, inputs: Inputs) -> None:
        import xgrammar

        self.xgrammar = xgrammar
        special = [b"" for _ in inputs.vocabulary]
        info = xgrammar.TokenizerInfo(
            [token or special[n] for n, token in enumerate(inputs.vocabulary)],
            xgrammar.VocabType.RAW,
            vocab_size=len(inputs.vocabulary),
            stop_token_ids=[inputs.end],
        )
        compiler = xgrammar.GrammarCompiler(info, max_threads=2, cache_enabled=False)
        if form == "json":
            schema = {
                "type": "array",
                "items": {"enum": inputs.names},
                "minItems": N,
                "maxItems": N,
            }
            self.compiled = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
        elif form == "regex":
            self.compiled = compiler.compile_regex(regex(inputs.names))
        else:
            lines = " | ".join(quoted(f"{name}\n") for name in inputs.names)
            self.compiled = compiler.compile_grammar(f"root ::= line{{{N}}}\nline ::= {lines}\n")
        self.bits = xgrammar.allocate_token_bitmask(1, len(inputs.vocabulary))
        self.inputs = inputs

    def begin(self, walk: Walk) -> Any:
        matcher = self.xgrammar.GrammarMatcher(self.compiled)
        matcher.fill_next_token_bitmask(self.bits)
        return matcher

    def step(self, walker: Any, token: int) -> bool:
        if not walker.accept_token(token):
            return False
        walker.fill_next_token_bitmask(self.bits)
        return True

    def allows(self, walker: Any, token: int) -> bool:
        return bool(int(self.bits[0, token // 32]) >> (token % 32) & 1)

    def passes(self, walk: Walk) -> int:
        from tokenizers import Tokenizer

        if not hasattr(self, "tokenizer"):
            self.tokenizer = Tokenizer.from_file(str(self.inputs.tokenizer))
        matcher = self.xgrammar.GrammarMatcher(self.compiled)
        place, passes, text = 0, 0, walk.text.encode()
        while place < len(text):
            forced = matcher.find_jump_forward_string()
            if forced:
                assert matcher.accept_string(forced)
                place += len(forced.encode())
            if place < len(text):
                token = self.tokenizer.encode(text[place:].decode(), add_special_tokens=False).ids[
                    0
                ]
                assert matcher.accept_token(token)
                place += len(self.inputs.vocabulary[token])
                passes += 1
        return passes + 1


class Outlines(Constraint):
    def __init__(self, form: str, inputs: Inputs) -> None:
        import outlines_core

        self.outlines = outlines_core
        vocabulary: dict[bytes, list[int]] = {}
        for number, token in enumerate(inputs.vocabulary):
            if token:
                vocabulary.setdefault(token, []).append(number)
        wanted = regex(inputs.names)
        if form == "json":
            names = "|".join(
                re.escape(json.dumps(name, ensure_ascii=False)) for name in inputs.names
            )
            wanted = rf"\[(?:{names})(?:, (?:{names})){{{N - 1}}}\]"
        elif form == "lines":
            # Any number of lines: exactly N takes N copies of the automaton.
            wanted = wanted.removesuffix(f"{{{N}}}") + "+"
        self.index = outlines_core.Index(wanted, outlines_core.Vocabulary(inputs.end, vocabulary))
        self.bits = np.zeros(-(-len(inputs.vocabulary) // 32), dtype=np.int32)

    def _mask(self, guide: Any) -> None:
        guide.write_mask_into(self.bits.ctypes.data, len(self.bits), self.bits.itemsize)

    def begin(self, walk: Walk) -> Any:
        guide = self.outlines.Guide(self.index)
        self._mask(guide)
        return guide

    def step(self, walker: Any, token: int) -> bool:
        try:
            walker.advance(token, return_tokens=False)
        except ValueError:
            return False
        self._mask(walker)
        return True

    def allows(self, walker: Any, token: int) -> bool:
        return bool(int(self.bits[token // 32]) >> (token % 32) & 1)


class Ours(Constraint):
    def __init__(self, form: str, inputs: Inputs) -> None:
        from convrec_constraint import Trie

        self.trie = Trie.open(inputs.trie)
        self.logits = np.zeros(len(inputs.vocabulary), dtype=np.float32)

    def begin(self, walk: Walk) -> Any:
        from convrec_constraint import Cursor

        cursor = Cursor(self.trie, seen=walk.seen)
        cursor.mask(self.logits)
        return cursor

    def step(self, walker: Any, token: int) -> bool:
        if not walker.is_allowed(token):
            return False
        walker.push(token)
        walker.mask(self.logits)
        return True

    def allows(self, walker: Any, token: int) -> bool:
        return bool(walker.is_allowed(token))

    def passes(self, walk: Walk) -> int:
        walker, passes = self.begin(walk), 0
        for token in walk.tokens:
            passes += walker.forced is None
            walker.push(token)
        return passes


LIBRARIES: dict[str, Callable[[str, Inputs], Constraint]] = {
    "xgrammar": XGrammar,
    "outlines-core": Outlines,
    "convrec_constraint": Ours,
}


def regex(names: list[str]) -> str:
    # `re.escape` writes a backslash before spaces, which not all of them read.
    names = [re.sub(r"([^\w ])", r"\\\1", name, flags=re.ASCII) for name in names]
    names = [re.sub(r"\\([^\x00-\x7f])", r"\1", name) for name in names]
    return f"((?:{'|'.join(names)})\\n){{{N}}}"


def quoted(text: str) -> str:
    """A string of xgrammar's EBNF."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def memory(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    return int(found[1]) / 1024


def read(options: argparse.Namespace) -> Inputs:
    folder, name = options.folder, f"{options.items}-{options.tokenizer}"
    walks = json.loads((folder / f"walks-{name}.json").read_text())
    as_json = options.form == "json"
    vocabulary = json.loads((folder / f"vocabulary-{options.tokenizer}.json").read_text())
    return Inputs(
        json.loads((folder / f"names-{options.items}.json").read_text()),
        [bytes.fromhex(token) for token in vocabulary],
        walks["end"],
        [
            Walk(
                w["seen"],
                w["json" if as_json else "text"],
                w["json_tokens" if as_json else "tokens"],
            )
            for w in walks["walks"]
        ],
        folder / f"{name}.trie",
        folder / f"{options.tokenizer}.json",
    )


def first_item(inputs: Inputs, as_json: bool) -> tuple[str, str]:
    """The text of the first item, and that of the same one again."""
    text = inputs.walks[0].text
    if as_json:
        first = text[: text.index('", ') + 3]
        return first, first.removeprefix("[")
    line = text[: text.index("\n") + 1]
    return line, line


def refuses(constraint: Constraint, inputs: Inputs, as_json: bool) -> dict[str, bool]:
    """Which wrong lists are refused: the same item twice, one that was seen, a short list."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(inputs.tokenizer))
    first, again = first_item(inputs, as_json)

    def accepts(walker: Any, text: str) -> bool:
        tokens: Iterator[int] = iter(tokenizer.encode(text, add_special_tokens=False).ids)
        return all(constraint.step(walker, token) for token in tokens)

    begin = inputs.walks[0]
    # The first item of a list was seen, in the place of what was.
    names = {name: n for n, name in enumerate(inputs.names)}
    name = json.loads(first.strip("[, ")) if as_json else first.removesuffix("\n")
    seen = not accepts(constraint.begin(begin._replace(seen=[names[name]])), first)
    walker = constraint.begin(begin._replace(seen=[]))
    assert accepts(walker, first)
    short = not constraint.allows(walker, inputs.end)
    return {
        "refuses_seen": seen,
        "refuses_short": short,
        "refuses_repeats": not accepts(walker, again),
    }


def timed(times: list[float], work: Callable[[], Any]) -> Any:
    """The time of this thread alone, in microseconds, as other programs run."""
    start = time.thread_time_ns()
    done = work()
    times.append((time.thread_time_ns() - start) / 1000)
    return done


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("form", choices=["regex", "grammar", "json", "lines", "trie"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--tokenizer", required=True)
    options = parser.parse_args()
    inputs = read(options)
    if options.library == "xgrammar":
        import xgrammar  # noqa: F401  Not part of what is measured.

    Path("/proc/self/clear_refs").write_text("5")
    before, wall, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    constraint = LIBRARIES[options.library](options.form, inputs)
    built = {
        "event": "built",
        "processor_s": time.process_time() - processor,
        "wall_s": time.perf_counter() - wall,
        "held_mb": memory("VmRSS") - before,
        "peak_mb": memory("VmHWM") - before,
    }
    print(json.dumps(built), flush=True)

    begins: list[float] = []
    steps: list[float] = []
    for walk in inputs.walks:
        walker = timed(begins, lambda walk=walk: constraint.begin(walk))
        for token, following in zip(walk.tokens, walk.tokens[1:]):
            assert timed(steps, lambda walker=walker, token=token: constraint.step(walker, token))
            assert constraint.allows(walker, following)
    micros = np.array(steps)
    walked = {
        "event": "walked",
        "walked_mb": memory("VmRSS") - before,
        "begin_us": float(np.mean(begins)),
        "mean_us": float(micros.mean()),
        "p50_us": float(np.median(micros)),
        "p99_us": float(np.quantile(micros, 0.99)),
        "tokens": (len(begins) + len(steps)) / len(inputs.walks),
        "passes": sum(constraint.passes(walk) for walk in inputs.walks) / len(inputs.walks),
        **refuses(constraint, inputs, options.form == "json"),
    }
    print(json.dumps(walked), flush=True)


if __name__ == "__main__":
    main()
