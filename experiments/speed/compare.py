"""PyTorch against ours: the same works on both sides in turn, then a Markdown table of the medians.

    python compare.py --python PYTHON --rust BINARY --model DIR --works decode_8,train_2x256 --rounds 5 --out raw.jsonl

BINARY: `cargo build --release -p convrec-experiments --bin speed`, then target/release/speed; its --help lists
the works. PYTHON is an interpreter with torch and transformers (versions: transformers_speed.py); this file needs only
the standard library of Python 3.9 or newer. Both sides take the same arguments and print the same JSON lines. Every
measurement is a process of its own, so that its peak memory is its own, and the sides take turns, so that a machine that
slows down slows both. A side that fails once is not run again for that work.

The sides differ where ours can do what PyTorch cannot: lists are written under the trie of `--extra="--catalog FILE"`, so
that their tokens cost a forward pass for each choice alone (`passes` in the raw lines); all their tokens count. In
grpo_1000 PyTorch trains on 4 rows at a time, as memory asks, ours on 8.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from math import prod
from statistics import median

SIDES = ("PyTorch", "ours")
# What the machine can do at most, with its unit.
LIMITS = {"limit_memory": "GB/s", "limit_product_f32": "GFLOP/s", "limit_product_bf16": "GFLOP/s"}
# The limit of a work, and what a token costs for each parameter: bytes, or operations.
COSTS = {
    "prefill_1x512": ("limit_product_f32", 2),
    "decode_1": ("limit_memory", 4),
    "train_2x256": ("limit_product_f32", 6),
    "train_8x512": ("limit_product_f32", 6),
}


def measure(command, threads):
    """The JSON lines that a command prints, or an error that says why there are none."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    except OSError as error:
        raise RuntimeError(f"cannot be started: {error}") from error
    if done.returncode != 0:
        end = "\n    ".join(done.stderr.strip().splitlines()[-8:])
        signal = " (killed; out of memory?)" if done.returncode == -9 else ""
        raise RuntimeError(f"exit status {done.returncode}{signal}; its last words:\n    {end}")
    try:
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for line in lines:  # what the tables need
            float(line["seconds"]), float(line["tokens"]), float(line["tokens_per_s"]), float(line["peak_rss_mb"])
    except (ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"a line that is not as agreed: {error!r}") from error
    if not lines:
        raise RuntimeError("printed no JSON line")
    return lines


