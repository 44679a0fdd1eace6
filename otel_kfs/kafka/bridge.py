"""The bridge: consumes a topic and hands each record to a model's URL, committing only what was answered."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError

from otel_kfs import tracing
from otel_kfs.errors import ConfigError, SendError
from otel_kfs.kafka.config import consumer_config
from otel_kfs.kafka.consumer import Consumer
from otel_kfs.kafka.handling import process
from otel_kfs.model_client import ModelClient

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5  # how soon a request to stop is seen


@dataclass(frozen=True)
class Answer:
    """What became of one record: the model's answer, or why the model's server refused it."""

    topic: str
    partition: int
    offset: int
    answer: dict[str, Any] | None
    refused: str | None = None


class Bridge:
    """Consumes `topics` and posts each record's value to a model.

    A record's offset is committed after its answer, so a bridge that dies hands the record over again. A record that
    the server refuses as the client's fault (4xx) is reported and passed over; any other failure ends `run` with the
    record uncommitted.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Sequence[str],
        url: str,
        *,
        group: str = "otel-kfs-bridge",
        host: str | None = None,
        timeout: float = 600.0,
        config: Mapping[str, Any] | None = None,
        links: bool = False,
    ) -> None:
        """`url` is the model's; `host` goes into the Host header; `timeout` bounds one answer (seconds).

        `config` holds further librdkafka settings. With `links`, each record's processing is a trace of its own that
        links to the producer's, instead of a part of it.
        """
        tracing.instrument_requests()
        self._client = ModelClient(url, host=host, timeout=timeout)
        self._group = group
        self._links = links
        self._topics = list(topics)
        self._servers = bootstrap_servers
        # What goes wrong with connections comes by this callback alone; librdkafka would also log it, at each try.
        settings = {"error_cb": self._connection_error, "log_level": 2, **(config or {})}
        self._unreached = ""
        self._consumer = Consumer(consumer_config(bootstrap_servers, group, settings))

    def run(self, on_answer: Callable[[Answer], None], stop: threading.Event | None = None) -> None:
        """Hand records over until `stop` is set, telling `on_answer` of each; the consumer is closed at the end.

        Raises:
            SendError: the model's server can't be reached or failed; the record was not committed.
            ConfigError: the broker refuses the topic, the group or the credentials.
        """
        stop = stop or threading.Event()
        try:
            self._consumer.subscribe(self._topics)
            while not stop.is_set():
                record = self._consumer.poll(_POLL_SECONDS)
                if record is None:
                    continue
                if record.error() is not None:
                    self._broker_error(record.error())
                    continue
                on_answer(self._hand_over(record))
                self._consumer.commit(record, asynchronous=False)
        finally:
            self._consumer.close()
            self._client.close()

    def _hand_over(self, record: Any) -> Answer:
        place = (record.topic(), record.partition(), record.offset())
        try:
            with process(record, group=self._group, links=self._links):
                answer = self._client.post(record.value() or b"")
        except SendError as error:
            if error.status is None or error.status >= 500:
                raise
            return Answer(*place, None, refused=str(error))
        return Answer(*place, answer)

    def _broker_error(self, error: KafkaError) -> None:
        """What stands in the place of a record; a topic that does not exist yet may still be made."""
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            _log.warning("topic %s does not exist yet on %s", ", ".join(self._topics), self._servers)
        elif error.fatal() or not error.retriable():
            raise ConfigError(f"the broker at {self._servers} refused: {error.str()}")

    def _connection_error(self, error: KafkaError) -> None:
        """What librdkafka tells of its connections: it connects again by itself, but not to better credentials."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            _log.warning("no broker reached at %s, trying again: %s", self._servers, self._unreached or error.str())
        elif error.fatal() or error.code() == KafkaError._AUTHENTICATION:
            raise ConfigError(f"the broker at {self._servers} refused: {error.str()}")
        else:
            self._unreached = error.str()
