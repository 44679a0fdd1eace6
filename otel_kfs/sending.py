"""The client sender: one image, one root span, over HTTP or through Kafka."""

from __future__ import annotations

import base64
import itertools
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from otel_kfs import names, tracing
from otel_kfs.errors import InputError, SendError, TooLarge
from otel_kfs.model_client import ModelClient, megabytes, predict_url

# The first bytes of what people send to image models; anything else is refused before it travels.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")


class Delivered(NamedTuple):
    """Where in Kafka a record lies."""

    topic: str
    partition: int
    offset: int


class _Sender(ABC):
    """What both transports share: the root span, and the image on its way to JSON."""

    transport: str

    def __init__(self, run_id: str | None = None) -> None:
        self.run_id = run_id or uuid.uuid4().hex
        self._sequence = itertools.count()

    def send(self, image: str | os.PathLike[str] | bytes, *, warmup: bool = False) -> Any:
        """Send one image file (its path, or its bytes) in a trace of its own.

        The image travels as `{"instances": [{"image_bytes": {"b64": ...}}]}`, base64 in JSON. A `warmup` is marked as
        such in its trace, and the tables leave it out.

        Raises:
            InputError: the file can't be read, or is not an image.
            SendError: it was not delivered, or the model's server refused it.
        """
        with self._root(warmup) as root:
            with tracing.tracer().start_as_current_span(names.ENCODE):
                content = image if isinstance(image, bytes) else read_file(image)
                if not content.startswith(_SIGNATURES):
                    what = "these bytes are" if isinstance(image, bytes) else f"{os.fspath(image)} is"
                    raise InputError(f"{what} not an image; give a JPG or PNG file (or a payload with --json)")
                payload = encode_image(content)
            root.set_attribute(names.IMAGE_SIZE, len(content))
            root.set_attribute(names.PAYLOAD_SIZE, len(payload))
            return self._deliver(payload)

    def send_json(self, payload: str | os.PathLike[str] | bytes, *, warmup: bool = False) -> Any:
        """Send one payload that is JSON already (a file's path, or its bytes), unchanged, in a trace of its own.

        Raises:
            InputError: the file can't be read, or is not JSON.
            SendError: it was not delivered, or the model's server refused it.
        """
        with self._root(warmup) as root:
            with tracing.tracer().start_as_current_span(names.ENCODE):
                content = payload if isinstance(payload, bytes) else read_file(payload)
                try:
                    orjson.loads(content)
                except orjson.JSONDecodeError as error:
                    what = "the payload" if isinstance(payload, bytes) else os.fspath(payload)
                    raise InputError(f"{what} is not JSON ({error}); give an image file with --image") from error
            root.set_attribute(names.PAYLOAD_SIZE, len(content))
            return self._deliver(content)

    def _root(self, warmup: bool) -> Any:
        attributes: dict[str, Any] = {
            names.TRANSPORT: self.transport,
            names.RUN_ID: self.run_id,
            names.SEQUENCE: next(self._sequence),
        }
        if warmup:
            attributes[names.WARMUP] = True
        return tracing.tracer().start_as_current_span(names.SEND_IMAGE, attributes=attributes)

    @abstractmethod
    def _deliver(self, payload: bytes) -> Any: ...


class HttpSender(_Sender):
    """Sends images straight to a model server, or to the ingress before it; `send` returns the model's answer."""

    transport = names.HTTP

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        host: str | None = None,
        timeout: float = 600.0,
        run_id: str | None = None,
    ) -> None:
        """`url` is the server's or ingress's with `model` given, else the whole `:predict` URL.

        `host` is the Host header by which an ingress finds the model; `timeout` is in seconds.
        """
        super().__init__(run_id)
        tracing.instrument_requests()
        self._client = ModelClient(predict_url(url, model), host=host, timeout=timeout)

    def _deliver(self, payload: bytes) -> dict[str, Any]:
        return self._client.post(payload)


class KafkaSender(_Sender):
    """Sends images as records of a topic; `send` returns once the broker has acknowledged, with where they lie."""

    transport = names.KAFKA

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        config: Mapping[str, Any] | None = None,
        timeout: float = 60.0,
        run_id: str | None = None,
    ) -> None:
        """`config` holds further librdkafka settings; `timeout` (seconds) bounds one record's delivery.

        Unless `config` says otherwise, records of up to 100 MB leave this client; the broker's and the topic's limits
        are theirs.
        """
        from otel_kfs.kafka.config import producer_config
        from otel_kfs.kafka.producer import Producer

        super().__init__(run_id)
        self._topic = topic
        self._timeout = timeout
        self._config = producer_config(bootstrap_servers, timeout, config or {})
        self._producer = Producer(self._config)

    def _deliver(self, payload: bytes) -> Delivered:
        from confluent_kafka import KafkaError, KafkaException

        reports: list[tuple[Any, Any]] = []
        try:
            self._producer.produce(
                self._topic, payload, on_delivery=lambda error, record: reports.append((error, record))
            )
        except KafkaException as error:
            if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise TooLarge(
                    f"a record of {megabytes(len(payload))} is over this producer's message.max.bytes "
                    f"({self._config['message.max.bytes']}): raise message.max.bytes in its configuration"
                ) from error
            raise SendError(f"can't send to topic {self._topic}: {error.args[0].str()}") from error
        # The delivery report comes by itself once message.timeout.ms is over, whatever happens to the broker.
        while not reports:
            self._producer.poll(0.1)
        failure, record = reports[0]
        if failure is None:
            return Delivered(record.topic(), record.partition(), record.offset())
        if failure.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise TooLarge(
                f"the broker refused a record of {megabytes(len(payload))}: raise the topic's max.message.bytes or "
                "the broker's message.max.bytes (and replica.fetch.max.bytes)"
            )
        servers = self._config["bootstrap.servers"]
        if failure.code() == KafkaError._MSG_TIMED_OUT:
            raise SendError(
                f"not delivered to {servers} within {self._timeout:g} s; check --bootstrap-servers, that the broker "
                f"runs, and that topic {self._topic} has a leader"
            )
        raise SendError(f"topic {self._topic} at {servers}: {failure.str()}")


def encode_image(content: bytes) -> bytes:
    """An image's bytes as the JSON that the senders post: `{"instances": [{"image_bytes": {"b64": ...}}]}`.

    Source: KFServing's image transformer sample, which follows TensorFlow Serving's REST API for binary values.
    """
    return orjson.dumps({"instances": [{"image_bytes": {"b64": base64.b64encode(content).decode("ascii")}}]})


def read_file(path: str | os.PathLike[str]) -> bytes:
    """A file's bytes, or an InputError that names it."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"can't read {os.fspath(path)}: {error.strerror}") from error
