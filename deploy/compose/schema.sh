#!/bin/sh
# schema.sh HOST: gives Temporal's two databases the tables of this version; what is there already stays.
set -eu
host=$1
SQL_PASSWORD=$(cat /run/secrets/database)
export SQL_PASSWORD

tool() {
    temporal-sql-tool --plugin postgres12_pgx --endpoint "$host" --port 5432 --user temporal --database "$database" "$@"
}

for kind in temporal visibility; do
    database=temporal
    [ "$kind" = temporal ] || database=temporal_visibility
    tool create-database
    tool setup-schema --version 0.0
    tool update-schema --schema-dir "/etc/temporal/schema/postgresql/v12/$kind/versioned"
done
