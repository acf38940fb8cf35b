"""The words of other systems, read as ours: what the front and the CLI do with a document before anything checks it.

The database takes the canonical words only. Renamed members are listed in the description (x-aliases), which also tells
whoever sends them to the database what they are called here; this file has the rules that are more than a name. Each
moved value remembers where the author wrote it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field, replace
from typing import Final

from .braces import DIALECT, read_braces
from .branch_outputs import branch_output
from .description import core_step_types, description
from .expressions import ExpressionError
from .form import Moves, form_definition, form_value
from .names import is_display_name, is_workflow_name
from .problems import Json, Path, Positions, Problem, place
from .schema import OTHER_WORDS

_HEADER_KEYS: Final = ("name", "title", "version", "description", "metadata")
_TRIGGER_TYPES: Final = frozenset({"webhook", "cron", "schedule", "manual", "api"})
_BODY: Final = re.compile(r"(\{\{[^{}]*?)(?<![A-Za-z0-9_])trigger\.body(?![A-Za-z0-9_])")
_OTHER_WORDS: Final = re.compile(re.escape(OTHER_WORDS).replace(re.escape("{}"), "(.*?)"))
_SECRET_SUFFIX: Final = "_WEBHOOK_SECRET"  # noqa: S105 - the end of a name
_MAX_SECRET_NAME: Final = 63
_MOST_MOVES: Final = 4
"""Of one value: by its header or flat key, by its word, and by its form."""


@dataclass(frozen=True, slots=True)
class InlineSecret:
    """A secret that stood in the definition, and the name it is stored under."""

    name: str
    value: str = field(repr=False)


@dataclass(slots=True)
class Translation:
    """A document in our words, and where its moved values stand in the author's.

    `source` is the author's, to be kept as it is but for the `secret` that was taken out of it to be stored. `order`
    gives the author's number of each step, `warnings` what was dropped, with the author's paths.
    """

    document: dict[str, Json]
    source: dict[str, Json]
    moves: Moves = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    warnings: list[tuple[Path, Problem]] = field(default_factory=list)
    secret: InlineSecret | None = None
    _formed: set[Path] = field(default_factory=set)

    def origin(self, path: Path) -> Path:
        """Where the author wrote what stands at a path now."""
        path = self.moved(path)
        if len(path) > 1 and path[0] == "steps" and isinstance(path[1], int) and path[1] < len(self.order):
            return ("steps", self.order[path[1]], *path[2:])
        return path

    def moved(self, path: Path) -> Path:
        """The same, with the number of its step in our order still."""
        self._form(path)
        for _ in range(_MOST_MOVES):
            end = next((end for end in range(len(path), 0, -1) if path[:end] in self.moves), 0)
            if not end:
                break
            path = (*self.moves[path[:end]], *path[end:])
        return path

    def _form(self, path: Path) -> None:
        """Learn what the canonical form moves, where a path leads to: a definition may have thousands of steps."""
        given = self.document.get("steps")
        steps: list[Json] = given if isinstance(given, list) else []
        top = path[:2] if path[:1] == ("steps",) else ()
        if top in self._formed:
            return
        self._formed.add(top)
        root = description()
        if not top:
            form_definition({**self.document, "steps": None}, self.moves)
        elif len(top) == 2 and isinstance(top[1], int) and top[1] < len(steps):
            form_value(steps[top[1]], root["$defs"]["step"], root, top, self.moves)

    def place(self, problem: Problem, path: Path, positions: Positions | None) -> Problem:
        """The problem at the place where the author wrote the value."""
        if (told := _OTHER_WORDS.match(problem.hint)) is not None:
            # It was read already: beside what it would be, or in a form that says nothing to us.
            problem = replace(problem, hint=f'Here it is "{told[1]}": write that.')
        return place(problem, self.origin(path), positions)


def translate(document: dict[str, Json]) -> Translation:
    """Read a document in our words. What cannot be understood stays, for the checks to name it.

    The document keeps the author's forms (a duration as a text); paths of the canonical form are known to `place`.
    """
    result = Translation(dict(document), document)
    ours = result.document
    _header(result)
    if ours.get("dialect") == DIALECT:
        del ours["dialect"]
        read_braces(ours)
    is_shorthand = ours.get("trigger_type") is not None
    _secret(result)
    _triggers(result)
    name = ours.get("name")
    if isinstance(name, str) and ours.get("title") is None and not is_workflow_name(name) and is_display_name(name):
        result.moves[("title",)] = result.moves.get(("name",), ("name",))
        ours["title"], ours["name"] = name, slugify(name)
    if isinstance(ours.get("steps"), list):
        result.order = _order(ours["steps"])
        has_own = len(result.order) > 1 and _is_the_trigger(ours["steps"][result.order[0]])
        if has_own:
            del result.order[0]
        ours["steps"] = [_step(ours["steps"][origin], ("steps", at), result) for at, origin in enumerate(result.order)]
        if has_own:
            _begin_without_trigger(ours["steps"], result)
        if is_shorthand:
            _drop_unknown_targets(ours["steps"], result)
    return result


def slugify(title: str) -> str:
    """The name of a workflow whose title is this: Order Pipeline becomes order-pipeline."""
    plain = re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFKD", title)).replace("ß", "ss")
    words = re.sub(r"[^a-z0-9_]+", "-", "".join(char.lower() if char.isascii() else char for char in plain))
    slug = words.strip("-")[:63].strip("-")
    if not slug:
        # A title in another script: a name that is at least stable.
        return "w-" + hashlib.sha256(title.encode()).hexdigest()[:10]
    return slug if slug[0].isascii() and slug[0].isalpha() else f"w-{slug}"[:63]


def secret_name(workflow: str) -> str:
    """`Order Pipeline` becomes ORDER_PIPELINE_WEBHOOK_SECRET: a name that an expression can use."""
    plain = unicodedata.normalize("NFKD", workflow).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_").upper()[: _MAX_SECRET_NAME - len(_SECRET_SUFFIX) - 2]
    if not words[:1].isalpha():
        words = f"W_{words}".rstrip("_")
    return words + _SECRET_SUFFIX


def _header(result: Translation) -> None:
    """`workflow: {name, ...}` is another way to write the header."""
    ours = result.document
    header = ours.get("workflow")
    if not isinstance(header, dict):
        return
    rest = {key: value for key, value in header.items() if key not in _HEADER_KEYS and value is not None}
    for key in _HEADER_KEYS:
        if header.get(key) is not None and ours.get(key) is None:
            ours[key] = header[key]
            result.moves[(key,)] = ("workflow", key)
    if rest:
        ours["workflow"] = rest
    else:
        del ours["workflow"]


def _secret(result: Translation) -> None:
    """`webhook_secret` of the shorthand becomes a trigger that names a secret; in another place it is refused."""
    ours = result.document
    value, name = ours.get("webhook_secret"), ours.get("name")
    is_webhook = (ours.get("trigger_type") or "webhook") == "webhook" and ours.get("triggers") is None
    if isinstance(value, str) and value and isinstance(name, str) and is_webhook:
        result.secret = InlineSecret(secret_name(name), value)
        del ours["webhook_secret"]
        ours.pop("trigger_type", None)
        ours["triggers"] = [{"type": "webhook", "secret": result.secret.name}]
        result.source = {key: item for key, item in result.source.items() if key != "webhook_secret"}
        result.source["triggers"] = ours["triggers"]
        kind: Path = ("trigger_type",) if result.source.get("trigger_type") is not None else ("webhook_secret",)
        result.moves |= {("triggers",): kind, ("triggers", 0): kind, ("triggers", 0, "type"): kind}
        result.moves[("triggers", 0, "secret")] = ("webhook_secret",)


def _triggers(result: Translation) -> None:
    """`trigger_type` and `cron_expression` are a list with one trigger; beside `triggers` the type only repeats one."""
    ours = result.document
    for key in ("trigger_type", "cron_expression"):
        if key in ours and ours[key] is None:
            del ours[key]
    kind = ours.get("trigger_type", "cron" if "cron_expression" in ours else None)
    meant = "cron" if kind == "schedule" else kind
    if ours.get("triggers") is not None:
        triggers = ours["triggers"] if isinstance(ours["triggers"], list) else []
        if "trigger_type" in ours and any(isinstance(one, dict) and one.get("type") == meant for one in triggers):
            del ours["trigger_type"]
        return
    if not isinstance(kind, str) or kind not in _TRIGGER_TYPES:
        return
    ours.pop("trigger_type", None)
    cron = ours.pop("cron_expression", None)
    if kind in ("manual", "api"):
        return
    ours["triggers"] = [{"type": meant} | ({} if cron is None else {"cron": cron})]
    written: Path = ("trigger_type",) if result.source.get("trigger_type") is not None else ("cron_expression",)
    result.moves |= {("triggers",): written, ("triggers", 0): written, ("triggers", 0, "type"): written}
    result.moves[("triggers", 0, "cron")] = ("cron_expression",)


def _order(steps: list[Json]) -> list[int]:
    """Numbers of the steps in the order they are meant: `step_order` decides only when every step has one."""
    places = [step.get("step_order") if isinstance(step, dict) else None for step in steps]
    if all(isinstance(place, int | float) and not isinstance(place, bool) for place in places):
        return sorted(range(len(steps)), key=lambda number: places[number])  # type: ignore[arg-type, return-value]
    return list(range(len(steps)))


def _is_the_trigger(step: Json) -> bool:
    """A first step that has the name of what expressions find the trigger's data under anyway."""
    return (
        isinstance(step, dict)
        and step.get("id", step.get("name")) == "trigger"
        and step.get("type", step.get("task_type")) == "trigger"
    )


