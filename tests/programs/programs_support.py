"""The command under test, and what to leave out where its program is compared with the same one untraced."""

import sys

EXEC = [sys.executable, "-m", "otel_kfs.cli", "exec", "--traces-file", "spans.jsonl", "--run", "r", "--"]

# The date, the header that exec adds, and a remark of newer curls that depends on how fast the answer was.
DIFFERING = (b"date:", b"< date:", b"> traceparent:", b"* request completely sent off")


def comparable(output):
    """Return output's lines without what differs from run to run, and without exec's header."""
    return [line for line in output.splitlines(keepends=True) if not line.lower().startswith(DIFFERING)]
