"""The page of a watch: the report's bars and figures of now, sent anew by server-sent events as they change.

It asks nobody but the watch, and nothing in it runs but its own script: what spans are called is escaped, and the
content security policy forbids the rest. A browser that is slow gets the latest figures when it can take them, never
those in between.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import otel_kfs
from otel_kfs.report.charts import stacked_bars
from otel_kfs.report.contents import Row
from otel_kfs.report.coverage_lines import coverage_line
from otel_kfs.report.html.html_file import coded, drawn, environment, sentences, shared_values, style
from otel_kfs.telemetry.safe_tracer import never_raises
from otel_kfs.watch.core.snapshot import Snapshot
from otel_kfs.watch.display.live_contents import LiveSeries, live_contents, segments_of
from otel_kfs.watch.display.live_table import rates, sentence

MOST_BROWSERS = 20

_HERE = Path(__file__).parent
_MOST_SERIES = 30
_UNDRAWN = (
    '<header id="head"><p class="answer">These figures can\'t be drawn; the log of the watch says why.</p></header>'
)
_SECONDS = 1.0  # between two looks at whether there is something new
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class LivePage:
    """Draws snapshots, each once for all browsers."""

    def __init__(
        self, latest: Callable[[], Snapshot], losses: Callable[[], Sequence[str]], is_over: Callable[[], bool]
    ) -> None:
        """`losses` has a line for each kind of what was lost; streams end when `is_over`."""
        self._latest, self._losses, self._is_over = latest, losses, is_over
        self._environment = environment(_HERE)
        self._drawn: tuple[Snapshot, str] | None = None
        self._browsers = 0

    def routes(self) -> list[Route]:
        """Return the page, its style and script, and the stream of what changes."""
        css_text = f"{style()}\n{(_HERE / 'live.css').read_text(encoding='utf-8')}"
        script = (_HERE / "live.js").read_text(encoding="utf-8")

        def page(_: Request) -> Response:
            template = self._environment.get_template("live_shell.html")
            shell = template.render(live=Markup(self._html()), version=otel_kfs.__version__)  # noqa: S704
            return Response(shell, media_type="text/html", headers=_HEADERS)

        async def css(_: Request) -> Response:
            return Response(css_text, media_type="text/css", headers=_HEADERS)

        async def javascript(_: Request) -> Response:
            return Response(script, media_type="text/javascript", headers=_HEADERS)

        async def events(_: Request) -> Response:
            if self._browsers >= MOST_BROWSERS:
                return PlainTextResponse(f"{MOST_BROWSERS} browsers look already\n", 503, {"retry-after": "10"})
            return StreamingResponse(
                self._events(), media_type="text/event-stream", headers=_HEADERS | {"x-accel-buffering": "no"}
            )

        return [
            Route("/", page),
            Route("/live.css", css),
            Route("/live.js", javascript),
            Route("/events", events),
        ]

    async def _events(self) -> AsyncIterator[str]:
        """Yield an event for the latest snapshot as often as there is a new one, and the one before was taken."""
        self._browsers += 1
        try:
            seen: Snapshot | None = None
            while not self._is_over():
                snapshot = self._latest()
                if snapshot is not seen:
                    seen = snapshot
                    yield f"data: {json.dumps({'html': await asyncio.to_thread(self._html)})}\n\n"
                await asyncio.sleep(_SECONDS)
        finally:
            self._browsers -= 1

    def _html(self) -> str:
        snapshot = self._latest()
        if self._drawn is None or self._drawn[0] is not snapshot:
            self._drawn = snapshot, self._draw(snapshot) or _UNDRAWN
        return self._drawn[1]

    @never_raises("drawing the page")
    def _draw(self, snapshot: Snapshot) -> str:
        # Of all: what the last minute lacks must not give another letter to what it has.
        segments = segments_of(snapshot.since_start)
        since, minute = (live_contents(window, segments) for window in (snapshot.since_start, snapshot.last_minute))
        recent = {
            (of.series.labels, of.series.size, row.segment): row for of in minute.series for row in (*of.rows, of.total)
        }

        def last_minute(of: LiveSeries, row: Row) -> Row | None:
            return recent.get((of.series.labels, of.series.size, row.segment))

        return self._environment.get_template("live.html").render(
            **shared_values(segments),
            answer=[coded(one, segments) for one in sentences(sentence(snapshot))],
            rates=rates(snapshot),
            minute_bars=_bars(minute),
            since_bars=_bars(since),
            series=since.series[:_MOST_SERIES],
            more_series=max(0, len(since.series) - _MOST_SERIES),
            recent=last_minute,
            lines=[coverage_line(snapshot.since_start.coverage), *self._losses()],
        )


def _bars(contents: Any) -> tuple[Markup, Markup] | None:
    """Draw the chart for a wide window and for a narrow one, if there is an image."""
    if not contents.series:
        return None
    return drawn(stacked_bars.stacked_bars(contents)), drawn(stacked_bars.stacked_bars(contents, stacked_bars.NARROW))
