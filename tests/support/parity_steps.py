"""Configurations of a single step, and those of transitions and waits on which both checks must agree."""

from __future__ import annotations

from typing import Any

from tests.support.definitions import workflow

Definition = dict[str, Any]
Said = dict[str, str]
CONFIG = "steps[0].config"
INSTANCE = "00000000-0000-0000-0000-000000000001"


def one(kind: str, **config: Any) -> Definition:
    """A workflow of one step of a type."""
    return workflow({"id": "a", "type": kind, "config": config})


def at(path: str, code: str) -> Said:
    """One error in the configuration of the first step."""
    return {f"{CONFIG}.{path}" if path else CONFIG: code}


def waiting(**step: Any) -> Definition:
    """A workflow of one step that waits for a signal."""
    return workflow({"id": "a", "type": "wait", "config": {"signal": "go"}, **step})


def calling_back(**config: Any) -> Definition:
    """A workflow of one request that sends an address along at which it is called."""
    return one("http", **{"url": "https://x.example", "json": "{{ callback.url }}", "callback": {}} | config)


TRANSITIONS: list[tuple[Definition, Said]] = [
    (one("transition", instance="{{ input.i }}", to="paid", metadata={"by": "{{ input.who }}"}, context="{{ input.c }}",
        notes="x"), {}),
    (one("transition", workflow="order", entity_table="orders", entity_id=7, to="{{ input.to }}"), {}),
    (one("transition"), at("to", "missing_key") | at("workflow", "missing_key") | at("entity_table", "missing_key")
        | at("entity_id", "missing_key")),
    (one("task", queue="mail", payload={"to": "{{ input.to }}"}, lease="5m"), {}),
    (one("task", queue="{{ input.q }}", payload=[1, None]), {}),
    (one("task"), at("queue", "missing_key")),
    (one("task", queue="Mail Room", lease="2d"), at("queue", "invalid_text") | at("lease", "out_of_range")),
    (one("task", queue="mail", payload="{{ secrets.KEY }}"), at("payload", "secret_misuse")),
    (one("transition", instance="x", to=""), at("instance", "invalid_text") | at("to", "invalid_text")),
    (one("transition", instance=INSTANCE, workflow="order", entity_id="1", to="a"), at("", "conflicting_keys")),
    (one("transition", workflow="Not A Name", entity_table="orders", entity_id=1.5, to="a", metadata=[]),
        at("workflow", "invalid_text") | at("entity_id", "wrong_kind") | at("metadata", "wrong_kind")),
    (one("transition", instance="{{ secrets.KEY }}", to="a"), at("instance", "secret_misuse")),
]  # fmt: skip

WAITS: list[tuple[Definition, Said]] = [
    (one("wait", signal="packed", key="{{ input.x }}", accept="new"), {}),
    (one("wait", signal="packed", key=7), {}),
    (one("wait", event="order.paid", key="7", when="$.total > 100", match={"order": "{{ input.x }}"}), {}),
    (one("wait", first_of=[{"signal": "a"}, {"event": "b.c", "when": "$.x == 1"}, {"timeout": "7d"}]), {}),
    (one("wait"), at("", "missing_key")),
    (one("wait", signal="Not One", event="no event!"), at("", "conflicting_keys") | at("signal", "invalid_name")
        | at("event", "invalid_name")),
    (one("wait", signal="a", when="$.x == 1"), at("event", "missing_key")),
    (one("wait", signal="a", accept="some"), at("accept", "unknown_word")),
    (one("wait", first_of=[]), at("first_of", "invalid_text")),
    (one("wait", first_of=[{"signal": "a"}], key="7"), at("", "conflicting_keys")),
    (one("wait", first_of=[{"timeout": "0s", "key": "a"}]), at("first_of[0].timeout", "out_of_range")
        | at("first_of[0]", "conflicting_keys")),
    (waiting(on_timeout={"output": "{{ steps.a.output }}"}), {
        "steps[0].on_timeout.output": "reference_not_ancestor"}),
    (waiting(on_timeout={"output": "{{ input.x }}"}, timeout="2d"), {}),
    (waiting(on_timeout={}), {"steps[0].on_timeout.output": "missing_key"}),
    (waiting(retry=3), {"steps[0]": "retry_not_allowed"}),
    (workflow({"id": "a", "type": "log", "config": {"message": "x"}, "on_timeout": {"output": 1}}), {
        "steps[0]": "on_timeout_not_allowed"}),
    (calling_back(), {}),
    (calling_back(callback={"timeout": "0s"}), at("callback.timeout", "out_of_range")),
    (calling_back(callback={"timeout": "1d", "x": 1}), at("callback.x", "unknown_key")),
    (one("http", url="https://x.example", json="{{ callback.url }}"), at("json", "expression_name")),
    (workflow({"id": "a", "type": "http", "config": {"url": "https://x.example", "callback": {}},
        "on_timeout": {"output": 1}}), {}),
    (workflow({"id": "a", "type": "http", "config": {"url": "https://x.example"}, "on_timeout": {"output": 1}}), {
        "steps[0]": "on_timeout_not_allowed"}),
    (workflow({"id": "a", "type": "http", "config": {"url": "https://x.example", "callback": {}},
        "output": "{{ callback.url }}"}), {"steps[0].output": "expression_name"}),
]  # fmt: skip


