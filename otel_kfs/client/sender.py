"""What the senders share: an image's root span, and the image encoded as a transport's payload."""

from __future__ import annotations

import itertools
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic

from otel_kfs.client.image_span import SentImage, start_image_span
from otel_kfs.client.payload_options import payload_options

if TYPE_CHECKING:
    from typing_extensions import TypeVar, Unpack

    from otel_kfs.client.payload_options import PayloadKeywords

    Answer = TypeVar("Answer", default=Any)
else:
    from typing import TypeVar

    Answer = TypeVar("Answer")  # what `send` returns


class Sender(ABC, Generic[Answer]):
    """One image, one trace; a transport says how a payload is delivered.

    `encoding` is `json` (base64 in V1 JSON), `v2` (a BYTES tensor of the Open Inference Protocol, binary), `raw` (the
    image itself), `cloudevent` (the same as a CloudEvent in binary mode), `openai` (a chat's message; for HttpSender
    alone), or an `Encoding` such as a `ClaimCheck`. `compression` is gzip, zstd or lz4. `resize` scales the image down
    before it is sent, until its shorter side has that many pixels. `cell` is a label of an experiment's, which the
    tables group by.
    """

    transport: str
    transport_compresses = False  # whether the transport's own client compresses, after `encode`

    def __init__(self, run_id: str | None = None, **options: Unpack[PayloadKeywords]) -> None:
        self.run_id = run_id or uuid.uuid4().hex
        self._options = payload_options(**options, transport_compresses=self.transport_compresses)
        self._sequence = itertools.count()

    def send(self, image: str | os.PathLike[str] | bytes, *, warmup: bool = False, due: int | None = None) -> Answer:
        """Send one image file (its path, or its bytes) in a trace of its own.

        A `warmup` is marked as such in its trace, and the tables leave it out.

        `due` is when the image was to be sent, in ns since the epoch (as `time.time_ns()`): its trace, and with it
        stamp 1, begins then, however late it leaves. What lies between is a `late start` span, and part of 4-1. It is
        not waited for.

        Raises:
            InputError: the file can't be read, or is not an image.
            SendError: it was not delivered, or the model's server refused it.
        """
        with self._root(warmup=warmup, due=due) as root:
            return self._deliver(root.encode(image), root.headers)

    def send_json(self, payload: str | os.PathLike[str] | bytes, *, warmup: bool = False) -> Answer:
        """Send one payload that is JSON already (a file's path, or its bytes), unchanged, in a trace of its own.

        Raises:
            InputError: the file can't be read, or is not JSON.
            SendError: it was not delivered, or the model's server refused it.
        """
        with self._root(warmup=warmup) as root:
            return self._deliver_json(root.encoded(payload), root.headers)

    def _root(self, *, warmup: bool, due: int | None = None) -> AbstractContextManager[SentImage]:
        sequence = next(self._sequence)
        return start_image_span(
            self.transport, self._options, run_id=self.run_id, sequence=sequence, warmup=warmup, due=due
        )

    @abstractmethod
    def _deliver(self, payload: bytes, headers: Mapping[str, str]) -> Answer: ...

    def _deliver_json(self, payload: bytes, headers: Mapping[str, str]) -> Answer:
        return self._deliver(payload, headers)
