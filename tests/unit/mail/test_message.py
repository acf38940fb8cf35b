"""Composing e-mails: what a value may hold, and what it can never add."""

from __future__ import annotations

from datetime import UTC, datetime
from email.policy import SMTP
from typing import Any

import pytest

from flowgres_runner.mail import LetterError, MailServer, ServerAddressError, compose, message
from flowgres_runner.mail.message import Letter


def letter(**given: Any) -> Letter:
    basis: dict[str, Any] = {
        "sender": "Shop <shop@example.com>", "recipients": "ann@example.com", "subject": "Hello", "text": "It is here.",
        "key": "e1/tell", "at": datetime(2027, 1, 4, tzinfo=UTC),
    }  # fmt: skip
    return compose(**basis | given)


def test_letter_has_text_and_html_and_an_envelope() -> None:
    made = letter(
        recipients=["Ann Lee <ann@example.com>", "bob@example.com"], html="<p>It is here.</p>", cc="cy@example.com",
        bcc="dee@example.com", reply_to="help@example.com", subject="Grüße",
    )  # fmt: skip
    assert made.sender == "shop@example.com"
    assert made.recipients == ("ann@example.com", "bob@example.com", "cy@example.com", "dee@example.com")
    mail = made.message
    assert mail["To"] == "Ann Lee <ann@example.com>, bob@example.com"
    assert (mail["Cc"], mail["Bcc"], mail["Reply-To"]) == ("cy@example.com", None, "help@example.com")
    assert mail["Subject"] == "Grüße"
    kinds = [part.get_content_type() for part in mail.iter_parts()]
    assert kinds == ["text/plain", "text/html"]


def test_attempts_of_one_step_share_a_message_id() -> None:
    assert letter().message_id == letter(text="other").message_id
    assert letter().message_id != letter(key="e1/tell/1").message_id
    assert letter().message_id.endswith("@example.com>")


def test_subject_cannot_add_a_header() -> None:
    mail = letter(subject="Hi\r\nBcc: eve@example.com\n\nbody").message
    assert mail["Subject"] == "Hi Bcc: eve@example.com body"
    assert "\nBcc:" not in mail.as_string()


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com, eve@example.com",
        "Team: ann@example.com, eve@example.com;",
        "Team: ann@example.com;",
        "ann@example.com\0",
        "ann",
        "@example.com",
        "ann@",
        "",
        "ann@example.com> <eve@example.com",
    ],
)
@pytest.mark.parametrize("place", ["recipients", "cc", "sender", "reply_to"])
def test_what_is_not_one_address_is_refused(place: str, address: str) -> None:
    with pytest.raises(LetterError):
        letter(**{place: address})


def test_domain_in_other_letters_is_sent_as_dns_knows_it() -> None:
    assert letter(recipients="ann@bücher.example").recipients == ("ann@xn--bcher-kva.example",)


def test_nobody_and_too_many_are_refused() -> None:
    with pytest.raises(LetterError, match="needs a recipient"):
        letter(recipients=[])
    with pytest.raises(LetterError, match="100 receivers"):
        letter(recipients=[f"a{number}@example.com" for number in range(101)])


@pytest.mark.parametrize("place", ["recipients", "cc", "bcc", "sender", "reply_to"])
@pytest.mark.parametrize(
    "address", ['"' * 16_000, "(" * 1_000, "=?utf-8?q?a?= " * 16_000, "\u4e16" * 600 + " <a@b.example>"]
)
def test_long_address_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch, place: str, address: str) -> None:
    parsed: list[int] = []
    factory = SMTP.header_factory

    def counting(name: str, value: Any) -> Any:
        if len(str(value)) > 600:
            raise AssertionError("it was parsed")
        parsed.append(len(str(value)))
        return factory(name, value)

    monkeypatch.setattr(message, "SMTP", SMTP.clone(header_factory=counting))
    with pytest.raises(LetterError) as caught:
        letter(**{place: address})
    assert len(caught.value.message) < 300


def test_parser_that_recurses_too_deep_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def deep(name: str, value: Any) -> Any:
        raise RecursionError

    monkeypatch.setattr(message, "SMTP", SMTP.clone(header_factory=deep))
    with pytest.raises(LetterError):
        message.parse_address("ann@example.com", what="from")


def test_receivers_are_counted_before_any_is_parsed() -> None:
    with pytest.raises(LetterError, match="100 receivers"):
        letter(recipients=["nobody"] * 60, cc=["nobody"] * 41)


def test_long_addresses_and_names_are_bounded_altogether() -> None:
    with pytest.raises(LetterError, match="addresses"):
        letter(recipients=[f"{'x' * 300} <a{number}@example.com>" for number in range(40)])
    with pytest.raises(LetterError, match="names"):
        letter(recipients=[f"{chr(0x4E16) * 200} <a{number}@example.com>" for number in range(3)])
    assert (
        len(letter(recipients=[f"{chr(0x4E16) * 15} <a{number}@example.com>" for number in range(100)]).recipients)
        == 100
    )


def test_server_address_says_how_it_is_encrypted() -> None:
    implicit = MailServer.parse("smtps://shop:p%40ss@mail.example")
    assert (implicit.host, implicit.port, implicit.tls, implicit.password) == ("mail.example", 465, "implicit", "p@ss")
    assert MailServer.parse("smtp://mail.example").tls == "starttls"
    assert MailServer.parse("smtp://mail.example:2525?tls=none").port == 2525
    assert "p@ss" not in repr(implicit)


@pytest.mark.parametrize(
    "text",
    ["mail.example", "http://mail.example", "smtp://", "smtp://a b", "smtp://h:x", "smtp://h/path", "smtp://h?tls=maybe",
     "smtp://h?verify=no", "smtp://u:p@h?tls=none", "smtp://h\r\nQUIT"],
)  # fmt: skip
def test_what_is_no_server_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ServerAddressError) as caught:
        MailServer.parse(text)
    assert text not in str(caught.value)
