"""What an e-mail consists of. Nothing that a value holds can add a header or a receiver."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage
from email.policy import SMTP

import idna

MAX_RECIPIENTS = 100
MAX_ADDRESS_CHARACTERS = 512
"""Name and all. The parser of the standard library takes the square of the length, and recurses."""
MAX_SUBJECT_CHARACTERS = 998
_MAX_SQUARES = 2_000_000
"""Of the lengths of all addresses: a hundred of 140 characters. Parsing keeps the event loop waiting."""
_MAX_NAME_SQUARES = 100_000
"""Of the lengths of names that are encoded, which takes longer: a hundred of 30 characters."""


class LetterError(ValueError):
    """What was given makes no e-mail; `code` is a stable word."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Letter:
    """An e-mail with its envelope: `sender` and `recipients` are bare addresses."""

    message: EmailMessage
    message_id: str
    sender: str
    recipients: tuple[str, ...]


def parse_address(text: str, *, what: str) -> Address:
    """One address: `ann@example.com` or `Ann Lee <ann@example.com>`. Raises LetterError for none, and for several.

    A list in one text is refused: who fills in a form would choose who else gets the message.
    """
    problem = LetterError(f"{what}_invalid", f"{what}: {text[:100]!r} is not one address such as ann@example.com")
    if len(text) > MAX_ADDRESS_CHARACTERS:
        raise problem
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise problem
    try:
        header = SMTP.header_factory("to", text.strip())
        if not isinstance(header, AddressHeader) or len(header.addresses) != 1 or getattr(header, "defects", None):
            raise problem
        found = header.addresses[0]
        if not found.username or not found.domain or header.groups[0].display_name is not None:
            raise problem
        domain = found.domain if found.domain.isascii() else idna.encode(found.domain, uts46=True).decode()
        return Address(display_name=found.display_name, username=found.username, domain=domain)
    except (ValueError, IndexError, MessageError, RecursionError) as error:
        if isinstance(error, LetterError):
            raise
        raise problem from None


def parse_addresses(given: str | Sequence[str] | None, *, what: str) -> list[Address]:
    """The addresses of a list, or of a text that is one; each once. Raises LetterError."""
    parsed = [parse_address(text, what=what) for text in _texts(given)]
    found = {address.addr_spec.lower(): address for address in parsed}
    return list(found.values())


def _texts(given: str | Sequence[str] | None) -> Sequence[str]:
    return () if given is None else (given,) if isinstance(given, str) else given


def compose(
    *,
    sender: str,
    recipients: str | Sequence[str],
    subject: str,
    text: str,
    key: str,
    at: datetime,
    html: str | None = None,
    cc: str | Sequence[str] | None = None,
    bcc: str | Sequence[str] | None = None,
    reply_to: str | None = None,
) -> Letter:
    """Make an e-mail. `key` is what all attempts share: it makes a Message-ID that is the same for all of them.

    Raises LetterError.
    """
    # Before any is parsed: parsing takes its time.
    texts = [text for given in (recipients, cc, bcc) for text in _texts(given)]
    if len(texts) > MAX_RECIPIENTS:
        raise LetterError("recipient_invalid", f"an e-mail has {MAX_RECIPIENTS} receivers at most")
    if sum(len(text) ** 2 for text in texts if len(text) <= MAX_ADDRESS_CHARACTERS) > _MAX_SQUARES:
        raise LetterError("recipient_invalid", "the addresses of the receivers are too long altogether")
    from_address = parse_address(sender, what="from")
    to, copies = parse_addresses(recipients, what="recipient"), parse_addresses(cc, what="cc")
    hidden = parse_addresses(bcc, what="bcc")
    everybody = tuple(dict.fromkeys(address.addr_spec for address in (*to, *copies, *hidden)))
    if not everybody:
        raise LetterError("recipient_invalid", "an e-mail needs a recipient")
    answers = () if reply_to is None else (parse_address(reply_to, what="reply_to"),)
    names = (address.display_name for address in (from_address, *to, *copies, *answers))
    if sum(len(name) ** 2 for name in names if not name.isascii()) > _MAX_NAME_SQUARES:
        raise LetterError("recipient_invalid", "the names of sender and receivers are too long altogether")
    message_id = f"<{hashlib.sha256(key.encode()).hexdigest()[:40]}@{from_address.domain}>"
    message = EmailMessage(policy=SMTP)
    try:
        message["From"] = from_address
        if to:
            message["To"] = to
        if copies:
            message["Cc"] = copies
        if answers:
            message["Reply-To"] = answers
        # Lines of a subject become one: a break within a header would begin another one.
        message["Subject"] = " ".join(subject.split())[:MAX_SUBJECT_CHARACTERS]
        message["Date"] = at
        message["Message-ID"] = message_id
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        if html is not None:
            message.add_alternative(html, subtype="html")
    except LetterError:
        raise
    except (ValueError, MessageError, UnicodeError):
        raise LetterError("message_invalid", "the message holds something that no e-mail can carry") from None
    return Letter(message, message_id, from_address.addr_spec, everybody)
