#!/bin/sh
# topics.sh BOOTSTRAP_SERVERS GROUP: creates the sample's topics that are not there.
set -eu
create() {
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server "$servers" --create --if-not-exists "$@"
}
servers=$1 group=$2
for topic in shop.orders shop.results shop.requests shop.products stock.events payments.events shipping.events \
    till.receipts; do
    create --topic "$topic" --partitions 3 --replication-factor 1
done
# Room for the largest record and its reason.
create --topic "$group.dead-letters" --partitions 1 --replication-factor 1 \
    --config cleanup.policy=delete --config max.message.bytes=1114124
