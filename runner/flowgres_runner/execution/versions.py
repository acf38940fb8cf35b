"""Compiled versions of workflows: they never change, so they are read once."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from flowgres_process.callbacks import Callbacks
from flowgres_process.logs import get_logger
from flowgres_runner.database import queries
from flowgres_runner.database.connection import Link, retry_until_answered
from flowgres_runner.errors import DatabaseError
from flowgres_runner.execution.chains import compile_chain, compile_plain_chain
from flowgres_runner.execution.compiled import ROOTS, CompiledStep, Limits, Version
from flowgres_runner.json_values import weight_of
from flowgres_runner.steps.base import Handler, Json
from flowgres_runner.steps.foreach import ForeachHandler

log = get_logger(__name__)

MAX_VERSIONS = 1_000
MAX_BYTES = 32 << 20
"""About what those that are kept take in memory."""
LIMITS_SECONDS = 60.0
"""How old a tenant's limits may be."""

ChooseHandler: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any], Handler], Handler]
"""What runs a step: told its version and the step itself, as get_version gives them, and the handler of its type."""


class VersionCache:
    """Versions by id, least recently used out first. Their limits may change, so these are read again now and then.

    `max_output_bytes` and `step_timeout_seconds` are what this runner's environment says: outputs are never larger, and
    its time of an attempt stands in place of the tenant's. `choose` may put other handlers in the place of those that
    serve the types.
    """

    def __init__(
        self,
        link: Link,
        handlers: Mapping[str, Handler],
        *,
        max_output_bytes: int | None = None,
        step_timeout_seconds: float | None = None,
        choose: ChooseHandler | None = None,
        callbacks: Callbacks | None = None,
    ) -> None:
        self._link = link
        self._handlers = handlers
        self._choose = choose
        self._callbacks = callbacks
        self._max_output_bytes = max_output_bytes
        self._step_timeout_seconds = step_timeout_seconds
        self._versions: OrderedDict[str, Version | None] = OrderedDict()
        self._weights: dict[str, int] = {}
        self._weight = 0
        self._read_at: dict[str, float] = {}
        self._stale: list[str] = []
        self._refreshing: asyncio.Task[None] | None = None

    def has(self, version_id: str) -> bool:
        """Whether a version is here."""
        return version_id in self._versions

    async def load(self, version_ids: Iterable[str]) -> dict[str, Version | None]:
        """These versions; None for one that does not exist."""
        found: dict[str, Version | None] = {}
        before = time.monotonic() - LIMITS_SECONDS
        for version_id in version_ids:
            if version_id not in self._versions:
                await self._read(version_id)
            elif self._read_at[version_id] < before:
                self._refresh(version_id)
            self._versions.move_to_end(version_id)
            found[version_id] = self._versions[version_id]
        while len(self._versions) > MAX_VERSIONS or (self._weight > MAX_BYTES and len(self._versions) > 1):
            version_id, _ = self._versions.popitem(last=False)
            del self._read_at[version_id]
            self._weight -= self._weights.pop(version_id)
        return found

    async def _read(self, version_id: str) -> None:
        text = await retry_until_answered(
            lambda: queries.get_version(self._link, version_id=version_id), purpose="get_version"
        )
        version = (
            None if text is None else compile_version(json.loads(text), self._handlers, self._choose, self._callbacks)
        )
        weight = 0 if text is None else weight_of(text)
        self._weight += weight - self._weights.get(version_id, 0)
        self._weights[version_id] = weight
        self._versions[version_id] = None if version is None else self._limited(version)
        self._read_at[version_id] = time.monotonic()

    def _limited(self, version: Version) -> Version:
        limits = version.limits
        if self._max_output_bytes is not None:
            # A larger limit than SQL's own would only move the refusal there.
            limits = replace(limits, max_output_bytes=min(limits.max_output_bytes, self._max_output_bytes))
        if self._step_timeout_seconds is not None:
            limits = replace(limits, step_timeout_seconds=self._step_timeout_seconds)
        return replace(version, limits=limits)

    def _refresh(self, version_id: str) -> None:
        """Read the limits again, while work goes on with those that are here; should that fail, not at once again."""
        self._read_at[version_id] = time.monotonic()
        self._stale.append(version_id)
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._read_limits())

    async def _read_limits(self) -> None:
        try:
            while self._stale:
                version_id = self._stale.pop()
                text = await queries.get_version(self._link, version_id=version_id)
                version = self._versions.get(version_id)
                if text is not None and version is not None:
                    limits = _limits(json.loads(text))
                    self._versions[version_id] = self._limited(replace(version, limits=limits))
        except DatabaseError as error:
            log.warning("limits_not_read", error=error.message)
            self._stale.clear()
        finally:
            self._refreshing = None


