#!/usr/bin/env bash
# Builds the wheel and tests it, in a virtual environment of its own (./.venv). With RANK_GRPO_TORCH=1 it installs torch and TRL
# 1.16.0 (some gigabytes the first time) and tests against them; without, those tests are skipped, and it says so.
# RANK_GRPO_VENV=DIR uses another environment, as it is.
set -euo pipefail
cd "$(dirname "$0")"
venv=${RANK_GRPO_VENV:-.venv}
unset PYTHONPATH # pip would take what lies there for installed
# One that was cut while it was made is made anew.
if [ -z "${RANK_GRPO_VENV:-}" ] && [ ! -f "$venv/complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q "maturin>=1.9,<2" numpy pytest mypy ruff
  touch "$venv/complete"
fi
[ "${RANK_GRPO_TORCH:-0}" = 0 ] || "$venv/bin/pip" install -q torch "trl==1.16.0"
unset CARGO_TARGET_DIR
rm -rf target/wheels
"$venv/bin/maturin" build --release --quiet
"$venv/bin/pip" install -q --force-reinstall --no-deps target/wheels/*.whl
strict=(--strict)
if ! "$venv/bin/python" -c "import torch, trl" 2>/dev/null; then
  echo "SKIPPED: torch and TRL are not installed (RANK_GRPO_TORCH=1)"
  strict+=(--allow-subclassing-any --no-warn-unused-ignores) # their classes have no types then
fi
"$venv/bin/ruff" check --quiet . && "$venv/bin/ruff" format --check --quiet .
"$venv/bin/mypy" "${strict[@]}" -p rank_grpo
"$venv/bin/pytest" -q -p no:cacheprovider tests
