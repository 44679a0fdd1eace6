"""Produces files as records: produce.py kafka-python|aiokafka BOOTSTRAP_SERVERS TOPIC FILE..."""

import asyncio
import sys
from pathlib import Path

MAX_BYTES = 100_000_000


def with_kafka_python(servers: str, topic: str, values: list[bytes]) -> None:
    """Produce them by kafka-python."""
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=servers, max_request_size=MAX_BYTES)
    for value in values:
        producer.send(topic, value=value).get(timeout=60)
    producer.close()


def with_aiokafka(servers: str, topic: str, values: list[bytes]) -> None:
    """Produce them by aiokafka."""
    from aiokafka import AIOKafkaProducer

    async def produce() -> None:
        async with AIOKafkaProducer(bootstrap_servers=servers, max_request_size=MAX_BYTES) as producer:
            for value in values:
                await producer.send_and_wait(topic, value)

    asyncio.run(produce())


if __name__ == "__main__":
    name, servers, topic, *files = sys.argv[1:]
    produce = {"kafka-python": with_kafka_python, "aiokafka": with_aiokafka}[name]
    produce(servers, topic, [Path(file).read_bytes() for file in files])
