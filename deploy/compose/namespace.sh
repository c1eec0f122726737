#!/bin/sh
# namespace.sh NAME HOST PORT: creates the namespace at a Temporal server, unless it is there.
set -eu
name=$1
# By number: asked for a name, the command line also looks for settings of it in the DNS, and where the network
# of containers has no way out, that takes longer than it waits.
# shellcheck disable=SC2046
address=$(set -- $(getent hosts "$2") && echo "$1"):$3

# Runs a command of `temporal operator` until it succeeds, for about a minute.
until_done() {
    tries=30
    until temporal operator "$@" --address "$address"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || exit 1
        sleep 2
    done
}

# The port is open before the server can answer.
until_done cluster health
temporal operator namespace describe --namespace "$name" --address "$address" >/dev/null 2>&1 ||
    until_done namespace create --namespace "$name" --retention 72h
