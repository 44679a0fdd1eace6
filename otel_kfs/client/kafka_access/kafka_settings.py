"""Settings of the Kafka clients: a properties file read, and the sizes that image records need."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otel_kfs.client.kafka_access.kafka_security import Refusals, translate
from otel_kfs.errors import ConfigError, MissingExtra

_log = logging.getLogger(__name__)

# Larger than any image people send as one record, small enough to bound a mistake. librdkafka's own limit is 1 MB.
MAX_RECORD_BYTES = 100_000_000

# What a bridge fetches ahead at most, unless a single record is larger. A small value costs no throughput, a large one
# memory: what one response took, the C library keeps for the next one.
_FETCH_BYTES = 1_048_576
_LOOK_AGAIN_MS = 10  # at whether there is room for more, with as much fetched ahead; librdkafka's own 1 s is a stall

# What Java clients call otherwise than librdkafka, or librdkafka has no use for; from their two CONFIGURATION pages.
_RENAMED = {
    "max.request.size": "message.max.bytes",
    "delivery.timeout.ms": "message.timeout.ms",
    "compression.type": "compression.codec",
}
_WITHOUT_MEANING = {
    "key.serializer",
    "value.serializer",
    "key.deserializer",
    "value.deserializer",
    "buffer.memory",
}


def read_properties(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read a Kafka client's properties file as Java does, and return librdkafka's settings.

    The Java clients' names of size, time-out and compression are translated, and their logins and stores as far as
    librdkafka has them; their serializers are left out. librdkafka's own names may stand beside them. A backslash is
    Java's: it escapes the next character, or continues a line.

    Raises:
        ConfigError: the file can't be read, a line is not `key=value`, or librdkafka has no such login or store.
    """
    try:
        import javaproperties
    except ImportError as error:
        raise MissingExtra("javaproperties", "kafka") from error
    where = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"can't read {where}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"can't read {where}: it is not text in UTF-8") from error
    settings = {}
    number = 1
    try:
        for part in javaproperties.parse(io.StringIO(text)):
            if isinstance(part, javaproperties.KeyValue):
                # Java takes a line without a separator for a key and a blank; here it is a slip of the pen.
                if not part.key or not any(separator in part.source for separator in "=:"):
                    raise ConfigError(f"{where}, line {number}: not key=value")
                key = _RENAMED.get(part.key, part.key)
                if key not in _WITHOUT_MEANING:
                    settings[key] = part.value.strip()
            number += len(part.source.splitlines())
    except javaproperties.InvalidUEscapeError:
        # Its own words, and its context, would show the value.
        raise ConfigError(f"{where}, line {number}: \\u without four hexadecimal digits") from None
    return translate(settings, where)


def producer_config(
    bootstrap_servers: str, timeout: float, config: Mapping[str, Any], *, where: str = "the producer's settings"
) -> dict[str, Any]:
    """Return a sender's settings: `config` over defaults that let image records pass within `timeout` seconds.

    Raises:
        ConfigError: `config` contradicts the servers, or keeps delivery reports back.
    """
    _check_servers(config, bootstrap_servers, where)
    if not _is_false(config.get("delivery.report.only.error", False)):
        raise ConfigError(f"{where}: delivery.report.only.error would leave every record waiting for its report")
    settings = {
        "bootstrap.servers": bootstrap_servers,
        "message.max.bytes": MAX_RECORD_BYTES,
        "message.timeout.ms": int(timeout * 1000),
        "linger.ms": 0,
        "logger": _log,
        **config,
    }
    return {**settings, "error_cb": Refusals(settings, settings.get("error_cb"))}


def consumer_config(bootstrap_servers: str, group: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bridge's settings: `config` over defaults that let image records pass and never commit.

    Raises:
        ConfigError: `config` contradicts the servers or the group, or commits by itself.
    """
    where = "the consumer's settings"
    _check_servers(config, bootstrap_servers, where)
    if config.get("group.id", group) != group:
        raise ConfigError(f"{where}: group.id={config['group.id']} contradicts the group {group}: leave it out")
    if not _is_false(config.get("enable.auto.commit", False)):
        raise ConfigError(f"{where}: enable.auto.commit would commit records that nobody has answered: leave it out")
    settings = {
        "bootstrap.servers": bootstrap_servers,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "max.partition.fetch.bytes": _FETCH_BYTES,
        # Below that, librdkafka refuses to begin; left alone, it puts one above the other by itself.
        **({} if "message.max.bytes" in config else {"fetch.max.bytes": _FETCH_BYTES}),
        "queued.max.messages.kbytes": _FETCH_BYTES // 1024,
        "fetch.queue.backoff.ms": _LOOK_AGAIN_MS,
        # librdkafka wants this to be larger than what it may be asked to receive, by the size of a response's frame.
        "receive.message.max.bytes": MAX_RECORD_BYTES + 1_000_000,
        "logger": _log,
        **config,
    }
    return {**settings, "error_cb": Refusals(settings, settings.get("error_cb"))}


def _check_servers(config: Mapping[str, Any], bootstrap_servers: str, where: str) -> None:
    for key in ("bootstrap.servers", "metadata.broker.list"):
        if key in config and _names(config[key]) != _names(bootstrap_servers):
            raise ConfigError(f"{where}: {key}={config[key]} contradicts the servers {bootstrap_servers}: leave it out")


def _names(servers: Any) -> set[str]:
    return {name.strip() for name in str(servers).split(",")}


def _is_false(setting: Any) -> bool:
    """Read a switch as librdkafka does."""
    return str(setting).strip().lower() in {"false", "f", "0"}
