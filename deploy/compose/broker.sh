#!/bin/sh
# Starts the broker of compose.yaml: makes its password file from the secrets, one a user, and hides it from others.
set -eu
umask 077
secrets=${SECRETS:-/run/secrets}
access=${ACCESS:-/mosquitto/access}

: > "$access/passwords"
for secret in "$secrets"/*; do
  printf '%s:%s\n' "${secret##*/}" "$(cat "$secret")" >> "$access/passwords"
done
mosquitto_passwd -U "$access/passwords"
cp "${ACL:-/mosquitto/config/acl}" "$access/acl"
# It gives these files to the user whom mosquitto becomes.
exec "${ENTRYPOINT:-/docker-entrypoint.sh}" mosquitto -c "${CONFIG:-/mosquitto/config/mosquitto.conf}"
