"""Runs every library at every catalog and tokenizer, each as a process of its own, and prints the
tables of docs/constraint.md: ``python compare.py --binary target/release/constraint-bench ...``.

A run is stopped after 120 s without a constraint (of processor time, as other programs run), and
when it has more than 8 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# The names in the tables, and the command of each.
RUNS = {
    "this trie (Rust)": ["RUST", "ours"],
    "this trie (Rust), from its file": ["RUST", "ours", "--open"],
    "this trie (`convrec_constraint`)": ["PYTHON", "convrec_constraint", "trie"],
    "llguidance, regex": ["RUST", "llguidance", "--form", "regex"],
    "llguidance, Lark": ["RUST", "llguidance", "--form", "lark"],
    "llguidance, JSON": ["RUST", "llguidance", "--form", "json"],
    "xgrammar, EBNF": ["PYTHON", "xgrammar", "grammar"],
    "xgrammar, regex": ["PYTHON", "xgrammar", "regex"],
    "xgrammar, JSON": ["PYTHON", "xgrammar", "json"],
    "outlines-core, regex": ["PYTHON", "outlines-core", "regex"],
    "outlines-core, regex of any length": ["PYTHON", "outlines-core", "lines"],
    "outlines-core, JSON": ["PYTHON", "outlines-core", "json"],
}
BUILD_S, RUN_S, MEMORY_MB = 120, 360, 8 * 1024


def usage(pid: int) -> tuple[float, float]:
    """Seconds of processor time and resident MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(command: list[str], python_path: str) -> dict[str, Any]:
    """The figures that the process printed, or why it has none."""
    environment = os.environ | {"PYTHONPATH": python_path, "RAYON_NUM_THREADS": "2"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as problems:
        process = subprocess.Popen(command, stdout=out, stderr=problems, env=environment)
        stopped, most = "", 0.0
        while process.poll() is None:
            time.sleep(0.1)
            try:
                seconds, megabytes = usage(process.pid)
            except (FileNotFoundError, ProcessLookupError, IndexError):
                continue
            most = max(most, megabytes)
            out.seek(0)
            built = '"built"' in out.read()
            if megabytes > MEMORY_MB:
                stopped = "more than 8 GB"
            elif seconds > (RUN_S if built else BUILD_S):
                stopped = "walks take minutes" if built else "not built in 120 s"
            if stopped:
                process.kill()
                process.wait()
        out.seek(0)
        problems.seek(0)
        figures: dict[str, Any] = {"most_mb": most, "stopped": stopped}
        for line in out.read().splitlines():
            figures |= json.loads(line)
        if process.returncode and not stopped:
            said = problems.read().strip().splitlines()
            figures["stopped"] = said[-1][:200] if said else f"exit status {process.returncode}"
        return figures


def cells(figures: dict[str, Any], step_ms: float) -> list[str]:
    """One row's cells, behind the library's name."""
    stopped = figures["stopped"]
    if "processor_s" not in figures:
        return [stopped, f"{figures['most_mb']:,.0f}", "", "", "", "", "", ""]
    held = max(figures["held_mb"], figures.get("walked_mb", 0))
    built = [
        f"{figures['processor_s']:.2f} s",
        f"{held:,.1f} / {max(held, figures['peak_mb']):,.1f}",
    ]
    if "mean_us" not in figures:
        return [*built, stopped, "", "", "", "", ""]
    mean, passes = figures["mean_us"], figures["passes"]
    share = mean / 1000 / (step_ms + mean / 1000)
    yes = [
        "yes" if figures[field] else "no"
        for field in ("refuses_repeats", "refuses_seen", "refuses_short")
    ]
    return [
        *built,
        f"{mean:,.1f}",
        f"{figures['p99_us']:,.1f}",
        f"{100 * share:.2g}%",
        f"{passes:.0f} of {figures['tokens']:.0f}",
        ", ".join(yes[:2]),
        yes[2],
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--items", type=int, nargs="+", required=True)
    parser.add_argument("--tokenizers", nargs="+", required=True)
    parser.add_argument("--step-ms", type=float, default=33.0, help="a decoding step of the model")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="rows whose name holds one of these"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON lines; what is there is not run again"
    )
    options = parser.parse_args()
    here = Path(__file__).parent
    python_path = str(here.parent.parent / "python" / "convrec_constraint" / "python")
    first = {"RUST": [str(options.binary)], "PYTHON": [sys.executable, str(here / "peers.py")]}
    known = {}
    if options.out.exists():
        rows = map(json.loads, options.out.read_text().splitlines())
        known = {(row["name"], row["items"], row["tokenizer"]): row for row in rows}

    for items in options.items:
        for tokenizer in options.tokenizers:
            print(f"\n{items:,} titles, {tokenizer}\n", flush=True)
            print(
                "| | build | MB / peak | us a mask | p99 | share of a step | passes a list "
                "| no repeats, not seen | exactly N |"
            )
            print("|---|---|---|---|---|---|---|---|---|")
            for name, command in RUNS.items():
                if not any(part in name for part in options.only):
                    continue
                key = (name, items, tokenizer)
                if key not in known:
                    paths = [
                        "--folder",
                        str(options.folder),
                        "--items",
                        str(items),
                        "--tokenizer",
                        tokenizer,
                    ]
                    known[key] = run([*first[command[0]], *command[1:], *paths], python_path)
                    row = known[key] | {"name": name, "items": items, "tokenizer": tokenizer}
                    with options.out.open("a") as out:
                        out.write(json.dumps(row) + "\n")
                print("|", " | ".join([name, *cells(known[key], options.step_ms)]), "|", flush=True)


if __name__ == "__main__":
    main()
