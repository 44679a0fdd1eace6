#!/bin/sh
# Kafka's command line tools, each by the name that this script is called by.
case $0 in
*/kafka-topics.sh) tool=org.apache.kafka.tools.TopicCommand ;;
*/kafka-broker-api-versions.sh) tool=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
*/kafka-consumer-groups.sh) tool=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
esac
exec java -Xmx128m -XX:TieredStopAtLevel=1 -Dlog4j2.level=WARN -cp '/opt/kafka/libs/*' $tool "$@"
