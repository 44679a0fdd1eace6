"""The consumer: posts each record's image to the model. otel_kfs: its Consumer, and `with process(record)`.

python consumer.py --bootstrap-servers 127.0.0.1:9092 --url http://127.0.0.1:8080/v1/models/mobilenet:predict

(`otel-kfs bridge` does the same, and handles errors.)
"""

import argparse
from typing import Any

import requests

import otel_kfs

FORM = ("content-", "ce_", "inference-header-")  # headers with these prefixes describe a record's value


def http_headers(record: Any) -> dict[str, str]:
    return {
        key.replace("ce_", "ce-", 1): value.decode() for key, value in record.headers() or () if key.startswith(FORM)
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", default="mobilenet")
    parser.add_argument("--url", required=True)
    parser.add_argument("--records", type=int, help="stop after this many; default: run until Ctrl-C")
    args = parser.parse_args()

    otel_kfs.configure("image-consumer")
    consumer = otel_kfs.kafka.Consumer(
        {
            "bootstrap.servers": args.bootstrap_servers,
            "group.id": "image-consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            # For records of 13.6 MB: the limits of one fetch, and of one response from the broker.
            "max.partition.fetch.bytes": 100_000_000,
            "receive.message.max.bytes": 101_000_000,
        }
    )
    consumer.subscribe([args.topic])
    answered = 0
    try:
        while args.records is None or answered < args.records:
            record = consumer.poll(1.0)
            if record is None or record.error():
                continue
            with otel_kfs.kafka.process(record, group=consumer.group):
                answer = requests.post(args.url, data=record.value(), headers=http_headers(record), timeout=600)
                answer.raise_for_status()
            consumer.commit(record, asynchronous=False)
            answered += 1
            print(record.topic(), record.partition(), record.offset(), answer.json())
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()
