"""The error of a query that finds no image: why there is none, what there is instead, and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_kfs import semconv
from otel_kfs.errors import OtelKfsError

if TYPE_CHECKING:
    from otel_kfs.analysis.paths.coverage import Coverage
    from otel_kfs.traces.store import TraceStore


def need_images(coverage: Coverage, trace_query: str, store: TraceStore | None = None) -> None:
    """Raise an error if nothing was measured; it says what `store` has instead.

    Raises:
        OtelKfsError: no image was measured.
    """
    if not coverage.measured:
        from otel_kfs.traces.query_url import options_of

        what = "path" if "stamps" in options_of(trace_query) else coverage.what
        raise OtelKfsError(f"no {what} was measured in {trace_query}: {_why_none(trace_query, coverage, store)}")


def _why_none(trace_query: str, coverage: Coverage, store: TraceStore | None) -> str:
    """Say why no image was measured; what there is instead, if that is why; and what to do next."""
    from otel_kfs.report.coverage_lines import contents_line, coverage_line
    from otel_kfs.traces.query_url import options_of, run_of

    reasons = coverage.left_out.keys() - {f"no `{semconv.SEND_IMAGE}` span"}
    if reasons:
        return coverage_line(coverage)
    stamps = options_of(trace_query).get("stamps", ())
    if stamps:
        why = f"no span fits stamp 1 of {stamps[0]}"
    elif run := run_of(trace_query):
        return f"there is no image of run {run}"
    elif coverage.left_out:
        why = coverage_line(coverage)
    else:
        why = f"there is no `{semconv.SEND_IMAGE}` span, and no request to a model server"
    if store is None:
        return why
    from otel_kfs.analysis.reading.store_contents import contents_of

    return f"{why}; {contents_line(contents_of(store), by_stamps=bool(stamps))}"
