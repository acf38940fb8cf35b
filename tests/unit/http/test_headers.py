"""Headers: what may be sent, and how Retry-After is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from flowgres_runner.http import HttpError
from flowgres_runner.http.headers import check_headers, received_headers, retry_after_seconds
from flowgres_runner.http.links import MAX_LINKS, parse_links


@pytest.mark.parametrize(
    "name",
    ["Host", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Expect",
     "Proxy-Authorization", "Proxy-Connection", "", " X", "X ", "X:", "X\r\nY", "X\x00", "Ü", ":authority", "x" * 300],
)  # fmt: skip
def test_header_of_the_connection_or_with_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(HttpError) as raised:
        check_headers({name: "1"})
    assert raised.value.code == "header_invalid"


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nb", "a\rb", "a\x00b", "\x7f", "\ud800", "x" * 10_000])
def test_header_with_a_bad_value_is_refused(value: str) -> None:
    with pytest.raises(HttpError) as raised:
        check_headers({"X-A": value})
    assert raised.value.code == "header_invalid"


@pytest.mark.parametrize("value", ["", "plain", "a\tb", "grüße", "🙂"])
def test_printable_header_is_accepted(value: str) -> None:
    check_headers({"X-A": value})


def test_too_many_headers_are_refused() -> None:
    with pytest.raises(HttpError):
        check_headers({f"X-{number}": "1" for number in range(101)})


def test_too_long_headers_are_refused_in_sum() -> None:
    with pytest.raises(HttpError):
        check_headers({f"X-{number}": "x" * 8_000 for number in range(5)})


def test_received_headers_are_text_that_jsonb_can_hold() -> None:
    received = received_headers(
        [(b"X-A", b"1"), (b"x-a", b"2"), (b"X-U", "ü".encode()), (b"X-L", b"\xfc"), (b"X-N", b"\0")]
    )
    assert received == ({"x-a": "1, 2", "x-u": "ü", "x-l": "ü", "x-n": ""}, {"x-a": ["1", "2"]})


def test_cookies_are_a_list_even_when_there_is_one() -> None:
    headers, values = received_headers([(b"Set-Cookie", b"a=1; Expires=Fri, 27 Nov 2026 10:00:00 GMT")])
    assert values == {"set-cookie": [headers["set-cookie"]]}


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ('<https://x.example/?p=2>; rel="next", <https://x.example/?p=9>; rel=last',
            {"next": "https://x.example/?p=2", "last": "https://x.example/?p=9"}),
        ('<?p=2,3;4>; title="a, <b>; \\"c"; REL="Next start"', 
            dict.fromkeys(("next", "start"), "https://x.example/a?p=2,3;4")),
        ("</b>;rel=next, </c>;rel=next", {"next": "https://x.example/b"}),
        ("<b>; rel=prev; rel=next", {"prev": "https://x.example/b"}),
        ("", {}),
        ("https://x.example/; rel=next", {}),
        ("<https://[::1>; rel=next", {}),
        ("<a>; rel", {}),
        ('<a>; rel="' + "x" * 101 + '"', {}),
        ('"' * 16_000, {}),
        ("<" * 8_000 + "," * 8_000, {}),
    ],
)  # fmt: skip
def test_links_are_read_by_relation(text: str, links: dict[str, str]) -> None:
    assert parse_links(text, "https://x.example/a") == links


def test_links_are_bounded() -> None:
    many = ",".join(f"</{n}>;rel=r{n}" for n in range(1_000))
    assert len(parse_links(many, "https://x.example/")) == MAX_LINKS


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2", 2.0), ("0", 0.0), ("99999999999", 604_800.0), ("-1", None), ("1.5", None), ("soon", None), ("", None)],
)
def test_retry_after_in_seconds(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": value}) == seconds


def test_retry_after_as_a_date_is_measured_by_the_clock_of_the_server() -> None:
    theirs = datetime(2001, 1, 1, tzinfo=UTC)
    headers = {
        "date": format_datetime(theirs, usegmt=True),
        "retry-after": format_datetime(theirs + timedelta(seconds=90), usegmt=True),
    }
    assert retry_after_seconds(headers) == 90.0


def test_retry_after_as_a_date_of_the_past_is_now() -> None:
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
