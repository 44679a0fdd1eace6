"""What several tests of the Kafka clients use: settings, and records that confluent_kafka's producer would not send."""

import ctypes
import logging
from typing import Any

from confluent_kafka import cimpl
from support import unserved_port

# librdkafka's own broker, inside the producer that is made with these: enough where nobody else reads the records.
MOCK = {"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "linger.ms": 0}

# A producer of these never delivers anything.
UNREACHABLE = {"bootstrap.servers": f"127.0.0.1:{unserved_port()}", "logger": logging.getLogger("unreachable")}


def named(spans: Any, name: str) -> list[Any]:
    """The finished spans of that name, in the order in which they ended."""
    return [span for span in spans.get_finished_spans() if span.name == name]


def produce_with_header(servers: str, topic: str, key: bytes, value: bytes = b"{}") -> None:
    """Send a record with a header whose key is these bytes, as any client that is not Python's can."""
    library = ctypes.CDLL(cimpl.__file__)  # its symbols are looked for in librdkafka, too
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = ctypes.c_void_p
    text, size, number, end = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int, 0
    config, why = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(200)
    library.rd_kafka_conf_set(config, b"bootstrap.servers", servers.encode(), why, size(200))
    producer = ctypes.c_void_p(library.rd_kafka_new(0, config, why, size(200)))
    topic_, value_, header, flags, copy = 1, 4, 9, 7, 2  # rd_kafka_vtype_t, RD_KAFKA_MSG_F_COPY
    refused = library.rd_kafka_producev(
        producer,
        *(number(topic_), text(topic.encode())),
        *(number(flags), number(copy)),
        *(number(value_), text(value), size(len(value))),
        *(number(header), text(key), text(b"x"), ctypes.c_ssize_t(1)),
        number(end),
    )
    assert (refused, library.rd_kafka_flush(producer, 10_000)) == (0, 0)
    library.rd_kafka_destroy(producer)


class MockCluster:
    """librdkafka's own broker, for several clients, which refuses records as it is told to."""

    PRODUCE = 0  # the protocol's number of a produce request

    def __init__(self) -> None:
        """Start it."""
        self._library = library = ctypes.CDLL(cimpl.__file__)  # its symbols are looked for in librdkafka, too
        pointers = ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new")
        for function in pointers:
            getattr(library, function).restype = ctypes.c_void_p
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        config, why = ctypes.c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(200)
        self._client = ctypes.c_void_p(library.rd_kafka_new(0, config, why, ctypes.c_size_t(200)))
        self._cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(self._client, 1))
        self.servers = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def refuse(self, *codes: int) -> None:
        """Answer the next produce requests with these errors, one each."""
        errors = (ctypes.c_int * len(codes))(*codes)
        push = self._library.rd_kafka_mock_push_request_errors_array
        push(self._cluster, ctypes.c_int16(self.PRODUCE), ctypes.c_size_t(len(codes)), errors)

    def close(self) -> None:
        """End it."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)
