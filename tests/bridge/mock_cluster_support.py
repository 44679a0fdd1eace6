"""librdkafka's own mock cluster, whose faults can be chosen; it has groups, and keeps offsets with their metadata.

confluent_kafka has no calls for it, so that it is reached by ctypes, in the library that confluent_kafka brings.
Source: librdkafka's rdkafka_mock.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import cimpl

API_KEYS = {"fetch": 1, "offset commit": 8, "offset fetch": 9, "join group": 11, "heartbeat": 12, "sync group": 14}
_BROKER = 1
_PRODUCER = 0  # rd_kafka_type_t


class MockCluster:
    """A cluster of one broker."""

    def __init__(self, library: ctypes.CDLL, cluster: ctypes.c_void_p) -> None:
        self._library, self._cluster = library, cluster
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        self.bootstrap_servers = library.rd_kafka_mock_cluster_bootstraps(cluster).decode()

    def create_topic(self, name: str, partitions: int) -> None:
        """Make a topic."""
        assert self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1) == 0

    def fail(self, request: str, *errors: int) -> None:
        """Answer the next requests of that kind with these errors."""
        codes = map(ctypes.c_int, errors)
        count = ctypes.c_size_t(len(errors))
        self._library.rd_kafka_mock_push_request_errors(self._cluster, ctypes.c_int16(API_KEYS[request]), count, *codes)

    def delay(self, milliseconds: int) -> None:
        """Let each answer take so long."""
        self._library.rd_kafka_mock_broker_set_rtt(self._cluster, ctypes.c_int32(_BROKER), milliseconds)

    def down(self) -> None:
        """Let the broker refuse connections, and end those that there are."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, ctypes.c_int32(_BROKER))

    def up(self) -> None:
        """Let the broker take connections again."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, ctypes.c_int32(_BROKER))


@contextmanager
def mock_cluster() -> Iterator[MockCluster]:
    """Run a cluster."""
    library = ctypes.CDLL(cimpl.__file__)
    for function in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, function).restype = ctypes.c_void_p
    why = ctypes.create_string_buffer(200)
    config = ctypes.c_void_p(library.rd_kafka_conf_new())
    owner = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, config, why, ctypes.c_size_t(200)))
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(owner, 1))
    try:
        yield MockCluster(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(owner)
