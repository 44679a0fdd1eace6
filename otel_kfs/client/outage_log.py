"""Logs an outage once, not per retry."""

from __future__ import annotations

import logging
import math
import time

_QUIET_SECONDS = 60.0  # without a failure; the next one is another outage


class OutageLog:
    """Warns that something can't be reached; librdkafka and retries report that every few seconds."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        """Make a log; `what` says in a few words what is wrong, as `the model does not answer`."""
        self._log = log
        self._what = what
        self._last = -math.inf

    def report(self, why: str) -> None:
        """Note a failed attempt, and warn of it if it is the outage's first."""
        now = time.monotonic()
        if now - self._last > _QUIET_SECONDS:
            self._log.warning("%s, trying again: %s", self._what, why)
        self._last = now
