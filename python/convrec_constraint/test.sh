#!/usr/bin/env bash
# Installs the package and tests it, in a virtual environment of its own (./.venv). With CONVREC_CONSTRAINT_TORCH=1 it installs
# torch and transformers (some gigabytes the first time) and tests the logits processors; without, these tests are skipped,
# and it says so. CONVREC_CONSTRAINT_VENV=DIR uses another environment, as it is. vLLM and SGLang are tested where they are
# installed, else as stubs of their interfaces. The tests on SmolLM2 need CONVREC_MODELS or ../../models.
set -euo pipefail
cd "$(dirname "$0")"
venv=${CONVREC_CONSTRAINT_VENV:-.venv}
unset PYTHONPATH # pip would take what lies there for installed
# One that was cut while it was made is made anew.
if [ -z "${CONVREC_CONSTRAINT_VENV:-}" ] && [ ! -f "$venv/complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q numpy pytest mypy ruff
  touch "$venv/complete"
fi
[ "${CONVREC_CONSTRAINT_TORCH:-0}" = 0 ] || "$venv/bin/pip" install -q torch transformers
export PYTHONPATH=python
"$venv/bin/python" -c "import torch, transformers" 2>/dev/null ||
  echo "SKIPPED: torch and transformers are not installed (CONVREC_CONSTRAINT_TORCH=1)"
for engine in vllm sglang; do
  "$venv/bin/python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$engine') is None)" ||
    echo "STUB: $engine is not installed; its processor is tested against a stub"
done
"$venv/bin/ruff" check --quiet . && "$venv/bin/ruff" format --check --quiet .
"$venv/bin/mypy" --strict python/convrec_constraint
"$venv/bin/pytest" -q -p no:cacheprovider tests