def table(title, header, rows):
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print(f"\n{title}\n")
    for row in [header, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")


def pair(values, form, smaller_is_better=False):
    """Two cells and how many times better ours is; a side without a value is a dash."""
    cells = ["-" if value is None else format(value, form) for value in values]
    theirs, ours = reversed(values) if smaller_is_better else values
    return [*cells, "-" if None in values else f"{ours / theirs:.2f}"]


def parameters(model):
    """The number of parameters of a model's folder, by the header of its weights."""
    with open(Path(model) / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def spread(values):
    """The median with its range."""
    return f"{median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


def report_limits(works, found, args):
    """The limits by threads, and how near the works come to the higher of the two sides'."""
    rows = []
    for limit, unit in LIMITS.items():
        for threads in dict.fromkeys((1, args.threads)):
            lines = [found.get((limit, side, threads), []) for side in SIDES]
            cells = [spread([line["tokens_per_s"] / 1e9 for line in side]) if side else "-" for side in lines]
            rows.append([limit.removeprefix("limit_"), unit, str(threads), *cells])
    table("The machine's limits.", ["limit", "unit", "threads", *SIDES], rows)
    rows = []
    for work in works:
        limit, cost = COSTS.get(work, (None, 0))
        lines = [line for side in SIDES for line in found.get((limit, side, args.threads), [])]
        if not lines or not all(found.get((work, side)) for side in SIDES):
            continue
        most = max(line["tokens_per_s"] for line in lines)
        speed = [median(line["tokens_per_s"] for line in found[work, side]) for side in SIDES]
        shares = [f"{x * cost * parameters(args.model) / most:.2f}" for x in speed]
        rows.append([work, limit.removeprefix("limit_"), *shares])
    if rows:
        table("Shares of the limit.", ["work", "limit", *SIDES], rows)


def report(works, found, rounds):
    def of(work, fold, read):
        """One number per side: `fold` of what `read` says of each line."""
        values = [[v for v in map(read, found.get((work, side), [])) if v is not None] for side in SIDES]
        return [fold(side) if side else None for side in values]

    rows = []
    for work in works:
        peaks = pair(of(work, max, lambda line: line["peak_rss_mb"]), ",.0f")[:2]
        theirs, ours, ratio = pair(of(work, median, lambda line: line["tokens_per_s"]), ",.1f")
        rounds_of = zip(*(found.get((work, side), []) for side in SIDES))
        ratios = [b["tokens_per_s"] / a["tokens_per_s"] for a, b in rounds_of]
        if len(ratios) > 1:
            ratio += f" ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append([work, theirs, ours, ratio, *peaks])
    header = ["work", "PyTorch tokens/s", "ours tokens/s", "ours / PyTorch", "PyTorch peak MB", "ours peak MB"]
    table(f"Medians over rounds ({rounds}); peaks are the largest.", header, rows)

    rows = []
    for work in works:
        lines = [line for side in SIDES for line in found.get((work, side), [])]
        for part in dict.fromkeys(part for line in lines for part in line.get("parts", {})):  # in their order
            seconds = of(work, median, lambda line: line.get("parts", {}).get(part))
            rows.append([work, part, *pair(seconds, ",.3f", smaller_is_better=True)])
    if rows:
        table("Parts: median seconds.", ["work", "part", "PyTorch s", "ours s", "PyTorch / ours"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rust", required=True, metavar="BINARY")
    parser.add_argument("--python", required=True, help="the interpreter for transformers_speed.py")
    parser.add_argument("--model", required=True)
    parser.add_argument("--works", required=True, help="names with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", required=True, help="a file for all JSON lines, as they come")
    parser.add_argument("--threads", type=int, default=2, help="of both sides")
    parser.add_argument("--limits", action="store_true", help="measure the machine's limits too, by 1 and all threads")
    parser.add_argument("--extra", default="", help='more arguments that both sides know, as one word: --extra="--scale 0.25"')
    args = parser.parse_args()

    works = [work.strip() for work in args.works.split(",") if work.strip()]
    script = str(Path(__file__).resolve().parent / "transformers_speed.py")
    programs = dict(zip(SIDES, ([args.python, script], [args.rust])))
    found, failed = {}, []
    # What is run, under which key it is kept, by how many threads.
    runs = [(work, lambda side, work=work: (work, side), args.threads) for work in works]
    for limit in LIMITS if args.limits else ():
        for threads in dict.fromkeys((1, args.threads)):
            runs.append((limit, lambda side, limit=limit, threads=threads: (limit, side, threads), threads))
    with open(args.out, "w", encoding="utf-8") as out:
        for work, key, threads in runs:
            for round_ in range(1, args.rounds + 1):
                for side, program in programs.items():
                    if (work, side) in failed:
                        continue
                    print(f"{work}, {threads} threads, round {round_} of {args.rounds}: {side}", file=sys.stderr)
                    arguments = ["--work", work, "--model", args.model, "--repeats", "1", *shlex.split(args.extra)]
                    if side == "PyTorch":
                        arguments += ["--threads", str(threads)]
                    try:
                        lines = measure(program + arguments, threads)
                    except RuntimeError as error:
                        failed.append((work, side))
                        print(f"{work}: {side} failed: {error}", file=sys.stderr)
                        continue
                    found.setdefault(key(side), []).extend(lines)
                    for line in lines:
                        kept = {"side": side, "round": round_, "threads": threads, **line}
                        print(json.dumps(kept), file=out, flush=True)
    report(works, found, args.rounds)
    if args.limits:
        report_limits(works, found, args)
    if failed:
        names = ", ".join(f"{work} ({side})" for work, side in failed)
        sys.exit(f"\nfailed, so with fewer rounds or none: {names}")


if __name__ == "__main__":
    main()
