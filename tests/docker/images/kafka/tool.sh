#!/bin/sh
# One of Kafka's tools: what this file is called says which.
case ${0##*/} in
    kafka-topics.sh) main=org.apache.kafka.tools.TopicCommand ;;
    kafka-console-producer.sh) main=org.apache.kafka.tools.ConsoleProducer ;;
    kafka-console-consumer.sh) main=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    *) echo "there is no ${0##*/} in this image" >&2; exit 64 ;;
esac
exec /opt/java/bin/java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp '/opt/kafka/libs/*' "$main" "$@"
