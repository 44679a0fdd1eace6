"""Tells an outage, which is waited out, from a broker that was never there, for which nobody waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException

from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import SendError

_log = logging.getLogger(__name__)

_FIRST_CONTACT_SECONDS = 3.0  # from the first record until the brokers are asked for an answer
_ANSWER_SECONDS = 3.0

# What only a client of its own may have.
_CALLBACKS = ("error_cb", "stats_cb", "throttle_cb", "on_delivery", "logger", "log_level", "transactional.id")


class BrokerProbe:
    """Knows whether one producer's brokers were ever reached; `on_error` is its `error_cb`."""

    def __init__(self, servers: str) -> None:
        self.reached = False
        self._servers = servers
        self._reason = ""
        self._outages = OutageLog(_log, f"no broker reached at {servers}")
        self._waiting_since: float | None = None

    def on_error(self, error: KafkaError) -> None:
        """Note what librdkafka reports of its connections; it connects again by itself."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._reason = error.str().partition(" (after ")[0]
        elif self.reached:
            self._outages.report(self._reason or error.str())

    def check(self, config: Mapping[str, Any]) -> None:
        """Check that somebody is there, while a record waits; `config` is its producer's.

        Raises:
            SendError: no broker was ever reached, and none answers now.
        """
        if self.reached:
            return
        self._waiting_since = self._waiting_since or time.monotonic()
        if time.monotonic() - self._waiting_since < _FIRST_CONTACT_SECONDS:
            return
        if _metadata(config) is None:
            # The next record waits anew.
            self._waiting_since = None
            raise SendError(self._no_broker())
        self.reached = True

    def explain_timeout(self, config: Mapping[str, Any], topic: str, seconds: float) -> str:
        """Say why a record was not delivered to `topic` within `seconds`, as far as the brokers tell now."""
        metadata = _metadata(config)
        if metadata is None:
            return self._no_broker()
        partitions = metadata.topics[topic].partitions.values() if topic in metadata.topics else ()
        leaderless = [partition for partition in partitions if partition.leader < 0]
        if leaderless:
            which = ", ".join(map(str, sorted(partition.id for partition in leaderless)))
            holders = ", ".join(map(str, sorted({broker for partition in leaderless for broker in partition.replicas})))
            return (
                f"topic {topic} at {self._servers} has no leader for partition {which}: start one of the brokers that "
                f"hold it ({holders})"
            )
        return f"the broker at {self._servers} answers, but not in time: raise --timeout (now {seconds:g} s)"

    def _no_broker(self) -> str:
        because = f" ({self._reason})" if self._reason else ""
        return f"no broker answers at {self._servers}{because}; check --bootstrap-servers and that the broker runs"


def _metadata(config: Mapping[str, Any]) -> Any:
    """Ask the brokers for the cluster's topics; None where none answers.

    A client of its own asks: on the producer's connection the question would wait behind a large record. It asks about
    all topics: asked about one, a broker may create it.
    """
    settings = {key: value for key, value in config.items() if key not in _CALLBACKS}
    try:
        return confluent_kafka.Producer({**settings, "log_level": 0}).list_topics(timeout=_ANSWER_SECONDS)
    except KafkaException:
        return None
