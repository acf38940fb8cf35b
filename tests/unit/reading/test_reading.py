"""What is read apart is what would have been read here, and hostile data costs no more than the process's limits."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flowgres_runner.json_values import canonical_json, encode_json
from flowgres_runner.payloads.bodies import parse_body
from flowgres_runner.payloads.failures import BodyError
from flowgres_runner.payloads.masks import masker
from flowgres_runner.payloads.texts import ReadBody, Reading, read_apart
from flowgres_runner.reading.reader import Reader
from tests.support.behaviours import fat_json

LIMIT = 5 << 20


@pytest.fixture
async def reader() -> AsyncIterator[Reader]:
    reader = Reader()
    yield reader
    await reader.close()


def reading(content_type: str = "application/json", *, secrets: tuple[str, ...] = (), **more: Any) -> Reading:
    return Reading(more.pop("codings", ()), content_type, more.pop("reads_as", "auto"), secrets, LIMIT)


async def read(reader: Reader, data: bytes, how: Reading) -> ReadBody:
    return await reader.read([data], how, tenant_id="a")


BODIES: list[tuple[str, str]] = [
    ('{"b": 1, "aa": 2, "a": [1.0, 1e20, -0.0, {"zz": "password-1", "y": null}], "c": {"d": {}}}', "application/json"),
    ("[" + ",".join(f'{{"id": {n}, "a": [{n}]}}' for n in range(3_000)) + "]", "application/json"),
    ('{"all": [' + "1.5," * 2_000 + '1], "b": "x"}', "application/json"),
    ("17", "application/json"), ('"password-1"', "application/json"), ("", "application/json"),
    ("plain password-1", "text/plain"), ("", "text/plain"), ("\1\2", "image/png"),
]  # fmt: skip


@pytest.mark.parametrize("secrets", [(), ("password-1",)])
@pytest.mark.parametrize(("text", "content_type"), BODIES)
def test_text_of_a_body_is_that_of_its_value(text: str, content_type: str, secrets: tuple[str, ...]) -> None:
    here = parse_body(text.encode(), content_type, masker(secrets))
    apart, is_binary = read_apart([text.encode()], reading(content_type, secrets=secrets))
    assert bytes(apart.data).decode() == encode_json(canonical_json(here.value))
    assert is_binary is here.is_binary


async def test_process_reads_and_masks_what_it_is_given(reader: Reader) -> None:
    data = json.dumps([{"text": "password-1", "n": n} for n in range(5_000)]).encode()
    body = await read(reader, gzip.compress(data), reading(secrets=("password-1",), codings=("gzip",)))
    value = json.loads(body.value.data)  # type: ignore[union-attr]
    assert value[4_999] == {"n": 4_999, "text": "***"}
    assert body.value.depth == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "how", "code"),
    [
        (b"{", reading(), "response_not_json"),
        (b'{"a": 1, "a": 2}', reading(), "response_not_storable"),
        (b"\xff", reading(reads_as="text"), "response_not_text"),
        (gzip.compress(bytes(10 << 20)), reading("text/plain", codings=("gzip",)), "response_too_large"),
        (gzip.compress(b"") * 5_000, reading(codings=("gzip",)), "response_malformed"),
        (b"[" + b"1e300," * 800_000 + b"1]", reading(), "response_too_large"),
        (fat_json("empties", LIMIT), reading(), "response_too_large"),
        (b"\1" * LIMIT, reading("text/plain"), "response_too_large"),
    ],
)
async def test_what_cannot_be_read_has_a_code_and_the_next_is_read(
    reader: Reader, data: bytes, how: Reading, code: str
) -> None:
    with pytest.raises(BodyError) as raised:
        await read(reader, data, how)
    assert raised.value.code == code
    assert bytes((await read(reader, b"[1]", reading())).value.data) == b"[1]"  # type: ignore[union-attr]


async def test_cancelled_at_any_moment_the_next_one_gets_its_own_answer(reader: Reader) -> None:
    for milliseconds in (0, 1, 5, 20, 60, 150):
        task = asyncio.create_task(read(reader, fat_json("records", 1 << 20), reading()))
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert bytes((await read(reader, b"[1]", reading())).value.data) == b"[1]"  # type: ignore[union-attr]


async def test_large_members_are_split_off(reader: Reader) -> None:
    large = [{"id": n} for n in range(2_000)]
    context = {"input": large, "trigger": {"type": "api"}, "steps": {"a": {"output": large}, "b": {"output": 1}}}
    value, weight = await reader.split(json.dumps(context), (("input",), ("steps", "*", "output")), tenant_id="a")
    assert json.loads(value["input"]) == large
    assert json.loads(value["steps"]["a"]["output"]) == large
    assert value["steps"]["b"] == {"output": 1}
    assert weight >= 2 * len(value["input"])
