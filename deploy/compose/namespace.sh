#!/bin/sh
# namespace.sh NAME: creates the namespace and turnout's search attributes, unless they are there.
# TEMPORAL_ADDRESS says where.
set -eu
name=$1
# The port is open before the server can answer.
tries=60
until temporal operator cluster health >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { temporal operator cluster health; exit 1; }
    sleep 1
done
temporal operator namespace describe --namespace "$name" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$name" --retention 72h
# A namespace is known to all parts of the server only after a while.
tries=60
until temporal operator search-attribute create --namespace "$name" \
    --name TurnoutRoute --type Keyword --name TurnoutEventType --type Keyword \
    --name TurnoutEventId --type Keyword --name TurnoutRecord --type Keyword; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || exit 1
    sleep 1
done
