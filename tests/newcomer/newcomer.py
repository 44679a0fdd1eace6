"""Does what README tells somebody new to do, in a fresh clone, and compares all that is printed with transcript.txt.

    python tests/newcomer/newcomer.py [-c CONSTRAINTS]           # make newcomer
    python tests/newcomer/newcomer.py --write [-c CONSTRAINTS]   # after an intended change: print it to transcript.txt

The commands are README's, from "Install" and "The first result", typed one after another into one shell: clone, make an
environment, install, send pictures to a model server, look at them. The server is one of somebody else's, which knows
nothing of traces. Figures, dates and bars are masked; everything else has to be the same.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
TRANSCRIPT = Path(__file__).with_name("transcript.txt")
SECTIONS = ("Install", "The first result")
MODEL = "http://localhost:8080"
URL = "<the Git URL of this repository>"

# In the order in which they are applied.
MASKS = [
    (r"(?<=[a-z,;:`])\n(?=[a-z`])", " "),  # where a sentence is broken depends on its figures
    (r"\d{4}-\d\d-\d\d-\d{6}", "<time>"),
    (r"[█▉▊▋▌▍▎▏▐░▒▓■━╸╺]+", "<bar>"),
    (r"-?\d+\.\d+(?: ?±[\d.?]+)?", "#"),
    (r"\b\d+(?=%| %)", "#"),
    (r"(#% of the time is `[^`]+`)(, #% `[^`]+`)+", r"\1"),  # a busy machine's client is worth naming, too
    (r"  +", "  "),  # columns are as wide as their figures
    (r"[ ─]+$", ""),
]


class Model(BaseHTTPRequestHandler):
    """A model that takes 50 ms for a prediction, and knows nothing of traces."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a prediction."""
        body = self.rfile.read(int(self.headers["content-length"]))
        known = self.path == "/v1/models/mobilenet:predict" and json.loads(body)["instances"]
        time.sleep(0.05)
        answer = json.dumps({"predictions": [285]} if known else {"error": "no such model"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def commands(readme: str) -> list[str]:
    """Return the commands of README's sections for somebody new, as they stand there."""
    found = []
    for section in SECTIONS:
        text = re.search(rf"^## {section}\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
        if text is None:
            sys.exit(f"README has no section {section!r}")
        block = re.search(r"(?:^    .*\n)+", text[1], re.MULTILINE)  # the first one; others are other ways to do it
        if block is None:
            sys.exit(f"README's section {section!r} has no commands")
        found += [line.strip() for line in re.sub(r"\\\n *", "", block[0]).splitlines()]
    return found


class Shell:
    """A shell that stays, as a terminal's does: what a command changes is there for the next."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=variables,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def type(self, command: str) -> str:
        """Return all that a command prints; end with it where the command fails."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f'{command} < /dev/null\necho "<end $?>"\n')
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            if end := re.search(r"<end (\d+)>\n", line):
                printed += line[: end.start()]
                if end[1] != "0":
                    sys.exit(f"$ {command}\n{printed}exit code {end[1]}")
                return printed
            printed += line
        sys.exit(f"$ {command}\n{printed}the shell has ended")


def masked(text: str) -> str:
    """Return a text without what differs from run to run."""
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text, flags=re.MULTILINE)
    return text


def main(arguments: list[str]) -> None:
    """Type everything, and compare."""
    write = "--write" in arguments
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Nothing of this machine may help or be in the way: neither another tree, nor a collector that listens.
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHON", "PIP_C"))}
    variables |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "NO_COLOR": "1"}
    variables["COLUMNS"] = "400"  # sentences are not wrapped, which would be by the width of their figures
    variables |= {"PIP_QUIET": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "GIT_CONFIG_COUNT": "1"}
    variables |= {"GIT_CONFIG_KEY_0": "advice.detachedHead", "GIT_CONFIG_VALUE_0": "false"}
    if "-c" in arguments:
        variables["PIP_CONSTRAINT"] = str(TOP / arguments[arguments.index("-c") + 1])
    transcript = ""
    with tempfile.TemporaryDirectory(prefix="otel-kfs-newcomer-") as scratch:
        shell = Shell(Path(scratch), variables)
        for command in commands((TOP / "README.md").read_text()):
            began = time.monotonic()
            typed = command.replace(f"'{URL}'", URL).replace(URL, f"--quiet {TOP.as_uri()}")
            printed = shell.type(typed.replace(MODEL, f"http://127.0.0.1:{server.server_port}"))
            print(f"{time.monotonic() - began:5.1f} s  {command}", flush=True)
            transcript += f"$ {command}\n{masked(printed)}"
        rest = Path(scratch, "otel-kfs", "otel-kfs-runs")
        if not list(rest.glob("*/traces/*.jsonl")):
            sys.exit(f"there are no traces in {rest}")
    if write:
        TRANSCRIPT.write_text(transcript)
        return
    wrong = difflib.unified_diff(
        TRANSCRIPT.read_text().splitlines(), transcript.splitlines(), "transcript.txt", "printed now", lineterm=""
    )
    if found := "\n".join(wrong):
        sys.exit(f"{found}\nIf this is intended: python tests/newcomer/newcomer.py --write")


if __name__ == "__main__":
    main(sys.argv[1:])