def recorded(kind: str, word: Any, **members: Any) -> Definition:
    """A workflow of one step that says which attempts keep what they sent."""
    config = {"url": "https://x.example/"} if kind == "http" else {"message": "x"}
    return workflow({"id": "a", "type": kind, "config": config, "record": word} | members)


UNDO = {"type": "log", "config": {"message": "x"}, "record": "all"}
RECORDS: list[tuple[Definition, Said]] = [
    (recorded("http", "all"), {}),
    (recorded("http", None), {}),
    (recorded("http", "some"), {"steps[0].record": "unknown_word"}),
    (recorded("log", "all"), {"steps[0]": "record_not_allowed"}),
    (recorded("http", "none", compensate=UNDO), {"steps[0].compensate": "record_not_allowed"}),
]


def called(**config: Any) -> Definition:
    """A workflow of one request."""
    return one("http", **{"url": "https://x.example/"} | config)


OAUTH = {"type": "oauth2", "token_url": "https://x.example/token", "client_id": "c", "client_secret": "{{ secrets.S }}"}
FILE = {"name": "f", "filename": "a.pdf", "base64": "{{ input.file }}"}
HTTP: list[tuple[Definition, Said]] = [
    (called(auth=OAUTH | {"scope": "a b", "audience": "x", "client_authentication": "body"}), {}),
    (called(auth={"type": "oauth2"}),
        at("auth.token_url", "missing_key") | at("auth.client_id", "missing_key")
        | at("auth.client_secret", "missing_key")),
    (called(auth=OAUTH | {"token_url": "ftp://x", "client_id": "", "client_authentication": "none"}),
        at("auth.token_url", "invalid_text") | at("auth.client_id", "invalid_text")
        | at("auth.client_authentication", "unknown_word")),
    (called(auth={"type": "client_certificate", "certificate": "{{ secrets.C }}", "key": "{{ secrets.K }}"}), {}),
    (called(auth={"type": "client_certificate", "key": 1}),
        at("auth.certificate", "missing_key") | at("auth.key", "wrong_kind")),
    (called(tls={"ca": "{{ secrets.CA }}"}), {}),
    (called(tls={"verify": False}), at("tls.ca", "missing_key") | at("tls.verify", "unknown_key")),
    (called(multipart=[{"name": "a", "value": 1}, {"name": "f", "filename": "a", "content": "x", "content_type": "a/b"},
        {"name": "f", "filename": "a", "base64": "AP8="}, "{{ input.part }}"]), {}),
    (called(multipart="{{ input.parts }}", method="POST"), {}),
    (called(multipart=[]), at("multipart", "invalid_text")),
    (called(multipart=[{"name": "a"}]), at("multipart[0]", "missing_key")),
    (called(multipart=[{"value": 1}]), at("multipart[0].name", "missing_key")),
    (called(multipart=[FILE | {"value": 1}]), at("multipart[0]", "conflicting_keys")),
    (called(multipart=[FILE | {"base64": "a b"}]), at("multipart[0].base64", "invalid_text")),
    (called(multipart=[FILE], json={}), at("", "conflicting_keys")),
]  # fmt: skip
