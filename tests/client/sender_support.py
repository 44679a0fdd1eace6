"""What the tests of senders share: the payload that the small image becomes, and one image's spans by their names."""

from __future__ import annotations

import base64
from typing import Any

from support import JPG

PAYLOAD = b'{"instances":[{"image_bytes":{"b64":"' + base64.b64encode(JPG) + b'"}}]}'


def by_name(spans: Any) -> dict[str, Any]:
    """Return the spans of one trace, by name."""
    found = spans.get_finished_spans()
    assert len({span.context.trace_id for span in found}) == 1
    assert len({span.name for span in found}) == len(found)
    return {span.name: span for span in found}
