"""`cloudevent`: the image itself as the data of a CloudEvent in binary mode, which both SDKs take.

Source: CloudEvents 1.0, HTTP protocol binding, binary content mode.
"""

from __future__ import annotations

import uuid

from otel_kfs.client.encodings.encoded import Encoded

_SOURCE = "otel-kfs"
_TYPE = "otel-kfs.image"


def encode(image: bytes, media_type: str) -> Encoded:
    """Return the image, without a copy; the event's attributes are headers."""
    attributes = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": _SOURCE, "type": _TYPE}
    return Encoded(image, {"content-type": media_type, **{f"ce-{name}": value for name, value in attributes.items()}})
