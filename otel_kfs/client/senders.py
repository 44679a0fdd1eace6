"""The client sender: one image, one root span, over HTTP or through Kafka."""

from __future__ import annotations

import itertools
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Generic

from otel_kfs import semconv
from otel_kfs.client.encodings import Encoding
from otel_kfs.client.image_span import SentImage, form, sent_image
from otel_kfs.client.model_client import ModelClient, predict_url
from otel_kfs.errors import SendError
from otel_kfs.telemetry import provider

if TYPE_CHECKING:
    import requests
    from typing_extensions import TypeVar

    from otel_kfs.client.kafka_access.record_publisher import Delivered

    Answer = TypeVar("Answer", default=Any)
else:
    from typing import TypeVar

    Answer = TypeVar("Answer")  # what `send` returns

# What servers answer to a form that they do not know; KFServing's 500 is its JSON reader's, of bytes that are no text.
_NOT_UNDERSTOOD = frozenset({400, 404, 405, 415, 422, 500, 501})


class Sender(ABC, Generic[Answer]):
    """What the transports share: the root span, and the image on its way to a body.

    `encoding` is `json` (base64 in V1 JSON), `v2` (a BYTES tensor of the Open Inference Protocol, binary), `raw` (the
    image itself), `cloudevent` (the same as a CloudEvent in binary mode), or an `Encoding` such as a `ClaimCheck`.
    `compression` is gzip, zstd or lz4; `resize` makes the image's shorter side so many pixels before it is sent; `cell`
    is a label of an experiment's, which the tables group by.
    """

    transport: str
    compresses_later = False  # whether it is the transport's own client that compresses, after `encode`

    def __init__(
        self,
        run_id: str | None = None,
        *,
        encoding: str | Encoding = "json",
        compression: str | None = None,
        resize: int | None = None,
        cell: str | None = None,
    ) -> None:
        self.run_id = run_id or uuid.uuid4().hex
        self._form = form(encoding, compression, resize, cell, compressed_later=self.compresses_later)
        self._sequence = itertools.count()

    def send(self, image: str | os.PathLike[str] | bytes, *, warmup: bool = False) -> Answer:
        """Send one image file (its path, or its bytes) in a trace of its own.

        A `warmup` is marked as such in its trace, and the tables leave it out.

        Raises:
            InputError: the file can't be read, or is not an image.
            SendError: it was not delivered, or the model's server refused it.
        """
        with self._root(warmup) as root:
            return self._deliver(root.encode(image), root.headers)

    def send_json(self, payload: str | os.PathLike[str] | bytes, *, warmup: bool = False) -> Answer:
        """Send one payload that is JSON already (a file's path, or its bytes), unchanged, in a trace of its own.

        Raises:
            InputError: the file can't be read, or is not JSON.
            SendError: it was not delivered, or the model's server refused it.
        """
        with self._root(warmup) as root:
            return self._deliver(root.encoded(payload), root.headers)

    def _root(self, warmup: bool) -> AbstractContextManager[SentImage]:
        return sent_image(self.transport, self._form, run_id=self.run_id, sequence=next(self._sequence), warmup=warmup)

    @abstractmethod
    def _deliver(self, payload: bytes, headers: Mapping[str, str]) -> Answer: ...


class HttpSender(Sender[dict[str, Any]]):
    """Sends images straight to a model server, or to the ingress before it; `send` returns the model's answer."""

    transport = semconv.HTTP

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        host: str | None = None,
        timeout: float = 600.0,
        run_id: str | None = None,
        session: requests.Session | None = None,
        encoding: str | Encoding = "json",
        compression: str | None = None,
        resize: int | None = None,
        cell: str | None = None,
    ) -> None:
        """`url` is the server's or ingress's with `model` given, else the model's whole URL.

        `host` is the Host header by which an ingress finds the model; `timeout` is in seconds. A `session` of yours
        brings credentials, certificates, proxies.
        """
        super().__init__(run_id, encoding=encoding, compression=compression, resize=resize, cell=cell)
        provider.instrument_requests()
        url = predict_url(url, model, self._form.encoding.protocol)
        self._client = ModelClient(url, host=host, timeout=timeout, session=session)

    def _deliver(self, payload: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        try:
            return self._client.post(payload, headers)
        except SendError as error:
            if error.status in _NOT_UNDERSTOOD and (hint := self._form.hint()):
                raise SendError(f"{error}; {hint}", error.status) from error
            raise


class KafkaSender(Sender["Delivered"]):
    """Sends images as records of a topic; `send` returns once the broker has acknowledged, with where they lie."""

    transport = semconv.KAFKA
    compresses_later = True

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        config: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
        run_id: str | None = None,
        encoding: str | Encoding = "json",
        compression: str | None = None,
        resize: int | None = None,
        cell: str | None = None,
    ) -> None:
        """`config` holds further librdkafka settings; `timeout` (seconds) bounds one record's delivery.

        A record's headers say what its value is (`content-type`, `ce_...`), as a bridge needs it for its request.
        `compression` is the producer's own (`compression.type`): the broker's clients undo it, the model gets the
        payload as it was.

        Unless `config` says otherwise, records of up to 100 MB leave this client; the broker's and the topic's limits
        are theirs.
        """
        from otel_kfs.client.kafka_access.record_publisher import RecordPublisher

        super().__init__(run_id, encoding=encoding, compression=compression, resize=resize, cell=cell)
        self._topic = topic
        settings = {**(config or {}), **({"compression.type": compression} if compression else {})}
        self._records = RecordPublisher(bootstrap_servers, timeout, settings)

    def _deliver(self, payload: bytes, headers: Mapping[str, str]) -> Delivered:
        own = [(_record_header(name), value.encode()) for name, value in headers.items()]
        return self._records.send(self._topic, payload, own)


def _record_header(name: str) -> str:
    """HTTP's spelling of a header as Kafka has it. Source: CloudEvents' Kafka protocol binding, `ce_`."""
    return f"ce_{name[3:]}" if name.startswith("ce-") else name
