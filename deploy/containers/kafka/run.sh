#!/bin/sh
# Writes server.properties from KAFKA_* variables with Kafka's own program for that, prepares the storage unless it already
# is, as after a restart, and becomes the broker.
set -e
said=$(java -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) ||
    case $said in
    *"already formatted"*) ;;
    *) echo "$said" >&2 && exit 1 ;;
    esac
# shellcheck disable=SC2086  # several options are one variable
exec java $KAFKA_HEAP_OPTS -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml -cp '/opt/kafka/libs/*' \
    kafka.Kafka /opt/kafka/config/server.properties
