#!/bin/sh
# Print .env.example with every "change-me" replaced by a random value: sh make-env.sh > .env
set -eu
umask 077
directory=$(dirname "$0")
while IFS= read -r line; do
  case "$line" in
    FLOWGRES_SECRET_KEY=change-me) printf 'FLOWGRES_SECRET_KEY=%s\n' "$(openssl rand -base64 32)" ;;
    *=change-me) printf '%s=%s\n' "${line%%=*}" "$(openssl rand -hex 24)" ;;
    *) printf '%s\n' "$line" ;;
  esac
done < "$directory/.env.example"
