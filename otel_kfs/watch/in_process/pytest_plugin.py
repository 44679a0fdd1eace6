"""pytest's fixture `otel_kfs_traces`: a test's own tables, of the spans that end while it runs.

pytest imports this module wherever otel-kfs is installed, so it imports nothing before the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otel_kfs.watch.in_process.segment_exporter import SegmentProcessor


@pytest.fixture
def otel_kfs_traces() -> Iterator[SegmentProcessor]:
    """Tables of the images that are sent while the test runs; durations are in seconds.

    `otel_kfs_traces.wait(images=5)` waits until so many are measured, and `otel_kfs_traces.segment("decode").p50` is
    then a segment's median. Spans come from the process's tracer provider; one is set where there is none. A provider
    that is not the global one takes the fixture itself: `provider.add_span_processor(otel_kfs_traces)`.
    """
    from otel_kfs.watch.in_process.attached_processor import attached_processor

    with attached_processor() as segments:
        yield segments
