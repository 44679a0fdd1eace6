"""A broker's errors: what no new try can mend ends the bridge, everything else is logged and waited for."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from confluent_kafka import KafkaError

from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import ConfigError

_log = logging.getLogger(__name__)

# What no new try can mend: rights and logins, settings that the broker or its group does not take, and records that
# librdkafka would otherwise pass over. (KafkaError.retriable() says False of every error that came as a mere code.)
_PERMANENT = {
    KafkaError._AUTHENTICATION,
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError._BAD_COMPRESSION,
    KafkaError._BAD_MSG,
    KafkaError._FATAL,
    KafkaError._INVALID_ARG,
    KafkaError._NOT_IMPLEMENTED,
    KafkaError._UNSUPPORTED_FEATURE,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    KafkaError.INVALID_COMMIT_OFFSET_SIZE,
    KafkaError.INVALID_GROUP_ID,
    KafkaError.INVALID_REGULAR_EXPRESSION,
    KafkaError.INVALID_SESSION_TIMEOUT,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.SECURITY_DISABLED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,  # no name that a topic can have
    KafkaError.UNSUPPORTED_ASSIGNOR,
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.UNSUPPORTED_VERSION,
}


def is_permanent(error: KafkaError) -> bool:
    """Tell whether no new try can mend an error."""
    return error.fatal() or error.code() in _PERMANENT


class BrokerErrors:
    """The errors of one consumer, by what has to be done about them."""

    def __init__(self, servers: str, topics: Sequence[str]) -> None:
        self._servers = servers
        self._topics = topics
        self._fatal = ""
        self._unreachable = ""  # why a connection broke last
        self._outages = OutageLog(_log, f"no broker reached at {servers}")
        self._failures = OutageLog(_log, f"the broker at {servers} can't serve the bridge for now")

    def in_place_of_record(self, error: KafkaError) -> None:
        """Take an error that `poll` returned; librdkafka tries again by itself, and a topic may still be made.

        Raises:
            ConfigError: trying again can't mend it.
        """
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            _log.warning("topic %s does not exist yet on %s", ", ".join(self._topics), self._servers)
        elif is_permanent(error):
            raise self._refusal(error.str())
        else:
            self._failures.report(error.str())

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
