"""Settings of the Kafka clients: reading a properties file, and the sizes that image records need."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otel_kfs.errors import ConfigError

_log = logging.getLogger(__name__)

# Larger than any image people send as one record, small enough to bound a mistake. librdkafka's own limit is 1 MB.
MAX_RECORD_BYTES = 100_000_000

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
    """A Kafka client's properties file (`key=value` lines, `#` and `!` comments) as librdkafka's settings.

    The Java clients' names of size, time-out and compression are translated; their serializers are passed over.

    Raises:
        ConfigError: the file can't be read, or a line is not `key=value`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't read {os.fspath(path)}: {error}") from error
    settings = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()  # noqa: PLW2901
        if not line or line[0] in "#!":
            continue
        key, separator, value = line.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"{os.fspath(path)}, line {number}: not key=value")
        key = _RENAMED.get(key.strip(), key.strip())
        if key not in _WITHOUT_MEANING:
            settings[key] = value.strip()
    return settings


def producer_config(bootstrap_servers: str, timeout: float, config: Mapping[str, Any]) -> dict[str, Any]:
    """A sender's settings: `config` over defaults that let image records pass and bound their delivery (seconds)."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "message.max.bytes": MAX_RECORD_BYTES,
        "message.timeout.ms": int(timeout * 1000),
        "linger.ms": 0,
        "logger": _log,
        **config,
    }


def consumer_config(bootstrap_servers: str, group: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A bridge's settings: `config` over defaults that let image records pass and commit nothing by themselves."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "max.partition.fetch.bytes": MAX_RECORD_BYTES,
        "fetch.max.bytes": MAX_RECORD_BYTES,
        # librdkafka wants this to be larger than what it may be asked to receive, by the size of a response's frame.
        "receive.message.max.bytes": MAX_RECORD_BYTES + 1_000_000,
        "logger": _log,
        **config,
    }
