"""Addresses of requests: parsed once, strictly, and rebuilt from their parts.

What is checked must be what is dialled, so no second parser gets to read the author's text: `parse` normalises the
host itself and hands aiohttp a canonical URL. Ambiguous spellings (a backslash or escape in the host, control
characters, numbers that only inet_aton takes for addresses) are refused rather than interpreted.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

import idna
from yarl import URL

from flowgres_runner.http.failures import HttpError, SsrfBlockedError

_MAX_URL_CHARACTERS = 16_384
_SCHEMES = {"http": 80, "https": 443}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LABELS = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?\Z")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\.?\Z")
_DOTS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})
_KEPT = "%/:@!$&'()*+,;=~-._?[]|"


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed address. `shown` has neither user nor query, for messages and stored details."""

    url: URL
    scheme: str
    host: str
    port: int
    shown: str
    user: tuple[str, str] | None

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials belong to: scheme, host and port."""
        return self.scheme, self.host, self.port


def _invalid(why: str) -> HttpError:
    return HttpError("url_invalid", f"the url is malformed: {why}")


@lru_cache(maxsize=1024)
def parse(text: str) -> Target:
    """Parse and normalise an address.

    Raises HttpError (`url_invalid`) for what is no URL, SsrfBlockedError for other schemes than http(s) and for hosts
    that disguise what they are.
    """
    if len(text) > _MAX_URL_CHARACTERS:
        raise _invalid(f"longer than {_MAX_URL_CHARACTERS} characters")
    if _CONTROL.search(text):
        raise _invalid("it contains a control character")
    try:
        text.encode()
        parts = urlsplit(text.strip(" "))
        port = parts.port
    except (ValueError, UnicodeError):
        raise _invalid("it cannot be parsed") from None
    if not parts.scheme:
        raise _invalid("it has no scheme (http:// or https://)")
    if parts.scheme not in _SCHEMES:
        raise SsrfBlockedError(f"the scheme {parts.scheme[:20]!r} is not http or https")
    if "\\" in parts.netloc:
        raise SsrfBlockedError("a backslash in the url hides its host")
    host = _normalised_host(_host_text(parts.netloc))
    if port is None:
        port = _SCHEMES[parts.scheme]
    if port == 0:
        raise _invalid("port 0")
    shown_host = f"[{host}]" if ":" in host else host
    authority = shown_host if port == _SCHEMES[parts.scheme] else f"{shown_host}:{port}"
    path = quote(parts.path or "/", safe=_KEPT.replace("?", ""))
    query = quote(parts.query, safe=_KEPT)
    user = None
    if parts.username is not None:
        user = (unquote(parts.username), unquote(parts.password or ""))
    url = URL(f"{parts.scheme}://{authority}{path}{'?' + query if query else ''}", encoded=True)
    if url.raw_host != host:  # the two parsers differ: never dial what was not checked
        raise _invalid("its host is ambiguous")
    return Target(url, parts.scheme, host, port, f"{parts.scheme}://{authority}{path}", user)


def _host_text(netloc: str) -> str:
    """The host between the last `@` and the port. `urlsplit(...).hostname` would lower and cut zones silently."""
    rest = netloc.rpartition("@")[2]
    if rest.startswith("["):
        inner, closed, after = rest[1:].partition("]")
        if not closed or (after and not after.startswith(":")):
            raise _invalid("its IPv6 address is not closed")
        if ":" not in inner:
            raise _invalid("it has brackets around something that is no IPv6 address")
        return inner
    host, _, port = rest.partition(":")
    if ":" in port:
        raise _invalid("it has two ports")
    return host


def _normalised_host(text: str) -> str:
    if not text:
        raise _invalid("it has no host")
    if ":" in text:
        return _ipv6(text)
    if "%" in text or any(unicodedata.category(char) == "Cf" for char in text):
        raise SsrfBlockedError("the host contains escaped or invisible characters")
    host = "".join(map(_narrow, text)).translate(_DOTS).lower()
    if not host.isascii():
        try:
            host = idna.encode(unicodedata.normalize("NFC", host), strict=False).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise _invalid("its host is not a valid name") from None
    if len(host) > 254 or not _LABELS.match(host):
        raise _invalid("its host is not a valid name")
    if _NUMERIC.match(host.rstrip(".").rpartition(".")[2]):
        return _ipv4(host)
    return host


def _narrow(char: str) -> str:
    """Full-width digits and letters as the plain ones that resolvers take them for."""
    kind, _, code = unicodedata.decomposition(char).partition(" ")
    return chr(int(code, 16)) if kind in ("<wide>", "<narrow>") and " " not in code else char


def _ipv4(host: str) -> str:
    """A host whose last label is a number is an address by every resolver's rule; only the plain form is taken."""
    host = host.rstrip(".")
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        pass
    try:
        socket.inet_aton(host)
    except OSError:
        raise _invalid("its host is a number but no address") from None
    raise SsrfBlockedError("the host is a number in a form that hides its address")


def _ipv6(text: str) -> str:
    if "%" in text:
        raise SsrfBlockedError("the host has an interface zone")
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise _invalid("its IPv6 address is malformed") from None