def _begin_without_trigger(steps: list[Json], result: Translation) -> None:
    """What hangs on the step that was left out begins at once."""
    for number, step in enumerate(steps):
        if not isinstance(step, dict) or "depends_on" not in step:
            continue
        path: Path = ("steps", number, "depends_on")
        given = step["depends_on"] if isinstance(step["depends_on"], list) else [step["depends_on"]]
        kept = [at for at, name in enumerate(given) if name != "trigger"]
        if len(kept) < len(given):
            result.moves |= {(*path, now): result.moved((*path, was)) for now, was in enumerate(kept) if now != was}
            step["depends_on"] = [given[at] for at in kept]


def _step(given: Json, path: Path, result: Translation) -> Json:
    if not isinstance(given, dict):
        return given
    step = {key: value for key, value in given.items() if value is not None}
    schema = description()["$defs"]["step"]
    step.pop("step_order", None)
    if "name" in step and "id" in step:
        _rename(step, "name", "description", path, result)
        step.pop("name", None)
    retries = step.get("max_retries")
    if isinstance(retries, int) and not isinstance(retries, bool) and retries >= 0 and "retry" not in step:
        # Theirs counts the tries after the first one, ours all of them.
        result.moves[(*path, "retry")] = result.moves[(*path, "retry", "attempts")] = (*path, "max_retries")
        step["retry"] = {"attempts": step.pop("max_retries") + 1}
    for alias, key in schema["x-aliases"].items():
        if alias != "max_retries":
            _rename(step, alias, key, path, result)
    kind = step.get("type")
    if kind == "trigger":
        step |= {"type": "transform", "config": {"expression": "{{ trigger.payload }}"}}
    elif isinstance(kind, str):
        step["type"] = kind = schema["properties"]["type"]["x-aliases"].get(kind, kind)
        if kind in core_step_types() and isinstance(step.get("config", {}), dict):
            _config(step, kind, path, result)
    return _our_payload(step)


