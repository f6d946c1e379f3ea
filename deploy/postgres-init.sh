#!/bin/sh
# Run by the postgres image when its volume is new: the app's own role, which is no superuser, and
# its database. A superuser is held by no row-level security (docs/adr/0027).
set -eu
psql --no-psqlrc --quiet -v ON_ERROR_STOP=1 -v password="$APP_ROLE_PASSWORD" \
    --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE cmw LOGIN PASSWORD :'password';
CREATE DATABASE cmw OWNER cmw;
SQL
