"""flowgres tenants: one is suspended and restored, exported and checked, deleted and purged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flowgres_cli.commands import tenants_lifecycle as lifecycle
from flowgres_cli.errors import ConflictError
from tests.support.database import Database, Tenant
from tests.support.engine import completed, dag, hands, import_workflow, start

from .conftest import Flowgres

SECRET = "quetzalcoatl"


@pytest.fixture
def leaving(module_database: Database) -> Tenant:
    """A tenant with history, a secret and a webhook."""
    tenant = module_database.make_tenant("Leaving")
    with module_database.connect() as db:
        trigger = {"type": "webhook", "path": "in", "scheme": "none"}
        import_workflow(db, tenant, dag("flow", [{"id": "only"}], triggers=[trigger]))
        db.run(
            "insert into flowgres.secrets (tenant_id, name, key_id, nonce, ciphertext)"
            " values (%s, 'token', 'k', '\\x00', convert_to(%s, 'UTF8'))",
            tenant.tenant_id,
            SECRET,
        )
    for number in range(3):
        start(module_database, tenant, "flow", input={"text": f"ü\n{number}", "big": 12345678901234567890.12})
    with hands(module_database) as runner:
        runner.work(lambda _lease, _step: completed(1))
    return tenant


@pytest.fixture
def operator(flowgres: Flowgres, module_database: Database) -> Flowgres:
    return flowgres.with_environment(DATABASE_URL=module_database.dsn("operator"))


def test_tenant_goes_and_its_export_stays(
    operator: Flowgres, module_database: Database, leaving: Tenant, tmp_path: Path
) -> None:
    slug, file = leaving.slug, tmp_path / "tenant.jsonl"
    assert operator("tenants", "show", slug).json["status"] == "active"
    assert operator("tenants", "suspend", slug, "--reason", "unpaid").json["status"] == "suspended"
    assert operator("tenants", "restore", slug).json["status"] == "active"

    written = operator("tenants", "export", slug, "-f", str(file))
    assert written.code == 0, written.err
    assert file.stat().st_mode & 0o077 == 0, "nobody else may read it"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    manifest = lines[-1]["manifest"]
    with module_database.connect() as db:
        for relation, count in (
            (row["relation"], row["row_count"])
            for row in db.all("select relation::text, row_count from flowgres.count_tenant_rows(%s)", leaving.tenant_id)
        ):
            table = relation.removeprefix("flowgres.").rstrip("0123456789").removesuffix("_").removesuffix("_default")
            assert manifest["tables"][table]["rows"] >= count, relation
        inputs = db.column("select input::text from flowgres.executions where tenant_id = %s", leaving.tenant_id)
        hashes = db.column("select encode(key_hash, 'hex') from flowgres.api_keys")
        hashes += db.column("select token from flowgres.webhooks")
    text = file.read_text("utf-8")
    assert all(value in text for value in inputs), "numbers keep every digit"
    assert not any(value in text for value in [*hashes, SECRET, SECRET.encode().hex()])
    assert any(line.get("row", {}).get("name") == "token" for line in lines if line.get("table") == "secrets")
    checked = operator("tenants", "verify", str(file))
    assert (checked.code, checked.json["rows"]) == (0, manifest["rows"])

    refused = operator("tenants", "purge", slug)
    assert (refused.code, "--yes" in refused.err) == (2, True)
    assert operator("tenants", "purge", slug, "--yes").code == 6, "it is not deleted"
    assert operator("tenants", "delete", slug, "--reason", "contract ended").json["deleted_by"]
    done = operator("tenants", "purge", slug, "--yes")
    assert (done.code, done.json["is_done"]) == (0, True), done.err
    assert operator("tenants", "show", slug).code == 3


def test_deletion_cancels_what_is_open_and_ends(operator: Flowgres, module_database: Database, leaving: Tenant) -> None:
    for _ in range(3):
        start(module_database, leaving, "flow")
    done = operator("tenants", "delete", leaving.slug)
    assert (done.code, done.json["open_executions"]) == (0, 0), done.err
    assert "cancelling 3 executions" in done.err


@pytest.mark.parametrize("answers", [[3] * 9, [10_000] * 3 + [7] * 9], ids=["stuck", "stuck later"])
def test_deletion_that_comes_to_nothing_pauses_and_gives_up(
    monkeypatch: pytest.MonkeyPatch, answers: list[int]
) -> None:
    told, pauses = iter(answers), list[float]()
    monkeypatch.setattr(
        lifecycle, "_caller", lambda _dsn: lambda *_: {"open_executions": next(told), "deleted_at": "now"}
    )
    monkeypatch.setattr(lifecycle, "_MAX_WAITS", 5)
    monkeypatch.setattr("time.sleep", pauses.append)
    error = CliRunner().invoke(lifecycle.delete, ["acme"]).exception
    assert isinstance(error, ConflictError), error
    assert (error.code, len(pauses)) == ("tenant_still_open", 5)


def test_export_writes_to_nothing_that_another_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, target = tmp_path / "tenant.jsonl", tmp_path / "victim"
    target.write_text("mine")
    # Between the unlinking and the opening: as if the link came back at once.
    (tmp_path / "tenant.jsonl.partial").symlink_to(target)
    monkeypatch.setattr(Path, "unlink", lambda *_args, **_more: None)
    error = CliRunner().invoke(lifecycle.export, ["acme", "-f", str(file)]).exception
    assert isinstance(error, FileExistsError), error
    assert target.read_text() == "mine"


@pytest.mark.parametrize("damage", ["cut", "changed", "dropped", "doubled", "foreign", "added"])
def test_damaged_export_is_found_out(operator: Flowgres, leaving: Tenant, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "tenant.jsonl"
    assert operator("tenants", "export", leaving.slug, "-f", str(file)).code == 0
    lines = file.read_text("utf-8").splitlines(keepends=True)
    (place, *_) = [number for number, line in enumerate(lines) if '"table":"executions"' in line]
    changed: dict[str, Any] = {
        "cut": lines[:-1],
        "changed": [line.replace("flow", "flaw") for line in lines],
        "dropped": lines[:place] + lines[place + 1 :],
        "doubled": lines[:place] + lines[place : place + 1] + lines[place:],
        "foreign": [
            *lines[:place],
            lines[place].replace(leaving.tenant_id, leaving.tenant_id[::-1]),
            *lines[place + 1 :],
        ],
        "added": [*lines, lines[place]],
    }
    file.write_text("".join(changed[damage]), "utf-8")
    answer = operator("tenants", "verify", str(file))
    assert (answer.code, "[export_broken]" in answer.err) == (1, True), answer.err


def test_only_operators_and_only_what_is_there(
    flowgres: Flowgres, operator: Flowgres, module_database: Database
) -> None:
    stranger = flowgres.with_environment(DATABASE_URL=module_database.dsn("runner"))
    tenant = module_database.make_tenant("Still here")
    for command in ("show", "suspend", "restore", "delete"):
        assert operator("tenants", command, "nowhere").code == 3
        assert stranger("tenants", command, tenant.slug).code == 5
    assert operator("tenants", "export", "nowhere", "-f", "nowhere.jsonl").code == 3
    assert stranger("tenants", "export", tenant.slug, "-f", "x.jsonl").code in (3, 5)
    assert stranger("tenants", "purge", tenant.slug, "--yes").code == 5


def test_export_leaves_out_every_hash_and_every_cipher(module_database: Database) -> None:
    # A table that is made later must not carry one along unnoticed.
    with module_database.connect() as db:
        binary = db.column(
            """select t.table_name || '.' || c.name
            from flowgres.export_tables() as t cross join unnest(t.columns) as c (name)
            join pg_attribute as a on a.attrelid = ('flowgres.' || t.table_name)::regclass and a.attname = c.name
            where a.atttypid = 'bytea'::regtype or c.name ~ '(hash|cipher|nonce|secret$|^token$)' order by 1"""
        )
    # Hashes of what somebody sent, by which it is known again; fences of leases, which are numbers.
    assert set(binary) <= {
        "idempotency_keys.payload_hash", "instance_history.hash", "instance_history.previous_hash",
        "instances.history_head", "pending_wakes.token", "tasks.token", "waits.token", "webhook_keys.payload_hash",
        "work_queue.token", "workflow_versions.content_hash",
    }, binary  # fmt: skip
