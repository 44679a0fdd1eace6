"""The command under test."""

import sys

EXEC = [sys.executable, "-m", "otel_kfs.cli", "exec", "--traces-file", "spans.jsonl", "--run-id", "r", "--"]
