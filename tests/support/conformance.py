"""Servers held against their own OpenAPI document: schemathesis writes the calls, the document judges the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
Operation = APIOperation[Any, Any, Any, Any]


class Conformance:
    """The operations of one document.

    `known` are values that exist, by the name of what takes them, and `bodies` whole ones that are right, by path.
    """

    def __init__(self, url: str, *, known: Mapping[str, Any], bodies: Mapping[str, Any]) -> None:
        project = ProjectConfig(generation=GenerationConfig(with_security_parameters=False))
        config = SchemathesisConfig(projects=ProjectsConfig(default=project))
        self._schema = schemathesis.openapi.from_url(url, config=config)
        self._known = known
        self._bodies = bodies

    def operations(self, wanted: Callable[[str], bool]) -> Iterator[Operation]:
        """Those whose path is wanted, but for streams: their answers have no end, and tests of their own."""
        for found in self._schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            if wanted(operation.path) and not _is_stream(operation):
                yield operation

    def faults(
        self, operation: Operation, mode: GenerationMode, *, examples: int, base_url: str, headers: Mapping[str, str]
    ) -> str | None:
        """Call an operation with so many examples, the same ones each time; what the first wrong answer was."""
        checks = [*CHECKS]
        # PostgREST turns 5 into a text and "5" into a number where a function takes one, as JSON in SQL does.
        if mode is GenerationMode.NEGATIVE and not operation.path.startswith("/rpc/"):
            checks.append(negative_data_rejection)

        @settings(
            max_examples=examples,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(mode), chosen=st.integers(0, 1))
        def call(case: Case[Any], chosen: int) -> None:
            if chosen and mode is GenerationMode.POSITIVE:
                self._use_known(case)
            response = case.call(base_url=base_url, headers=dict(headers), timeout=30)
            case.validate_response(response, checks=checks, headers=dict(headers))

        try:
            call()
        except BaseExceptionGroup as group:
            return "\n".join(str(error) for error in group.exceptions)
        except Unsatisfiable:
            # Any text is a path, and nothing is right where nothing is sent; a body can always be wrong.
            assert mode is GenerationMode.NEGATIVE
            assert not operation.body, operation.label
        return None

    def _use_known(self, case: Case[Any]) -> None:
        """Otherwise nearly every call would be of what does not exist."""
        for place in (case.body, case.path_parameters, case.query):
            if isinstance(place, dict):
                place.update({name: value for name, value in self._known.items() if name in place})
        # Of these also what was left out: a call waits for half a minute unless it says that it does not.
        asked = {parameter.name for parameter in case.operation.query}
        case.query = {**case.query, **{name: value for name, value in self._known.items() if name in asked}}
        if case.media_type == "application/json" and case.path in self._bodies:
            case.body = self._bodies[case.path]


def _is_stream(operation: Operation) -> bool:
    answers = operation.definition.raw["responses"]
    return "text/event-stream" in answers.get("200", {}).get("content", {})
