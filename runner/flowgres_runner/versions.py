"""Compiled versions of workflows: they never change, so they are read once."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flowgres_runner import queries
from flowgres_runner.connection import Link, retry_until_reached
from flowgres_runner.evaluator.jobs import Follower
from flowgres_runner.evaluator.templates import has_expressions
from flowgres_runner.logs import get_logger
from flowgres_runner.steps.base import Handler, Json, PassingHandler, PureHandler

log = get_logger(__name__)

MAX_VERSIONS = 1_000
MAX_AHEAD = 15
"""Steps run ahead under one lease: enough to save most round trips, few enough to share and to cancel."""
ROOTS = ("input", "trigger", "execution", "workflow", "tenant")


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step, prepared so that running it looks nothing up.

    `roots` are the names of the context that its templates may use: what no template mentions is not sent to the
    evaluator. Exactly one of `pure` and `handler` is set, or neither when no handler serves the type. `next_index` is
    the step that may be run ahead when this one has completed. `output_path` is where in the rendered configuration the
    output lies, None when that cannot be told beforehand; `chain` then is what can be rendered together with this step.
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
    output_path: tuple[str, ...] | None
    chain: Chain | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The steps that may be rendered together with the one before them, in their order.

    `roots` are those of all members, the first included; `references` are the steps outside that the others refer to.
    """

    then: tuple[Follower, ...]
    key: str
    roots: frozenset[str]
    references: tuple[str, ...]


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
    steps = {step["index"]: _compile_step(version_id, step, handlers) for step in raw["steps"]}
    return Version(
        id=version_id,
        workflow={"name": raw["workflow_name"], "version": raw["version"]},
        tenant={"slug": raw["tenant_slug"]},
        steps={index: replace(step, chain=_chain_after(step, steps)) for index, step in steps.items()},
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
        output_path=_output_path(raw, pure),
    )


def _output_path(raw: Mapping[str, Any], handler: Handler | PureHandler | None) -> tuple[str, ...] | None:
    # An `output` makes something else of it, and a secret is a stand-in while it is rendered, which never gets out.
    if raw.get("output") is not None or raw.get("uses_secrets") or not isinstance(handler, PassingHandler):
        return None
    try:
        return handler.output_path(raw.get("config"))
    except Exception:
        log.exception("handler_failed", type=raw["type"], when="output_path")
        return None


def _chain_after(head: CompiledStep, steps: Mapping[int, CompiledStep]) -> Chain | None:
    """What can be rendered together with a step; a template without expressions is not even sent to be rendered."""
    if head.when is None and not has_expressions(head.config):
        return None
    then: list[Follower] = []
    roots, members = set(head.roots), {head.id}
    references: dict[str, None] = {}
    step = head
    while step.next_index is not None and step.output_path is not None and len(then) < MAX_AHEAD:
        after = steps[step.next_index]
        if after.pure is None or after.secret_names:
            break
        then.append(Follower(after.key, after.config, after.when, after.references, step.id, step.output_path))
        references |= dict.fromkeys(name for name in after.references if name not in members)
        roots |= after.roots
        members.add(after.id)
        step = after
    return Chain(tuple(then), f"{head.key}:chain", frozenset(roots), tuple(references)) if then else None


def _roots(*templates: Json) -> frozenset[str]:
    """Names of the context that occur anywhere in the templates' text: more than enough, and cheap to find."""
    text = json.dumps(templates)
    return frozenset(root for root in ROOTS if root in text)
