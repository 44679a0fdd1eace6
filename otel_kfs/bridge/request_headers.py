"""Which of a record's headers are for the model's server, and as which HTTP headers they travel.

Content type and encoding, the length that V2's binary tensors need, and the attributes of a CloudEvent in Kafka's
binary mode; nothing else leaves the topic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from otel_kfs.errors import SendError

_UNCHANGED = {"content-type", "content-encoding", "inference-header-content-length"}
_EVENT = re.compile(r"ce_([a-z0-9]{1,100})")  # CloudEvents: names are lower-case letters and digits
_PRINTABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")

# CloudEvents' HTTP binding percent-encodes space, quote, percent and all that is not printable ASCII.
_EVENT_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')

# Servers refuse requests with more than 64 kB of headers, some by closing the connection, which looks like an outage.
# Trace context and baggage need their part of it.
MAX_BYTES = 32_000
_SEPARATORS = 4  # a colon, a space, and the end of a line


def http_headers(headers: Iterable[tuple[str, bytes | str | None]] | None) -> dict[str, str]:
    """Return the HTTP headers for a record; values that HTTP can't carry are left out.

    Source: CloudEvents 1.0.2, Kafka protocol binding 3.2 and HTTP protocol binding 3.1.3.

    Raises:
        SendError: they are larger than a server would take.
    """
    wanted = [(key, value) for key, value in headers or () if value is not None and is_for_model(key)]
    # Before any of it is copied: percent-encoded it is three times as large.
    _check_size(sum(len(key) + len(value) + _SEPARATORS for key, value in wanted))
    found: dict[str, str] = {}
    for key, value in wanted:
        try:
            text = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            continue
        if event := _EVENT.fullmatch(key):
            found[f"ce-{event[1]}"] = quote(text, safe=_EVENT_SAFE)
        elif _PRINTABLE.fullmatch(text):
            found[key.lower()] = text
    _check_size(sum(len(name) + len(value) + _SEPARATORS for name, value in found.items()))
    return found


def is_for_model(key: str) -> bool:
    """Tell whether a record's header is for the model's server."""
    return key.lower() in _UNCHANGED or _EVENT.fullmatch(key) is not None


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise SendError(f"the record's headers for the model are {size} bytes, more than a server takes", 431)
