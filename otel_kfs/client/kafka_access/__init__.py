"""Access to Kafka: settings, certificates and logins, whether a broker is there, one record and its acknowledgement."""

import otel_kfs.kafka  # noqa: F401 - says what to install where confluent_kafka is missing
