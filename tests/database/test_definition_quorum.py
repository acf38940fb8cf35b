"""An approval that can never be given is refused when it is imported, by SQL and by Python alike."""

from __future__ import annotations

from typing import Any

import pytest

from flowgres_definitions.validation import validate_document
from tests.support.database import Db, Tenant
from tests.support.engine import dag


@pytest.mark.parametrize(
    ("config", "is_told"),
    [
        ({"approvers": ["ann", "bob"], "quorum": 3}, True),
        ({"approvers": ["ann", "ann"], "quorum": 2}, True),
        ({"approvers": "ann", "quorum": 2}, True),
        ({"approvers": ["ann", "bob"], "quorum": 2}, False),
        ({"approvers": ["ann"]}, False),
        ({"approvers": ["ann"], "role": "boss", "quorum": 2}, False),
        ({"approvers": ["ann", "{{ input.others }}"], "quorum": 5}, False),
        ({"approvers": "{{ input.others }}", "quorum": 5}, False),
        ({"approvers": ["ann"], "quorum": "{{ input.n }}"}, False),
        ({"quorum": 5}, False),
    ],
)
def test_more_than_are_asked_cannot_approve(db: Db, tenant: Tenant, config: dict[str, Any], is_told: bool) -> None:
    document = dag("w", [{"id": "ask", "type": "approval", "config": {"title": "Pay?", **config}}])
    found = [(problem.path, problem.code, problem.message, problem.hint) for problem in validate_document(document)]
    answer = db.call("flowgres.check_definition", p_tenant_id=tenant.tenant_id, p_definition=document)
    assert [(one["path"], one["code"], one["message"], one["hint"]) for one in answer["errors"]] == found
    assert [(path, code) for path, code, *_ in found] == (
        [("steps[0].config.quorum", "quorum_unreachable")] if is_told else []
    )
