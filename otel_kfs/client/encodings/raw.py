"""`raw`: the image itself as the body, which KServe hands to `preprocess` as it is.

KFServing 0.5 takes no body but JSON and CloudEvents.
"""

from __future__ import annotations

from otel_kfs.client.encodings.encoded import Encoded


def encode(image: bytes, media_type: str) -> Encoded:
    """Return the image, without a copy."""
    return Encoded(image, {"content-type": media_type})
