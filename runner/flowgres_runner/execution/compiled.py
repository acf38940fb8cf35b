"""A version of a workflow as the runner holds it: whatever running a step would have to look up, found beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowgres_definitions.rendered import ConfigCheck
from flowgres_process.callbacks import Callbacks
from flowgres_runner.evaluator.jobs import Follower
from flowgres_runner.json_values import Json
from flowgres_runner.steps.base import Handler

ROOTS = ("input", "trigger", "execution", "workflow", "tenant", "error", "instance", "callback")
"""What expressions see besides `steps`; `error` only in what runs after a failure."""


@dataclass(frozen=True, slots=True)
class PlainChain:
    """Steps that the database takes in one piece when all of them complete with no more to say than outputs.

    `is_whole`: nothing of their execution is left then. `opened_count` steps are ready at once when they are done.
    `wanted` are those that steps outside refer to: place and id.
    """

    indexes: tuple[int, ...]
    is_whole: bool
    opened_count: int
    wanted: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A step and those that may be rendered together with it, in their order.

    `roots` are those of all members, the first included; `references` are the steps outside that the others refer to.
    `last_path` is where the last output lies, when the members are a plain chain: all outputs can then be one text.
    """

    then: tuple[Follower, ...]
    key: str
    roots: frozenset[str]
    references: tuple[str, ...]
    last_path: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class CompiledStep:
    """A step, prepared so that running it looks nothing up.

    `roots` are the names of the context that its templates may use: what no template mentions is not sent to the
    evaluator. Exactly one of `pure` and `handler` is set, or neither when no handler serves the type. `next_index` is
    the step that may be run ahead when this one has completed. `output_path` is where in the rendered configuration the
    output lies, None when that cannot be told beforehand; `chain` then is what can be rendered together with this step.
    `looks_up`: the handler has to find something before it runs. `plain` is the chain that the database takes in one
    piece. `sees_error`: it runs after a failure, and what it sees begins with that. A step that runs once for each item
    begins with its list, and `each` is the step itself. One that repeats has `until`, which is asked after each round.
    `sees_instance`: something of it may name the instance, which is read as the step begins.
    `on_timeout` is {output}, what it completes with when nobody has woken it in time.
    `callbacks` makes the address at which it waits to be called, where it does.
    `check` is what its handler has to look at in the configuration that was rendered. `record` says which attempts keep
    what they sent and got: all, none, or the last failed one.
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
    pure: Handler | None
    handler: Handler | None
    looks_up: bool
    output_path: tuple[str, ...] | None
    check: ConfigCheck | None = None
    chain: Chain | None = None
    plain: PlainChain | None = None
    each: CompiledStep | None = None
    sees_error: bool = False
    until: str | None = None
    until_roots: frozenset[str] = frozenset()
    until_key: str = ""
    sees_instance: bool = False
    on_timeout: Json = None
    on_timeout_roots: frozenset[str] = frozenset()
    on_timeout_key: str = ""
    callbacks: Callbacks | None = None
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tenant's settings allow: bytes and depth of an output, seconds of an attempt and of a delay.

    `provider_settings` are those of steps that reach a provider (`steps.providers`).
    """

    max_output_bytes: int
    max_json_depth: int
    step_timeout_seconds: float
    max_delay_seconds: float
    provider_settings: Mapping[str, Json] = field(default_factory=dict)


NO_LIMITS = Limits(1 << 30, 64, 30.0, math.inf)
"""Where no version is known, so nothing is to be stored but a failure of ours."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version with its steps by index, what expressions see as `workflow` and `tenant`, and its tenant's limits."""

    id: str
    workflow: dict[str, Json]
    tenant: dict[str, Json]
    steps: dict[int, CompiledStep]
    limits: Limits
