# Verbs of daily work; `just` lists them. Everything runs from the virtual environment in .venv (`just setup`).
set dotenv-load := true
set positional-arguments := true

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

compose := "docker compose -f deploy/docker-compose.yml"

[private]
default:
    @just --list

# Create .venv with everything needed for development
setup:
    python3 -m venv .venv
    .venv/bin/pip install -q -e '.[dev]'

# Start PostgreSQL, PostgREST, a runner and the front, and reload YAML on change
dev *paths:
    flowgres dev "$@"

# Install or upgrade flowgres in DATABASE_URL, where that is set, and import the state machines of examples/ into the server
init-db *options:
    [ -z "${DATABASE_URL:-}" ] || flowgres db install "$@"
    flowgres import examples/fraud_detection examples/order_state_machine

# Open Swagger UI of the API, which every front serves
swagger:
    python -m webbrowser "${PUBLIC_URL:-http://127.0.0.1:8000}/docs"

alias api-docs := swagger

# Serve pgAdmin with the server list of flowgres (docker)
pgadmin:
    {{compose}} --profile tools up pgadmin

alias db-admin := pgadmin

# List workflows
list-workflows *options:
    flowgres workflows list "$@"

# Import workflow files
import-workflow +paths:
    flowgres import "$@"

# Print the id of a workflow
get-workflow-id workflow-name *options:
    @flowgres workflows show "$@" -o json | python -c 'import json, sys; print(json.load(sys.stdin)["id"])'

# Start an execution and follow it: just run NAME -d '{"order_id": "1"}'
run name *options:
    flowgres run "$@"

# List instances of state machines: just list-instances --workflow-name NAME --state NAME
list-instances *options:
    flowgres instances list --all "$@"

# Start a state machine, named or by its id, for an entity: just start-workflow orders 1 order_processing '{"total": 12}'
start-workflow entity-table entity-id workflow *metadata:
    @case "${4:--}" in -*) flowgres instances start "$@" ;; *) flowgres instances start "$1" "$2" "$3" --metadata "$4" ;; esac

alias start-workflow-by-id := start-workflow

# Move an instance: just transition INSTANCE TO [EXECUTED-BY [METADATA [CONTEXT [NOTES]]]], or with --executed-by and so on
transition instance to-state *options:
    @case "${3:--}" in -*) flowgres instances transition "$@" ;; *) flowgres instances transition "$1" "$2" --executed-by "$3" \
      ${4:+--metadata "$4"} ${5:+--context "$5"} ${6:+--notes "$6"} ;; esac

# Show what an instance went through
history instance *options:
    flowgres instances history "$@"

# Say which server is meant, and whether it answers
api-info *options:
    flowgres doctor "$@"

# Look at what the API serves
test-api: list-workflows list-instances api-info

# Run the command line
cli *arguments:
    flowgres "$@"

# Open psql on DATABASE_URL
db-shell *options:
    psql "${DATABASE_URL:?set DATABASE_URL, or put it into .env}" "$@"

# Show the log of an execution; without one, those of the services (docker)
logs *execution:
    @if [ $# -gt 0 ]; then flowgres logs "$@"; else {{compose}} logs --follow; fi

# Follow the log of a service (docker)
logs-service service:
    {{compose}} logs --follow "$1"

# Build the image (docker)
build:
    {{compose}} build

# Stop the services (docker); `just dev` ends with Ctrl-C
down:
    {{compose}} down

# Show the services (docker)
status:
    {{compose}} ps

# Restart a service (docker)
restart service:
    {{compose}} restart "$1"

# Run a command beside PostgreSQL (docker)
db-exec +command:
    {{compose}} exec postgres "$@"

# Write the schemas of flowgres in DATABASE_URL to a file
backup file="backup.dump":
    pg_dump --format=custom --schema=flowgres --schema=flowgres_api --role=flowgres_owner --enable-row-security \
      --file="$1" "${DATABASE_URL:?set DATABASE_URL, or put it into .env}"

# Bring what `just backup` wrote into DATABASE_URL, where nothing of flowgres is yet
restore file:
    flowgres db roles --dsn "${DATABASE_URL:?set DATABASE_URL, or put it into .env}"
    pg_restore --no-owner --exit-on-error --dbname="$DATABASE_URL" "$1"
    flowgres db install --dsn "$DATABASE_URL"

# Show the largest tables in DATABASE_URL
db-stats:
    @psql "${DATABASE_URL:?set DATABASE_URL, or put it into .env}" -c "select c.oid::regclass as table, pg_size_pretty(pg_total_relation_size(c.oid)) as size \
      from pg_class as c where c.relnamespace = 'flowgres'::regnamespace and c.relkind = 'r' order by pg_total_relation_size(c.oid) desc limit 20"

# Open Python with a connection to DATABASE_URL as `db`
shell:
    @python -i -c 'import os, psycopg; db = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)'

# Write the reference page of definitions anew, from its description
reference:
    python -m flowgres_definitions.reference

# Write the copy of Swagger UI that the front serves anew, from npm
vendor:
    python -m tests.support.vendored

# Run the tests
test *options:
    pytest -n 2 "$@"

# Run one file of tests
test-file file *options:
    pytest "$@"

# What CI runs: the README's test line, every linter, the slow tests, the lowest declared versions, the other PostgreSQL versions
check:
    .ci/run

# Look for mistakes
lint:
    ruff check .
    lint-imports
    sqruff lint database

# Check types
typecheck:
    mypy

# Put files into shape
format:
    ruff check --fix .
    ruff format .

# Write deploy/requirements.lock anew: what the image is made of, with hashes
lock:
    uv pip compile --quiet --universal --upgrade --extra otel --generate-hashes --no-annotate --custom-compile-command "just lock" \
      --output-file deploy/requirements.lock pyproject.toml deploy/build.in

# Keep the installation as it is now: the tests upgrade from it. Once a version is out, before the next one begins
keep-installation:
    flowgres db sql | xz -9e > tests/database/landed/installation.sql.xz

# Measure throughput and latency; --before PATH: beside an earlier version
bench *options:
    python -m tests.benchmarks "$@"

# Measure W1, W2, W3 and idle latency in short turns with an earlier version's checkout, which is there twice: closer than rounds
bench-beside path *options:
    python -m tests.benchmarks.beside "$@"

# Remove caches, build products and the dev stack's data
clean:
    rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .flowgres
    find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