def compile_version(
    raw: Mapping[str, Any],
    handlers: Mapping[str, Handler],
    choose: ChooseHandler | None = None,
    callbacks: Callbacks | None = None,
) -> Version:
    """A version as get_version gives it, with the handlers of its steps."""
    version_id = str(raw["version_id"])

    def find(step: Mapping[str, Any]) -> Handler | None:
        handler = handlers.get(step["type"])
        return handler if choose is None or handler is None or handler.is_hidden else choose(raw, step, handler)

    steps = {step["index"]: _called_back(_compile_step(version_id, step, find), callbacks) for step in raw["steps"]}
    chained: dict[int, CompiledStep] = {}
    for step in raw["steps"]:
        head = steps[step["index"]]
        plain = compile_plain_chain(head, step["chain"], steps)
        chained[head.index] = replace(head, plain=plain, chain=compile_chain(head, plain, steps))
    return Version(
        id=version_id,
        workflow={"name": raw["workflow_name"], "version": raw["version"]},
        tenant={"slug": raw["tenant_slug"]},
        steps=chained,
        limits=_limits(raw),
    )


def _limits(raw: Mapping[str, Any]) -> Limits:
    limits = raw["limits"]
    return Limits(
        max_output_bytes=int(limits["max_output_bytes"]),
        max_json_depth=int(limits["max_json_depth"]),
        step_timeout_seconds=float(limits["step_timeout_seconds"]),
        max_delay_seconds=float(limits["max_delay_seconds"]),
        provider_settings=limits.get("provider_settings") or {},
    )


FindHandler: TypeAlias = Callable[[Mapping[str, Any]], Handler | None]


def _compile_step(version_id: str, raw: Mapping[str, Any], find: FindHandler) -> CompiledStep:
    items = raw.get("items")
    if items is None:
        return _compile_one(version_id, raw, find)
    each = _compile_one(version_id, {**raw, "when": None}, find)
    listed = {
        "type": ForeachHandler.type,
        "config": items,
        "output": None,
        "uses_secrets": [],
        "timeout_seconds": None,
        "until": None,
        "on_timeout": None,
    }
    return replace(_compile_one(f"{version_id}:items", {**raw, **listed}, find), each=each)


def _called_back(step: CompiledStep, callbacks: Callbacks | None) -> CompiledStep:
    """The step with what makes the address at which it waits to be called, if it does."""
    inner = step.each or step
    if inner.handler is None or not inner.handler.calls_back(inner.config):
        return step
    inner = replace(inner, callbacks=callbacks)
    return inner if step.each is None else replace(step, each=inner)


def _compile_one(version_id: str, raw: Mapping[str, Any], find: FindHandler) -> CompiledStep:
    handler = find(raw)
    pure = handler if handler is not None and not handler.waits else None
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
        pure=pure,
        handler=None if pure is not None else handler,
        looks_up=pure is not None and pure.looks_up(raw.get("config")),
        output_path=_output_path(raw, pure),
        check=None if handler is None else handler.compile_check(raw.get("config")),
        sees_error=raw.get("section", "steps") != "steps",
        until=raw.get("until"),
        until_roots=_roots(raw.get("until")),
        until_key=f"{key}:until",
        sees_instance=raw.get("sees_instance") is True,
        on_timeout=raw.get("on_timeout"),
        on_timeout_roots=_roots(raw.get("on_timeout")),
        on_timeout_key=f"{key}:on_timeout",
        record=raw.get("record"),
    )


def _output_path(raw: Mapping[str, Any], handler: Handler | None) -> tuple[str, ...] | None:
    # An `output` makes something else of it, and a secret is a stand-in while it is rendered, which never gets out.
    if raw.get("output") is not None or raw.get("uses_secrets") or handler is None:
        return None
    return handler.output_path(raw.get("config"))


def _roots(*templates: Json) -> frozenset[str]:
    """Names of the context that occur anywhere in the templates' text: more than enough, and cheap to find."""
    text = json.dumps(templates)
    return frozenset(root for root in ROOTS if root in text)
