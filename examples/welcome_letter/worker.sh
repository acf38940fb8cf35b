#!/bin/sh
# A worker in shell: curl, and sed to take the few members that it needs out of the answers.
set -eu
: "${FLOWGRES_FRONT_URL:?}" "${FLOWGRES_API_URL:?}" "${FLOWGRES_API_KEY:?}"
me="shell-$$"

call() { # function, body
  curl -sS --fail-with-body -X POST "$FLOWGRES_API_URL/rpc/$1" \
    -H "X-API-Key: $FLOWGRES_API_KEY" -H 'Content-Type: application/json' -d "$2"
}

while :; do
  tasks=$(curl -sS --fail-with-body -H "X-API-Key: $FLOWGRES_API_KEY" \
    "$FLOWGRES_FRONT_URL/tasks/print?worker=$me&wait=20") || { sleep 1; continue; }
  id=$(printf %s "$tasks" | sed -n 's/.*"task_id": *"\([^"]*\)".*/\1/p')
  [ -n "$id" ] || continue
  token=$(printf %s "$tasks" | sed -n 's/.*"token": *\([0-9]*\).*/\1/p')
  text=$(printf %s "$tasks" | sed -n 's/.*"text": *"\([^"]*\)".*/\1/p')
  echo "$me prints: $text"
  call complete_task "{\"task_id\": \"$id\", \"token\": $token, \"output\": {\"pages\": 1, \"by\": \"$me\"}}" > /dev/null ||
    echo "task $id was taken from us"
done
