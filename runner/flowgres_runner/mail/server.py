"""Where mail is handed in: smtp:// and smtps:// addresses."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

import idna

_PORTS = {"implicit": 465, "starttls": 587, "none": 25}
_HOST = re.compile(r"[a-z0-9_.-]{1,253}|[0-9a-f:.]{2,45}")


class ServerAddressError(ValueError):
    """The text is no address of a mail server. It is not quoted: a password may be in it."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server that takes mail. `tls` is `implicit`, `starttls`, or `none` where the address says so."""

    host: str
    port: int
    tls: str
    user: str = ""
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> MailServer:
        """Read `smtp[s]://[user:password@]host[:port][?tls=none]`. Raises ServerAddressError."""
        try:
            if not text.isprintable():
                raise ValueError  # urlsplit would leave line breaks out
            parts = urlsplit(text.strip())
            host, port = (parts.hostname or "").lower(), parts.port
            options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
            if not host.isascii():
                host = idna.encode(host, uts46=True).decode()
        except (ValueError, UnicodeError):
            raise ServerAddressError("it looks like smtps://user:password@smtp.example:465") from None
        if parts.scheme not in ("smtp", "smtps") or not _HOST.fullmatch(host) or parts.path not in ("", "/"):
            raise ServerAddressError("it looks like smtps://user:password@smtp.example:465")
        tls = "implicit" if parts.scheme == "smtps" else options.pop("tls", "starttls")
        if options or tls not in _PORTS or (tls == "implicit" and parts.scheme == "smtp"):
            raise ServerAddressError("after the ? only tls=none may stand, which asks for no encryption")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if tls == "none" and password:
            raise ServerAddressError("a password is not sent without TLS: leave out tls=none, or the password")
        return cls(host, port or _PORTS[tls], tls, user, password)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What of it nobody may see, in the spellings in which a server might say it again."""
        if not self.password:
            return ()
        plain = f"\0{self.user}\0{self.password}".encode()
        return (self.password, base64.b64encode(plain).decode())

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
