"""Whether a meter provider is set, so that nothing is computed without one."""

from __future__ import annotations

import time

from opentelemetry.metrics import MeterProvider, get_meter_provider


class MeterWatch:
    """Whether a meter provider is set: those of OpenTelemetry's API, stand-in and no-op, count nothing."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        """Watch this provider, or the global one."""
        self._given = provider
        self._enabled = provider is not None and _counts(provider)
        self._ask_again = 0.0

    @property
    def enabled(self) -> bool:
        """Whether there is one.

        The global one may be set at any time. Asking for it costs as much as a tenth of a span, so until there is one
        it is asked for once a second.
        """
        if not self._enabled and self._given is None and (now := time.monotonic()) >= self._ask_again:
            self._ask_again = now + 1
            self._enabled = _counts(get_meter_provider())
        return self._enabled


def _counts(provider: MeterProvider) -> bool:
    return not type(provider).__module__.startswith("opentelemetry.metrics")
