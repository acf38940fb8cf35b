# Verbs of daily work; `just` lists them. Everything runs from the virtual environment in .venv (`just setup`).
set dotenv-load := true
set positional-arguments := true

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

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

# Install or upgrade flowgres in DATABASE_URL
init-db *options:
    flowgres db install "$@"

# Open Swagger UI of the API, which every front serves
swagger:
    python -m webbrowser "${PUBLIC_URL:-http://127.0.0.1:8000}/docs"

# Serve pgAdmin with the server list of flowgres (docker)
pgadmin:
    docker compose -f deploy/docker-compose.yml --profile tools up pgadmin

# List workflows
list-workflows *options:
    flowgres workflows list "$@"

# Import workflow files
import-workflow +paths:
    flowgres import "$@"

# Start an execution and follow it: just start-workflow NAME -d '{"order_id": "1"}'
start-workflow name *options:
    flowgres run "$@"

# Open psql on DATABASE_URL
db-shell *options:
    psql "${DATABASE_URL:?set DATABASE_URL, or put it into .env}" "$@"

# Show the log of an execution
logs execution *options:
    flowgres logs "$@"

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
