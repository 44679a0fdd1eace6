"""Settings that several tests of the Kafka clients use."""

import logging

from otel_kfs.demo.processes import free_port

# librdkafka's own broker, inside the producer that is made with these: enough where nobody else reads the records.
MOCK = {"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "linger.ms": 0}

# A producer of these never delivers anything.
UNREACHABLE = {"bootstrap.servers": f"127.0.0.1:{free_port()}", "logger": logging.getLogger("unreachable")}
