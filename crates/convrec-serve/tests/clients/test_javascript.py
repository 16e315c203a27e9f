"""OpenAI's own library for JavaScript, in a program of its own."""

import subprocess
from pathlib import Path

from serving import PATIENCE


def test_the_library_for_javascript(server):
    program = Path(__file__).parent / "openai.cjs"
    command = ["node", program, server.url + "/v1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert run.returncode == 0, run.stderr
