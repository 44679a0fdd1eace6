"""How a reading shows itself in a notebook: the answer, and a chart that is whole in itself.

The chart is an image, not part of the page: so its style can't touch the notebook's, nothing in it can run, and nothing
is loaded from elsewhere.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable

from otel_kfs.errors import OtelKfsError
from otel_kfs.traces.printable import printable


def html_view(text: str, chart: Callable[[], str] | None = None) -> str:
    """Return lines of text as HTML, and an SVG below them; where that can't be drawn, why."""
    lines = "".join(f"<p>{_escaped(line)}</p>" for line in text.split("\n"))
    if chart is None:
        return lines
    try:
        drawn = base64.b64encode(chart().encode()).decode()
    except OtelKfsError as error:
        return f"{lines}<p><small>no chart: {_escaped(str(error))}</small></p>"
    picture = f'<img src="data:image/svg+xml;base64,{drawn}" alt="{_escaped(text)}" style="max-width: 100%">'
    return f"{lines}{picture}"


def _escaped(text: str) -> str:
    return html.escape(printable(text))
