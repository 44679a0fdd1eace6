"""The client sender: one image, one root span, over HTTP or through Kafka."""

from __future__ import annotations

import itertools
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_kfs import names, tracing
from otel_kfs.errors import SendError, TooLarge
from otel_kfs.model_client import ModelClient, megabytes, predict_url
from otel_kfs.sent_image import SentImage, image_span

if TYPE_CHECKING:
    import requests


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
        """Send one image file (its path, or its bytes), base64 in JSON, in a trace of its own.

        A `warmup` is marked as such in its trace, and the tables leave it out.

        Raises:
            InputError: the file can't be read, or is not an image.
            SendError: it was not delivered, or the model's server refused it.
        """
        with self._root(warmup) as root:
            return self._deliver(root.encode(image))

    def send_json(self, payload: str | os.PathLike[str] | bytes, *, warmup: bool = False) -> Any:
        """Send one payload that is JSON already (a file's path, or its bytes), unchanged, in a trace of its own.

        Raises:
            InputError: the file can't be read, or is not JSON.
            SendError: it was not delivered, or the model's server refused it.
        """
        with self._root(warmup) as root:
            return self._deliver(root.encoded(payload))

    def _root(self, warmup: bool) -> AbstractContextManager[SentImage]:
        return image_span(self.transport, run_id=self.run_id, sequence=next(self._sequence), warmup=warmup)

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
        session: requests.Session | None = None,
    ) -> None:
        """`url` is the server's or ingress's with `model` given, else the whole `:predict` URL.

        `host` is the Host header by which an ingress finds the model; `timeout` is in seconds. A `session` of yours
        brings credentials, certificates, proxies.
        """
        super().__init__(run_id)
        tracing.instrument_requests()
        self._client = ModelClient(predict_url(url, model), host=host, timeout=timeout, session=session)

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