def _config(step: dict[str, Json], kind: str, path: Path, result: Translation) -> None:
    """Configuration keys beside `id`, and the words of its type. Only keys that it knows: a typing error stays one."""
    schema = description()["$defs"][kind]
    aliases = schema.get("x-aliases", {})
    config = dict(step.get("config", {}))
    for key in [*schema["properties"], *aliases]:
        if key in step and key not in description()["$defs"]["step"]["properties"]:
            value = step.pop(key)
            if key not in config:
                config[key] = value
                result.moves[(*path, "config", key)] = (*path, key)
    inner = config.get("condition") if kind == "condition" else None
    if isinstance(inner, dict):
        origin = result.moves.get((*path, "config", "condition"), (*path, "config", "condition"))
        del config["condition"]
        config |= inner
        result.moves |= {(*path, "config", key): (*origin, key) for key in inner}
    for alias, key in aliases.items():
        if alias not in ("on_true", "on_false") or not isinstance(config.get(alias), dict):
            _rename(config, alias, key, (*path, "config"), result)
    if kind == "condition" and isinstance(config.get("field"), str):
        config["field"] = re.sub(r"\Atrigger\.body(?![A-Za-z0-9_])", "trigger.payload", config["field"])
    for key, member in schema["properties"].items():
        word = config.get(key)
        if isinstance(member, dict) and isinstance(word, str):
            config[key] = member.get("x-aliases", {}).get(word.lower(), word)
    if kind == "condition":
        _branch_outputs(step, config, path, result)
    if config or "config" in step:
        step["config"] = config


