"""librdkafka's own mock cluster, whose faults a test chooses: errors, delays, outages, a coordinator that moves."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from confluent_kafka import cimpl

# The requests that can be answered with an error, by Kafka's numbers of them.
REQUESTS = {
    "Produce": 0,
    "Fetch": 1,
    "ListOffsets": 2,
    "Metadata": 3,
    "OffsetCommit": 8,
    "OffsetFetch": 9,
    "FindCoordinator": 10,
    "JoinGroup": 11,
    "Heartbeat": 12,
    "LeaveGroup": 13,
    "SyncGroup": 14,
    "InitProducerId": 22,
}
ALL_BROKERS = -1


class MockCluster:
    """Brokers in this process, on ports of loopback; they keep the records of a test, and forget them at the end."""

    def __init__(self, brokers: int) -> None:
        self._library = library = ctypes.CDLL(cimpl.__file__)  # its symbols are looked for in librdkafka, too
        for made in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
            getattr(library, made).restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        why = ctypes.create_string_buffer(200)
        config = ctypes.c_void_p(library.rd_kafka_conf_new())
        # The cluster logs through this client, which is used for nothing else.
        library.rd_kafka_conf_set(config, b"log_level", b"0", why, ctypes.c_size_t(200))
        self._client = ctypes.c_void_p(library.rd_kafka_new(0, config, why, ctypes.c_size_t(200)))
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(self._client, brokers))
        self.bootstrap_servers = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, ctypes.c_int32(0))

    def create_topic(self, topic: str, partitions: int) -> None:
        """Make a topic."""
        assert self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1) == 0

    def answer_with(self, request: str, errors: Sequence[int]) -> None:
        """Answer the next requests of a kind, whoever sends them, with these error codes."""
        codes = (ctypes.c_int * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, ctypes.c_int16(REQUESTS[request]), ctypes.c_size_t(len(errors)), codes
        )

    def answer_as_usual(self) -> None:
        """Forget the errors that no request has met yet."""
        for number in REQUESTS.values():
            self._library.rd_kafka_mock_clear_request_errors(self._cluster, ctypes.c_int16(number))

    def set_down(self, broker: int) -> None:
        """Close all connections to a broker, and take no new ones."""
        assert self._library.rd_kafka_mock_broker_set_down(self._cluster, ctypes.c_int32(broker)) == 0

    def set_up(self) -> None:
        """Let all brokers take connections."""
        assert self._library.rd_kafka_mock_broker_set_up(self._cluster, ctypes.c_int32(ALL_BROKERS)) == 0

    def delay(self, milliseconds: int) -> None:
        """Let every answer of every broker take so long."""
        cluster, broker = self._cluster, ctypes.c_int32(ALL_BROKERS)
        assert self._library.rd_kafka_mock_broker_set_rtt(cluster, broker, milliseconds) == 0

    def move_coordinator(self, group: str, broker: int) -> None:
        """Let another broker coordinate a group."""
        self._library.rd_kafka_mock_coordinator_set(self._cluster, b"group", group.encode(), ctypes.c_int32(broker))

    def move_leader(self, topic: str, partition: int, broker: int) -> None:
        """Let another broker lead a partition."""
        self._library.rd_kafka_mock_partition_set_leader(
            self._cluster, topic.encode(), partition, ctypes.c_int32(broker)
        )

    def close(self) -> None:
        """End the brokers."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)
