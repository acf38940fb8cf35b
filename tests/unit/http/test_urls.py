"""Parsing of addresses: strict, and the same for the check and the dial."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgres_runner.http import HttpError, SsrfBlockedError
from flowgres_runner.http.urls import parse


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("http://Example.COM", "http://example.com/"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("https://example.com:8443/a?b=c&d=%2F#e", "https://example.com:8443/a?b=c&d=%2F"),
        ("http://example.com/%7Ex/a b/ü", "http://example.com/%7Ex/a%20b/%C3%BC"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://my_service:8080/", "http://my_service:8080/"),
        ("http://[2001:DB8::0:1]:8080/", "http://[2001:db8::1]:8080/"),
        ("http://example.com?q=1", "http://example.com/?q=1"),
        ("http://example.com/a\\b", "http://example.com/a%5Cb"),
        ("  http://example.com/ ", "http://example.com/"),
    ],
)
def test_url_is_sent_in_its_canonical_form(text: str, sent: str) -> None:
    assert str(parse(text).url) == sent


@pytest.mark.parametrize(
    "text",
    [
        "", "http://", "http:///x", "//host/x", "host/x", "http://h:99999/", "http://h:-1/", "http://h:0/", "http://h:1:2/",
        "http://a b/", "http://a\r\nHost: b/", "ht!tp://x/", "http://-a/", "http://a..b/", "http://.a/", "http://[::1/",
        "http://[127.0.0.1]/", "http://[::1]x/", "http://①②⑦.⓪.⓪.①/", "http://256.1.1.1/", "http://1.2.3.4.5/",
        "http://" + "a" * 64 + "/", "http://a/" + "x" * 20_000, "http://a/\x00", "http://\ud800/", "http://a/\ud800",
    ],
)  # fmt: skip
def test_malformed_url_is_a_permanent_error(text: str) -> None:
    with pytest.raises(HttpError) as raised:
        parse(text)
    assert (raised.value.code, raised.value.error_class) == ("url_invalid", "validation")


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd", "gopher://h/_x", "ftp://h/", "javascript:alert(1)", "http://2130706433/", "http://127.1/",
        "http://0x7f.1/", "http://0177.0.0.1/", "http://0/", "http://127%2e0%2e0%2e1/", "http://a\\@b/",
        "http://127.0.0.1\\.example.com/", "http://exam\u200bple.com/", "http://\u00ad127.0.0.1/", "http://[fe80::1%25eth0]/",
    ],
)  # fmt: skip
def test_disguised_url_is_blocked(text: str) -> None:
    with pytest.raises(SsrfBlockedError):
        parse(text)


@pytest.mark.parametrize("text", ["http://１２７．０．０．１/", "http://127。0。0。1/", "http://127.0.0.1./"])
def test_wide_and_dotted_spellings_become_the_plain_address(text: str) -> None:
    assert parse(text).host == "127.0.0.1"


def test_shown_address_has_neither_user_nor_query() -> None:
    target = parse("https://ann:pw@example.com/a?token=t#f")
    assert target.shown == "https://example.com/a"
    assert target.user == ("ann", "pw")
    assert "pw" not in str(target.url)


@given(st.text(max_size=40), st.sampled_from(["http://", "https://", "http://a@", ""]))
def test_any_text_is_parsed_or_refused_with_a_code(text: str, prefix: str) -> None:
    target = None
    with contextlib.suppress(HttpError):  # anything else would escape and fail the test
        target = parse(prefix + text)
    if target is not None:
        assert target.host == target.url.raw_host
        assert str(target.url).isascii()
