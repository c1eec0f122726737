#!/bin/sh
# Tells the server its address in the network of containers, since it listens on all of its own.
set -eu
TEMPORAL_BROADCAST_ADDRESS=$(getent hosts "$(cat /etc/hostname)" | awk '{print $1}')
export TEMPORAL_BROADCAST_ADDRESS
exec temporal-server start
