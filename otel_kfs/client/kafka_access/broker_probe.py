"""Whether a sender's records have anywhere to go: a broker that was never reached is no outage to be waited out."""

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

_FIRST_CONTACT_SECONDS = 3.0  # from the first record on, until it is asked whether anybody is there
_ANSWER_SECONDS = 3.0

# What only a client of its own may have.
_CALLBACKS = ("error_cb", "stats_cb", "throttle_cb", "on_delivery", "logger", "log_level", "transactional.id")


class BrokerProbe:
    """What one producer knows of its brokers; `heard` is its `error_cb`."""

    def __init__(self, servers: str) -> None:
        self.reached = False
        self._servers = servers
        self._reason = ""
        self._outages = OutageLog(_log, f"no broker reached at {servers}")
        self._waiting_since: float | None = None

    def heard(self, error: KafkaError) -> None:
        """What librdkafka says of its connections; it connects again by itself."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._reason = error.str().partition(" (after ")[0]
        elif self.reached:
            self._outages.met(self._reason or error.str())

    def check(self, config: Mapping[str, Any]) -> None:
        """To be called while a record waits: `config` is its producer's.

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
            raise SendError(self._nobody())
        self.reached = True

    def late(self, config: Mapping[str, Any], topic: str, seconds: float) -> str:
        """Why a record of this topic was not delivered in so many seconds, as far as the brokers tell now."""
        metadata = _metadata(config)
        if metadata is None:
            return self._nobody()
        partitions = metadata.topics[topic].partitions.values() if topic in metadata.topics else ()
        orphans = [partition for partition in partitions if partition.leader < 0]
        if orphans:
            which = ", ".join(map(str, sorted(partition.id for partition in orphans)))
            holders = ", ".join(map(str, sorted({broker for partition in orphans for broker in partition.replicas})))
            return (
                f"topic {topic} at {self._servers} has no leader for partition {which}: start one of the brokers that "
                f"hold it ({holders})"
            )
        return f"the broker at {self._servers} answers, but not in time: raise --timeout (now {seconds:g} s)"

    def _nobody(self) -> str:
        because = f" ({self._reason})" if self._reason else ""
        return f"no broker answers at {self._servers}{because}; check --bootstrap-servers and that the broker runs"


def _metadata(config: Mapping[str, Any]) -> Any:
    """What the brokers say of the cluster's topics; None where none answers.

    Asked by a client of its own: on the producer's connection the question would wait behind a large record. And about
    all topics: asked about one, a broker may create it.
    """
    settings = {key: value for key, value in config.items() if key not in _CALLBACKS}
    try:
        return confluent_kafka.Producer({**settings, "log_level": 0}).list_topics(timeout=_ANSWER_SECONDS)
    except KafkaException:
        return None
