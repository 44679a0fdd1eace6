"""Hands every image of a process's own spans to observers, soon after its last span, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from otel_kfs.telemetry.safe_tracer import never_raises
from otel_kfs.traces.span import Span
from otel_kfs.watch.core.live_measurement import LiveMeasurement
from otel_kfs.watch.core.open_traces import TraceBounds
from otel_kfs.watch.core.snapshot import Observer

_SECONDS = 0.25  # between two looks at what has ended


class ImageStream:
    """Takes spans from any thread at little cost, and measures the images in them later.

    At most `most` spans wait, and are kept: beyond that the oldest give way.
    """

    def __init__(self, observers: Sequence[Observer], most: int) -> None:
        """Tell `observers`, one image at a time, of each that is complete.

        Raises:
            MissingExtra: ddsketch is not installed.
        """
        bounds = TraceBounds(spans=most, spans_of_trace=most)
        self._live = LiveMeasurement(time.monotonic(), bounds, observers=observers)
        self._waiting: deque[Span] = deque(maxlen=most)
        self.new_locks()

    def new_locks(self) -> None:
        """Start anew with locks and a thread, as a forked child has to."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, span: Span) -> None:
        """Take a span that has ended."""
        self._waiting.append(span)
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="otel-kfs images", daemon=True)
                    self._thread.start()

    @never_raises("measuring images")
    def measure(self, *, finish: bool = False) -> None:
        """Measure now what has come; with `finish`, what is not complete, too."""
        with self._lock:
            now = time.monotonic()
            self._live.add([self._waiting.popleft() for _ in range(len(self._waiting))], now)
            self._live.tick(now)
            if finish:
                self._live.finish(now)

    def _run(self) -> None:
        while True:
            time.sleep(_SECONDS)
            self.measure()
