"""What is handed to OpenSSL of a tenant's certificate and key: such blocks as are judged here, and no others.

A key that a password locks says itself how much work it takes to open, and OpenSSL does that work, be it days. So the
key is taken apart as far as that number, and put together again: what OpenSSL reads is what was judged.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

MAX_ITERATIONS = 2_000_000
"""Of the function that makes a key of a password; well above what tools choose today, and about a second."""
_MAX_SCRYPT = 1 << 20
"""N times r times p; OpenSSL's own default is an eighth of it."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----")
_KEY = re.compile(
    r"-----BEGIN ((?:RSA |EC |DSA |ENCRYPTED )?PRIVATE KEY)-----[ \t]*\r?\n"
    r"((?:[A-Za-z0-9-]+: [A-Za-z0-9,. -]+\r?\n)*)([A-Za-z0-9+/=\s]*)-----END \1-----"
)
_SEQUENCE, _INTEGER, _OCTETS, _NAME = 0x30, 0x02, 0x04, 0x06
_PBES2 = bytes.fromhex("2a864886f70d01050d")
_PBKDF2 = bytes.fromhex("2a864886f70d01050c")
_SCRYPT = bytes.fromhex("2b06010401da47040b")
_PBES1 = (bytes.fromhex("2a864886f70d0105"), bytes.fromhex("2a864886f70d010c01"))


class KeyTooCostlyError(ValueError):
    """Opening the key takes more work than is done for anybody."""


def judged_certificates(text: str) -> str:
    """The certificates of a text. Raises ValueError when there is none."""
    found = _CERTIFICATE.findall(text)
    if not found:
        raise ValueError("no certificate")
    return "\n".join(found)


def judged_key(text: str) -> str:
    """The first private key of a text. Raises ValueError for none, KeyTooCostlyError for one that is hard to open."""
    found = _KEY.search(text)
    if found is None:
        raise ValueError("no private key")
    label, headers, body = found.groups()
    if headers and label in ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"):
        raise ValueError("a key of this kind has no headers")
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error:
        raise ValueError("the key is no base64") from None
    if label == "ENCRYPTED PRIVATE KEY":
        _check_work(data)
    elif not headers and not _is_open(data):
        raise ValueError("the key is not what its label says")
    # Headers name one of the old ciphers, whose keys are made in a single turn.
    lines = [f"-----BEGIN {label}-----"]
    if headers:
        lines += [*headers.split("\n")[:-1], ""]
    written = base64.b64encode(data).decode()
    lines += [written[at : at + 64] for at in range(0, len(written), 64)]
    return "\n".join([*(line.rstrip("\r") for line in lines), f"-----END {label}-----", ""])


def _is_open(data: bytes) -> bool:
    """Whether it is a key that no password locks: these begin with a version."""
    outer, *_ = _parts(data)
    first, *_ = _parts(_of(outer, _SEQUENCE))
    return first[0] == _INTEGER


def _check_work(data: bytes) -> None:
    """EncryptedPrivateKeyInfo (RFC 5958): how it is locked, and what."""
    (outer,) = _parts(data)
    (how_tag, how), (what_tag, _) = _parts(_of(outer, _SEQUENCE))
    if (how_tag, what_tag) != (_SEQUENCE, _OCTETS):
        raise ValueError("no encrypted key")
    name, parameters = _algorithm(how)
    if name == _PBES2:
        first, _ = _parts(parameters)
        function, parameters = _algorithm(_of(first, _SEQUENCE))
        if function == _SCRYPT:
            _, cost, size, lanes, *_ = _parts(parameters)
            if _number(cost) * _number(size) * _number(lanes) > _MAX_SCRYPT:
                raise KeyTooCostlyError
            return
        if function != _PBKDF2:
            raise ValueError("an unknown way from a password to a key")
    elif not name.startswith(_PBES1):
        raise ValueError("an unknown way to lock a key")
    _, iterations, *_ = _parts(parameters)
    if _number(iterations) > MAX_ITERATIONS:
        raise KeyTooCostlyError


def _algorithm(content: bytes) -> tuple[bytes, bytes]:
    name, parameters = _parts(content)
    return _of(name, _NAME), _of(parameters, _SEQUENCE)


def _of(part: tuple[int, bytes], tag: int) -> bytes:
    if part[0] != tag:
        raise ValueError("the key is built in another way")
    return part[1]


def _number(part: tuple[int, bytes]) -> int:
    return int.from_bytes(_of(part, _INTEGER), "big")


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The parts of DER, (tag, content). Raises ValueError for what is none, lengths that are not definite among it."""
    at = 0
    while at < len(data):
        header = data[at : at + 2]
        if len(header) < 2 or header[0] & 0x1F == 0x1F:
            raise ValueError("no DER")
        size, at = header[1], at + 2
        if size & 0x80:
            count = size & 0x7F
            if not 0 < count <= 4:
                raise ValueError("no DER")
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + size > len(data):
            raise ValueError("no DER")
        yield header[0], data[at : at + size]
        at += size
