"""Bodies: decoded under a cap, parsed by content type, refused when jsonb could not hold them."""

from __future__ import annotations

import base64
import gzip
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgres_runner.payloads.bodies import MAX_JSON_DEPTH, Body, parse_body
from flowgres_runner.payloads.codings import MAX_MEMBERS, codings_of, undo_codings
from flowgres_runner.payloads.failures import BodyError
from flowgres_runner.payloads.masks import Masker
from tests.support.behaviours import gzip_bomb

NO_SECRETS = Masker(())


def parsed(data: bytes, content_type: str = "application/json") -> Body:
    return parse_body(data, content_type, NO_SECRETS)


def collected(data: bytes, encoding: str, *, limit: int = 1 << 20) -> bytes:
    return undo_codings(data, codings_of(encoding), limit=limit)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}', "[Infinity]", "[-Infinity]", "[1e400]", "[-1e131072]", "[" + "9" * 400 + ".5]", "9" * 5000,
        '{"a": 1, "a": 2}', r'"\u0000"', r'{"\u0000": 1}', r'"\ud800"', r'["\udc00\ud800"]',
        "[" * 64 + "]" * 64, "[" * 50_000 + "]" * 50_000, '{"a":' * 64 + "1" + "}" * 64,
    ],
)  # fmt: skip
def test_json_that_jsonb_cannot_hold_is_a_permanent_error(text: str) -> None:
    with pytest.raises(BodyError) as raised:
        parsed(text.encode())
    assert (raised.value.code, raised.value.error_class) == ("response_not_storable", "validation")


def test_json_that_is_not_utf8_is_a_permanent_error() -> None:
    with pytest.raises(BodyError) as raised:
        parsed(b'"\xff"')
    assert raised.value.code == "response_not_storable"


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        ('["grüße"]'.encode("latin-1"), "application/json; charset=ISO-8859-1"),
        ('["grüße"]'.encode("cp1252"), 'application/json;charset="windows-1252"'),
        ('["grüße"]'.encode("utf-16"), "application/json"),
        ('["grüße"]'.encode("utf-32"), "application/json; charset=utf-32"),
        ('["grüße"]'.encode("utf-32"), "application/json"),
        (b"\0\0\xfe\xff" + '["grüße"]'.encode("utf-32-be"), "application/json"),
        ('["grüße"]'.encode("utf-16-le"), "application/json; charset=utf-16le"),
        ('["gr\\u00fc\\u00dfe"]'.encode("utf-32-be"), "application/json; charset=utf-32be"),
        # UTF-8, though a server's default says otherwise.
        ('["grüße"]'.encode(), "application/json; charset=ISO-8859-1"),
        ('["grüße"]'.encode(), "application/json; charset=none"),
    ],
)
def test_json_in_another_charset_is_read(data: bytes, content_type: str) -> None:
    assert parsed(data, content_type) == Body(["grüße"])


@pytest.mark.parametrize("name", ["utf-8", "none", "binary", "aws-chunked", "identity, UTF-8", "8bit"])
def test_content_encoding_that_encodes_nothing_is_passed_over(name: str) -> None:
    assert collected(b"plain", name) == b"plain"
    assert collected(gzip.compress(b"plain"), f"gzip, {name}") == b"plain"


@pytest.mark.parametrize("text", ["<html>", "{", "[1,]", '{"a": 1} x', "'a'", '"\x01"'])
def test_declared_json_that_is_none_is_a_permanent_error(text: str) -> None:
    with pytest.raises(BodyError) as raised:
        parsed(text.encode())
    assert raised.value.code == "response_not_json"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}), ("[1, 2.5, true, null]", [1, 2.5, True, None]), ('"\\u00e9\\ud83d\\ude42"', "é🙂"), ("1e10", 1e10),
        ("1e-400", 0.0), ("9" * 400, int("9" * 400)), ("[" * MAX_JSON_DEPTH + "]" * MAX_JSON_DEPTH, None),
        ("\ufeff1", 1), ("", None), ('"' + "[" * 100 + '"', "[" * 100),
    ],
)  # fmt: skip
def test_good_json_is_parsed(text: str, value: object) -> None:
    result = parsed(text.encode())
    assert value is None or result == Body(value)


def test_json_types_with_suffix_are_json() -> None:
    assert parsed(b"[1]", "application/problem+json; charset=utf-8") == Body([1])


