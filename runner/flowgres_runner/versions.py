"""Compiled versions of workflows: they never change, so they are read once."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flowgres_runner import queries
from flowgres_runner.connection import Link, retry_until_reached
from flowgres_runner.steps.base import Handler, Json, PureHandler

MAX_VERSIONS = 1_000
ROOTS = ("input", "trigger", "execution", "workflow", "tenant")


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step, prepared so that running it looks nothing up.

    `roots` are the names of the context that its templates may use: what no template mentions is not sent to the
    evaluator. Exactly one of `pure` and `handler` is set, or neither when no handler serves the type. `next_index` is
    the step that may be run ahead when this one has completed.
    """

    index: int
    id: str
    type: str
    config: Json
    when: str | None
    output: Json
    references: tuple[str, ...]
    secret_names: tuple[str, ...]
    timeout_seconds: float | None
    roots: frozenset[str]
    output_roots: frozenset[str]
    key: str
    output_key: str
    resume_key: str
    next_index: int | None
    pure: PureHandler | None
    handler: Handler | None


@dataclass(frozen=True, slots=True)
class Version:
    """A version with its steps by index, and what expressions see as `workflow` and `tenant`."""

    id: str
    workflow: dict[str, Json]
    tenant: dict[str, Json]
    steps: dict[int, CompiledStep]


class VersionCache:
    """Versions by id, least recently used out first."""

    def __init__(self, link: Link, handlers: Mapping[str, Handler | PureHandler]) -> None:
        self._link = link
        self._handlers = handlers
        self._versions: OrderedDict[str, Version | None] = OrderedDict()

    async def load(self, version_ids: Iterable[str]) -> dict[str, Version | None]:
        """These versions; None for one that does not exist."""
        found: dict[str, Version | None] = {}
        for version_id in version_ids:
            if version_id not in self._versions:
                await self._read(version_id)
            self._versions.move_to_end(version_id)
            found[version_id] = self._versions[version_id]
        while len(self._versions) > MAX_VERSIONS:
            self._versions.popitem(last=False)
        return found

    async def _read(self, version_id: str) -> None:
        raw = await retry_until_reached(
            lambda: queries.get_version(self._link, version_id=version_id), purpose="get_version"
        )
        self._versions[version_id] = None if raw is None else compile_version(raw, self._handlers)


def compile_version(raw: Mapping[str, Any], handlers: Mapping[str, Handler | PureHandler]) -> Version:
    """A version as get_version gives it, with the handlers of its steps."""
    version_id = str(raw["version_id"])
    return Version(
        id=version_id,
        workflow={"name": raw["workflow_name"], "version": raw["version"]},
        tenant={"slug": raw["tenant_slug"]},
        steps={step["index"]: _compile_step(version_id, step, handlers) for step in raw["steps"]},
    )


def _compile_step(
    version_id: str, raw: Mapping[str, Any], handlers: Mapping[str, Handler | PureHandler]
) -> CompiledStep:
    handler = handlers.get(raw["type"])
    pure = handler if handler is not None and hasattr(handler, "run_now") else None
    key = f"{version_id}:{raw['index']}"
    output = raw.get("output")
    return CompiledStep(
        index=raw["index"],
        id=raw["id"],
        type=raw["type"],
        config=raw.get("config"),
        when=raw.get("when"),
        output=output,
        references=tuple(raw.get("references") or ()),
        secret_names=tuple(raw.get("uses_secrets") or ()),
        timeout_seconds=raw.get("timeout_seconds"),
        roots=_roots(raw.get("config"), raw.get("when")),
        output_roots=_roots(output),
        key=f"{key}:config",
        output_key=f"{key}:output",
        resume_key=f"{key}:resume",
        next_index=raw.get("next"),
        pure=pure,  # type: ignore[arg-type]  # hasattr has told which of the two it is
        handler=None if pure is not None else handler,  # type: ignore[arg-type]
    )


def _roots(*templates: Json) -> frozenset[str]:
    """Names of the context that occur anywhere in the templates' text: more than enough, and cheap to find."""
    text = json.dumps(templates)
    return frozenset(root for root in ROOTS if root in text)
