"""How an image becomes a request's body or a record's value: one module for each encoding."""

from __future__ import annotations

from otel_kfs.client.encodings import base64_json, cloud_event, openai_chat, raw, v2
from otel_kfs.client.encodings.encoded import Encoded, Encoding
from otel_kfs.errors import ConfigError

__all__ = ["JSON", "NAMES", "Encoded", "Encoding", "by_name"]

JSON = Encoding("json", base64_json.encode)
_ALL = (
    JSON,
    Encoding("v2", v2.encode, protocol="v2"),
    Encoding("raw", raw.encode),
    Encoding("cloudevent", cloud_event.encode),
)
NAMES = tuple(encoding.name for encoding in _ALL)


def by_name(name: str) -> Encoding:
    """Return the encoding of that name.

    Raises:
        ConfigError: there is none.
    """
    for encoding in _ALL:
        if encoding.name == name:
            return encoding
    if name == openai_chat.NAME:
        raise ConfigError(f"the encoding {name!r} names a model: it is for HttpSender, with `model` given")
    raise ConfigError(f"no encoding is called {name!r}; there are {', '.join(NAMES)}")
