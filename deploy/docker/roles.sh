#!/bin/sh
# Creates the serving role when the database of deploy/compose.yaml is created: it has no DDL and cannot change
# history. The migrations grant its rights to the group communal_server.
set -eu
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --set=role="$SERVER_ROLE" --set=password="$SERVER_PASSWORD" --set=database="$POSTGRES_DB" <<'SQL'
CREATE ROLE communal_server NOLOGIN;
CREATE ROLE :"role" LOGIN PASSWORD :'password' IN ROLE communal_server;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"role";
SQL