@pytest.mark.parametrize(
    ("data", "content_type", "text"),
    [
        (b"plain", "text/plain", "plain"),
        ("grüße".encode(), "text/plain", "grüße"),
        ("grüße".encode("latin-1"), "text/plain; charset=ISO-8859-1", "grüße"),
        ("grüße".encode("utf-16"), 'text/plain; charset="utf-16"', "grüße"),
        (b"<a/>", "application/xml", "<a/>"),
        (b"no type", "", "no type"),
        (b"", "text/plain", ""),
    ],
)
def test_text_is_decoded(data: bytes, content_type: str, text: str) -> None:
    assert parsed(data, content_type) == Body(text)


@pytest.mark.parametrize(
    ("data", "content_type"),
    [
        (b"\x89PNG\x00", "image/png"),
        (b"a\x00b", "text/plain"),
        (b"\xff\xfe\xfd", "text/plain"),
        (b"abc", "text/plain; charset=punycode"),
        (b"abc", "text/plain; charset=no-such"),
        (b"\x00\xd8", "text/plain; charset=utf-16-le"),
    ],
)
def test_what_is_no_text_is_base64(data: bytes, content_type: str) -> None:
    assert parsed(data, content_type) == Body(base64.b64encode(data).decode(), is_binary=True)


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        ("gzip", gzip.compress(b"hello", mtime=0)),
        ("x-gzip", gzip.compress(b"hel", mtime=0) + gzip.compress(b"lo", mtime=0)),
        ("gzip", gzip.compress(b"hello", mtime=0) + bytes(8)),
        ("deflate", zlib.compress(b"hello")),
        ("deflate", zlib.compress(b"hello", wbits=-15)),
        ("deflate, gzip", gzip.compress(zlib.compress(b"hello"), mtime=0)),
        ("identity", b"hello"),
        ("", b"hello"),
    ],
)
def test_encoded_body_is_decoded(encoding: str, encoded: bytes) -> None:
    assert collected(encoded, encoding) == b"hello"


@pytest.mark.parametrize("layers", [1, 2])
def test_bomb_is_stopped_at_the_cap(layers: int) -> None:
    bomb = gzip_bomb(megabytes=20, layers=layers)
    with pytest.raises(BodyError) as raised:
        collected(bomb, ", ".join(["gzip"] * layers))
    assert raised.value.code == "response_too_large"


def test_members_are_counted_though_each_may_be_empty() -> None:
    assert collected(gzip.compress(b"x") * MAX_MEMBERS, "gzip") == b"x" * MAX_MEMBERS
    with pytest.raises(BodyError) as raised:
        collected(gzip.compress(b"") * (MAX_MEMBERS + 1), "gzip")
    assert raised.value.code == "response_malformed"


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 300_000])
def test_body_of_many_members_is_the_sum_of_them(size: int) -> None:
    parts = [os.urandom(size), b"a" * size, b"", os.urandom(7)]
    assert collected(b"".join(gzip.compress(part) for part in parts), "gzip") == b"".join(parts)


def test_bytes_of_all_members_count_against_the_cap() -> None:
    member = gzip.compress(bytes(1000))
    assert len(collected(member * 5, "gzip", limit=5000)) == 5000
    with pytest.raises(BodyError) as raised:
        collected(member * 6, "gzip", limit=5000)
    assert raised.value.code == "response_too_large"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip, gzip"])
def test_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(BodyError) as raised:
        codings_of(encoding)
    assert raised.value.code == "response_malformed"


def test_broken_gzip_is_a_permanent_error() -> None:
    with pytest.raises(BodyError) as raised:
        collected(b"not gzip", "gzip")
    assert (raised.value.code, raised.value.error_class) == ("response_malformed", "validation")


def test_cut_off_gzip_is_worth_another_attempt() -> None:
    with pytest.raises(BodyError) as raised:
        collected(gzip.compress(b"hello" * 100)[:-10], "gzip")
    assert raised.value.error_class == "connect"


@given(
    st.binary(max_size=200),
    st.sampled_from(["application/json", "text/plain", "text/x; charset=utf-16", "image/x", ""]),
)
def test_any_body_becomes_storable_or_an_error_with_a_code(data: bytes, content_type: str) -> None:
    try:
        value = parsed(data, content_type).value
    except BodyError:
        return
    if isinstance(value, str):
        assert "\0" not in value
        value.encode()
