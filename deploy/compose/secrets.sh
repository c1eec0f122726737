#!/bin/sh
# Makes the secrets of compose.yaml in deploy/secrets, which git ignores: once, those that are there stay.
# The folder is its owner's alone; the files can be read by the users in the containers, to whom they are given.
set -eu
folder=$(dirname "$0")/../secrets
mkdir -p "$folder"
chmod 700 "$folder"
for name in calls closing database; do
    if [ ! -s "$folder/$name" ]; then
        head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/$name"
        chmod 444 "$folder/$name"
        echo "made deploy/secrets/$name"
    fi
done
