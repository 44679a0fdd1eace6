"""The options of a bridge, and the one place that checks how they fit together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import requests

from otel_kfs.bridge import outcomes
from otel_kfs.bridge.outcomes import Policy
from otel_kfs.bridge.retries import RetryPolicy
from otel_kfs.client.model_request.answer_limits import DEFAULT_ANSWER_SIZE
from otel_kfs.client.model_request.model_session import ModelSession
from otel_kfs.errors import ConfigError

MOST_IN_BATCH = 128  # as many links as the SDK keeps of a span


@dataclass(frozen=True)
class BridgeOptions:
    """What a bridge does; times are in seconds.

    With `links`, each record's processing is a trace of its own that links to the producer's, instead of a part of
    it; without `trust_context` too, and the producer's baggage stays out.

    A request that fails is repeated up to `retries` times, within `retry_for` seconds. Then `on_unanswered` says what
    becomes of the record, `on_refused` of one that the server refuses (4xx): "skip", "dead-letter" or "stop" (default:
    "dead-letter" with a dead-letter topic, else "stop" and "skip").

    With `redrive`, the records are the dead-letter topic's own, up to its present end; `topics` is empty then.

    Raises:
        ConfigError: options that can't work together.
    """

    bootstrap_servers: str
    topics: Sequence[str]
    url: str  # the model's
    _: KW_ONLY
    group: str = "otel-kfs-bridge"
    host: str | None = None  # the Host header, by which an ingress finds the model
    timeout: float = 600.0  # of one request, in seconds
    max_answer_size: int = DEFAULT_ANSWER_SIZE  # bytes, once decompressed
    config: Mapping[str, Any] | None = None  # further librdkafka settings of the consumer
    links: bool = False
    trust_context: bool = True
    concurrency: int = 1  # records at the model at a time
    batch: int = 1  # records in one request, at most; of 1, each has its own
    max_in_flight: int | None = None  # records in memory; default: twice as many as can be at the model
    retries: int = 5
    retry_for: float = 60.0
    dead_letter_topic: str | None = None
    # Of the dead-letter topic's producer; without it: as far as they are about reaching the broker, the consumer's.
    dead_letter_config: Mapping[str, Any] | None = None
    on_refused: Policy | None = None
    on_unanswered: Policy | None = None
    grace: float = 30.0  # for records being posted, at the end and before partitions go to another bridge
    redrive: bool = False
    # Makes the HTTP session of one worker: it brings credentials, certificates, proxies.
    session: Callable[[], requests.Session] = field(default=ModelSession)

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= MOST_IN_BATCH:
            raise ConfigError(f"a batch has 1 to {MOST_IN_BATCH} records, not {self.batch}")
        if self.redrive and (self.topics or self.dead_letter_topic is None):
            raise ConfigError("a redrive reads the dead-letter topic: name that one, and no other topic")
        if self.dead_letter_topic in self.topics:
            raise ConfigError(f"{self.dead_letter_topic} is the dead-letter topic: it can't be bridged, only redriven")
        if self.dead_letter_topic is None and outcomes.DEAD_LETTER in {self.on_refused, self.on_unanswered}:
            raise ConfigError("dead letters need a topic; name one with --dead-letter-topic")

    @property
    def consumed_topics(self) -> list[str]:
        """The topics to subscribe to."""
        return [self.dead_letter_topic] if self.redrive and self.dead_letter_topic else list(self.topics)

    def excluded_topics(self) -> dict[str, str]:
        """Return the consumer's setting by which no pattern among the topics takes in the dead-letter topic."""
        if self.dead_letter_topic is None or self.redrive:
            return {}
        others = (self.config or {}).get("topic.blacklist", "")
        return {"topic.blacklist": ",".join(filter(None, [f"^{re.escape(self.dead_letter_topic)}$", others]))}

    @property
    def in_flight_limit(self) -> int:
        """How many records may be in memory at a time."""
        return self.max_in_flight or 2 * self.at_model  # so that no worker waits for its next record

    @property
    def at_model(self) -> int:
        """How many records may be at the model at a time."""
        return self.concurrency * self.batch

    @property
    def retry_policy(self) -> RetryPolicy:
        """How long a request is repeated."""
        return RetryPolicy(self.retries, self.retry_for)

    def policy(self, *, refused: bool) -> Policy:
        """Return what becomes of a record that the server refused, or that was not answered after all retries."""
        chosen = self.on_refused if refused else self.on_unanswered
        if self.dead_letter_topic is not None:
            return chosen or outcomes.DEAD_LETTER
        return chosen or (outcomes.SKIP if refused else outcomes.STOP)
