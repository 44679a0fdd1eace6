"""Posts a topic's first records to a model: consume.py kafka-python|aiokafka BOOTSTRAP_SERVERS TOPIC URL COUNT."""

import asyncio
import sys

import httpx

HEADERS = {"content-type": "application/json"}
MAX_BYTES = 100_000_000
SETTINGS = {"group_id": "consumers", "auto_offset_reset": "earliest", "max_partition_fetch_bytes": MAX_BYTES}


def with_kafka_python(servers: str, topic: str, url: str, count: int) -> None:
    """Consume them by kafka-python."""
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(topic, bootstrap_servers=servers, fetch_max_bytes=MAX_BYTES, **SETTINGS)
    with httpx.Client(timeout=60, trust_env=False) as client:
        for done, record in enumerate(consumer, 1):
            client.post(url, content=record.value, headers=HEADERS).raise_for_status()
            if done == count:
                break
    consumer.close()


def with_aiokafka(servers: str, topic: str, url: str, count: int) -> None:
    """Consume them by aiokafka."""
    from aiokafka import AIOKafkaConsumer

    async def consume() -> None:
        async with (
            AIOKafkaConsumer(topic, bootstrap_servers=servers, fetch_max_bytes=MAX_BYTES, **SETTINGS) as consumer,
            httpx.AsyncClient(timeout=60, trust_env=False) as client,
        ):
            for _ in range(count):
                record = await consumer.getone()
                (await client.post(url, content=record.value, headers=HEADERS)).raise_for_status()

    asyncio.run(consume())


if __name__ == "__main__":
    name, servers, topic, url, count = sys.argv[1:]
    {"kafka-python": with_kafka_python, "aiokafka": with_aiokafka}[name](servers, topic, url, int(count))
