"""A broker's errors: what no new try can mend ends the bridge, everything else is logged and waited for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from confluent_kafka import KafkaError

from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import ConfigError

_log = logging.getLogger(__name__)


class BrokerErrors:
    """The errors of one consumer, by what has to be done about them."""

    def __init__(self, servers: str, topics: Sequence[str]) -> None:
        self._servers = servers
        self._topics = topics
        self._fatal = ""
        self._unreachable = ""  # why a connection broke last
        self._outages = OutageLog(_log, f"no broker reached at {servers}")

    def in_place_of_record(self, error: KafkaError) -> None:
        """Take an error that `poll` returned; a topic that does not exist yet may still be made.

        Raises:
            ConfigError: trying again can't mend it.
        """
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            _log.warning("topic %s does not exist yet on %s", ", ".join(self._topics), self._servers)
        elif error.fatal() or not error.retriable():
            raise self._refusal(error.str())

    def of_connection(self, error: KafkaError) -> None:
        """Take an error of `error_cb`: librdkafka connects again by itself, but not to better credentials."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._outages.report(self._unreachable or error.str())
        elif error.fatal():
            self._fatal = error.str()
        else:
            self._unreachable = error.str().partition(" (after ")[0]

    def check(self, commit_refusal: str) -> None:
        """Raise what has been said meanwhile; `commit_refusal` is why commits are refused, if they are.

        Raises:
            ConfigError: trying again can't mend it.
        """
        if commit_refusal:
            raise ConfigError(
                f"the broker at {self._servers} refuses to commit offsets: {commit_refusal}; "
                "see offset.metadata.max.bytes, and the group's and topic's rights"
            )
        if self._fatal:
            raise self._refusal(self._fatal)

    def _refusal(self, reason: str) -> ConfigError:
        return ConfigError(f"the broker at {self._servers} refused: {reason}")