def _branch_outputs(step: dict[str, Json], config: dict[str, Json], path: Path, result: Translation) -> None:
    """An object under on_true is an output: that of the step, when it is true."""
    given = {key: config[key] for key in ("on_true", "on_false") if isinstance(config.get(key), dict)}
    if not given or "output" in step:
        return
    origin = (*path, "config", next(iter(given)))
    try:
        step["output"] = branch_output(given.get("on_true"), given.get("on_false"))
    except ExpressionError:
        # The checks say what is wrong with it, and where.
        step["output"] = [given.get(key) for key in ("on_true", "on_false")]
        for at, key in enumerate(("on_true", "on_false")):
            inner = (*path, "config", key)
            result.moves[(*path, "output", at)] = result.moves.get(inner, inner)
    result.moves[(*path, "output")] = result.moves.get(origin, origin)
    for key in given:
        del config[key]


def _our_payload(value: Json) -> Json:
    """`trigger.body` in expressions is `trigger.payload`."""
    if isinstance(value, str):
        return _BODY.sub(r"\1trigger.payload", value) if "trigger.body" in value else value
    if isinstance(value, list):
        return [_our_payload(one) for one in value]
    return {key: _our_payload(one) for key, one in value.items()} if isinstance(value, dict) else value


def _drop_unknown_targets(steps: list[Json], result: Translation) -> None:
    """In the shorthand with `trigger_type` a branch may lead nowhere: it ends there. Elsewhere that is a mistake."""
    ids = {step["id"] for step in steps if isinstance(step, dict) and isinstance(step.get("id"), str)}
    for number, step in enumerate(steps):
        if not isinstance(step, dict) or step.get("type") != "condition" or not isinstance(step.get("config"), dict):
            continue
        for key in ("true_branch", "false_branch"):
            given = step["config"].get(key)
            names = [given] if isinstance(given, str) else given
            if not isinstance(names, list):
                continue
            path: Path = ("steps", number, "config", key)
            kept = [at for at, name in enumerate(names) if not isinstance(name, str) or name in ids]
            for at, name in enumerate(names):
                if at not in kept:
                    where = path if isinstance(given, str) else (*path, at)
                    result.warnings.append((result.origin(where), _unknown_target(step.get("id"), name)))
            if len(kept) < len(names):
                result.moves |= {(*path, now): result.moved((*path, was)) for now, was in enumerate(kept) if now != was}
                step["config"][key] = [names[at] for at in kept]


def _unknown_target(condition: Json, target: str) -> Problem:
    message = f'the condition "{str(condition)[:60]}" leads to "{target[:60]}", which is no step: this branch ends here'
    hint = "Add a step with this id, or remove it from the branch."
    return Problem(path="", code="unknown_branch_target", message=message, hint=hint, severity="warning")


def _rename(members: dict[str, Json], alias: str, key: str, path: Path, result: Translation) -> None:
    if alias in members and key not in members:
        members[key] = members.pop(alias)
        result.moves[(*path, key)] = result.moves.get((*path, alias), (*path, alias))
