"""How Kafka is reached: settings, refused certificates and logins in words, one record and its acknowledgement."""

import otel_kfs.kafka  # noqa: F401 - says what to install where confluent_kafka is missing
