"""What is out of reach is said once an outage, however often it is met there."""

from __future__ import annotations

import logging
import math
import time

_QUIET_SECONDS = 60.0  # so long without meeting it: the next time is another outage


class OutageLog:
    """Warns that something is out of reach and tried again: librdkafka meets that every few seconds, so do retries."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        """`what` is out of reach, in a few words, such as `the model does not answer`."""
        self._log = log
        self._what = what
        self._last = -math.inf

    def met(self, why: str) -> None:
        """It is out of reach just now."""
        now = time.monotonic()
        if now - self._last > _QUIET_SECONDS:
            self._log.warning("%s, trying again: %s", self._what, why)
        self._last = now
