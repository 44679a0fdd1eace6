"""What form an image is sent in: its encoding, compression and size, chosen and checked once per sender."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from otel_kfs import semconv
from otel_kfs.client import encodings
from otel_kfs.client.encodings import Encoding, openai_chat, resizing
from otel_kfs.client.encodings.compression import compressor
from otel_kfs.errors import ConfigError

# Which servers do not take an encoding.
_HINTS = {
    "raw": "if that is KFServing, it does not take the encoding raw: choose json or cloudevent",
    "v2": (
        "KFServing does not take the encoding v2, and KServe 0.21's own reader of it refuses a JPG's bytes: choose "
        "json or cloudevent"
    ),
    "openai": (
        "a server has the chat route only if its model answers it, and KServe's only where vLLM is installed; of "
        "another server give the route's whole URL, as in http://host:8000/v1/chat/completions"
    ),
}
# What servers answer to a body that they do not understand; KFServing's 500 is its JSON reader's, of bytes that are no
# text. Whoever has a chat's route says himself what he does not understand.
_NOT_UNDERSTOOD = frozenset({400, 404, 405, 415, 422, 500, 501})
_NO_ROUTE = frozenset({404, 405, 501})


class PayloadKeywords(TypedDict, total=False):
    """The keyword arguments by which every sender and `image_span` are told the form."""

    encoding: str | Encoding
    compression: str | None
    resize: int | None
    cell: str | None


@dataclass(frozen=True)
class PayloadOptions:
    """The form that an image is sent in."""

    encoding: Encoding = encodings.JSON
    compression: str | None = None
    resize: int | None = None  # pixels of the shorter side
    cell: str | None = None  # an experiment's label
    transport_compresses: bool = False  # the transport's own client, in place of `encode`

    def attributes(self) -> dict[str, str]:
        """Return the root span's attributes: none for base64 in JSON, which is how images were sent in 2020."""
        found = {}
        encoding = self.encoding.name + (f" {self.resize}px" if self.resize else "")
        if encoding != encodings.JSON.name:
            found[semconv.ENCODING] = encoding
        if self.compression:
            found[semconv.COMPRESSION] = self.compression
        if self.cell:
            found[semconv.CELL] = self.cell
        return found

    def hint(self, status: int | None) -> str:
        """Say which servers take this form, for the message of one that answered `status`; nothing where all do."""
        if status not in _NOT_UNDERSTOOD:
            return ""
        if self.compression:
            return (
                "no model server inflates a request by itself: send without compression, or to one that was taught to "
                "(as examples/mobilenet's fast transformers were)"
            )
        if self.encoding.protocol == openai_chat.NAME and status not in _NO_ROUTE:
            return ""
        return _HINTS.get(self.encoding.name, "")


def payload_options(
    *,
    encoding: str | Encoding = "json",
    compression: str | None = None,
    resize: int | None = None,
    cell: str | None = None,
    transport_compresses: bool = False,
) -> PayloadOptions:
    """Check the keywords and import what they need, so that no image fails for them or waits.

    Raises:
        ConfigError: there is no such encoding or compression.
        MissingExtra: the compression's library, or Pillow for `resize`, is not installed.
    """
    if isinstance(encoding, str):
        encoding = encodings.by_name(encoding)
    if compression and not transport_compresses:
        compressor(compression)
    if resize is not None:
        if resize < 1:
            raise ConfigError(f"an image can't be resized to {resize} pixels; give 1 or more")
        resizing.load()
    return PayloadOptions(encoding, compression, resize, cell, transport_compresses)
