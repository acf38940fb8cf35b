"""The front and PostgREST answer as the OpenAPI document says, whatever is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from schemathesis import GenerationMode

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.conformance import Conformance
from tests.support.database import Database
from tests.support.runner import Runner
from tests.support.scale import IS_LONG

DEFINITION = {"name": "known", "steps": [{"id": "only", "type": "log", "config": {"message": "done"}}]}
MODES = ("positive", "negative")


@pytest.fixture(scope="module")
def known_front(start_front: Callable[..., Api], module_database: Database, module_api: Api) -> Api:
    return start_front(module_database.url("front"), FLOWGRES_API_URL=module_api.url)


@pytest.fixture(scope="module")
def keys(module_database: Database) -> dict[str, str]:
    with module_database.connect() as db:
        keys = TenantKeys(db)
    return {"admin": keys.admin, "viewer": keys.viewer}


@pytest.fixture(scope="module")
def conformance(
    known_front: Api,
    module_api: Api,
    module_database: Database,
    keys: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Conformance]:
    """With a workflow and an execution that exist, and a runner, so that what is started comes to its end."""
    api = module_api.as_key(keys["admin"])
    assert api.rpc("import_workflow", definition=DEFINITION).status_code == 200
    started = api.rpc("start_execution", workflow="known")
    conformance = Conformance(
        f"{known_front.url}/openapi.json",
        known={
            "workflow": "known",
            "execution_id": started.json()["execution_id"],
            "definition": DEFINITION,
            "name": "KNOWN",
            "value": "a value that is long enough",
            "wait": 1,
        },
        bodies={"/workflows": DEFINITION, "/token": {"expires_in": 60}},
    )
    with Runner(module_database, log_path=tmp_path_factory.mktemp("conformance") / "runner.log"):
        yield conformance


def check(
    conformance: Conformance, api: Api, front: Api, keys: dict[str, str], mode: str, caller: str, examples: int
) -> None:
    headers = {"X-API-Key": keys[caller]} if caller in keys else {}
    faults = []
    asked = 0
    for base, wanted in ((api.url, is_function), (front.url, lambda path: not is_function(path))):
        for operation in conformance.operations(wanted):
            asked += 1
            found = conformance.faults(
                operation, GenerationMode(mode), examples=examples, base_url=base, headers=headers
            )
            if found is not None:
                faults.append(f"{operation.label}\n{found}")
    assert not faults, f"{len(faults)} of {asked} operations:\n\n" + "\n\n".join(faults)
    assert asked > 30


def is_function(path: str) -> bool:
    return path.startswith("/rpc/")


@pytest.mark.parametrize("mode", MODES)
def test_answers_are_those_of_the_document(
    mode: str, conformance: Conformance, module_api: Api, known_front: Api, keys: dict[str, str]
) -> None:
    check(conformance, module_api, known_front, keys, mode, "admin", examples=3)


@pytest.mark.slow
@pytest.mark.parametrize(("caller", "examples"), [("admin", 60 if IS_LONG else 25), ("viewer", 10), ("nobody", 10)])
@pytest.mark.parametrize("mode", MODES)
def test_answers_are_those_of_the_document_to_many_calls(
    mode: str,
    caller: str,
    examples: int,
    conformance: Conformance,
    module_api: Api,
    known_front: Api,
    keys: dict[str, str],
) -> None:
    check(conformance, module_api, known_front, keys, mode, caller, examples=examples)
