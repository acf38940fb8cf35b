"""Handing a message to a server by SMTP, over a connection that the egress policy has allowed.

aiosmtplib speaks the protocol, with bounded answers and no line break in a command; the socket is ours, and so is the
clock: one deadline over everything, from the lookup to the server's word.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass

import aiosmtplib

from flowgres_runner.errors import AttemptError
from flowgres_runner.http.dialing import dial
from flowgres_runner.http.failures import HttpError
from flowgres_runner.http.guard import EgressPolicy, GuardedResolver, Resolve
from flowgres_runner.mail.message import Letter
from flowgres_runner.mail.server import MailServer

_GOODBYE_SECONDS = 1.0
_MAX_WORDS = 300


@dataclass(eq=False)
class MailError(AttemptError):
    """The server did not take the message. `refused` says of whom: {recipient, code, message}."""

    error_class: str = "validation"
    hint: str = ""
    smtp_code: int | None = None
    refused: tuple[dict[str, str | int], ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    """The server has the message, for `accepted`; `answer` is what it said."""

    accepted: tuple[str, ...]
    refused: tuple[dict[str, str | int], ...]
    answer: str


class Mailer:
    """Sends messages under an egress policy, each over a connection of its own. `resolve` replaces DNS."""

    def __init__(
        self, *, policy: EgressPolicy, resolve: Resolve | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._policy = policy
        self._resolver = GuardedResolver(resolve)
        self._tls = tls
        self._goodbyes: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop lookups under way, and let goodbyes end."""
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)
        await self._resolver.close()

    async def send(self, letter: Letter, server: MailServer, *, timeout_seconds: float) -> Delivery:
        """Hand a message in. Raises MailError."""
        client: aiosmtplib.SMTP | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                client = await self._connect(server)
                delivery = await self._send(client, letter, server)
        except BaseException as error:
            if client is not None:
                client.close()
            if isinstance(error, TimeoutError):
                message = f"{server} did not take the message within {timeout_seconds:g} s"
                raise MailError("smtp_timeout", message, "timeout") from None
            raise
        # The server has it: no deadline may fall into the goodbye, or the message would be sent again.
        goodbye = asyncio.create_task(_say_goodbye(client))
        self._goodbyes.add(goodbye)
        goodbye.add_done_callback(self._goodbyes.discard)
        return delivery

    async def _send(self, client: aiosmtplib.SMTP, letter: Letter, server: MailServer) -> Delivery:
        try:
            if server.tls == "starttls":
                await _start_tls(client, server)
            if server.password or server.user:
                await client.login(server.user, server.password)
            refused, answer = await client.send_message(
                letter.message, sender=letter.sender, recipients=letter.recipients
            )
        except (aiosmtplib.SMTPException, ssl.SSLError, OSError, ValueError) as error:
            raise _translated(error, server) from error
        told = tuple(_refusal(address, code, message) for address, (code, message) in refused.items())
        accepted = tuple(address for address in letter.recipients if address not in refused)
        return Delivery(accepted, told, answer[:_MAX_WORDS])

    async def _connect(self, server: MailServer) -> aiosmtplib.SMTP:
        if self._tls is None:
            # It reads a bundle of certificates, once.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        try:
            sock = await dial(self._policy, self._resolver, server.host, server.port)
        except HttpError as error:
            hint = (error.details or {}).get("hint", "")
            raise MailError(error.code, error.message, error.error_class, str(hint)) from error
        except OSError as error:
            reason = (error.strerror or "no connection").lower()[:80]
            raise MailError("smtp_connect", f"could not connect to {server}: {reason}", "connect") from error
        address = sock.getsockname()[0]
        client = aiosmtplib.SMTP(
            hostname=server.host,
            sock=sock,
            use_tls=server.tls == "implicit",
            start_tls=False,
            tls_context=self._tls,
            timeout=None,  # the one deadline is ours
            local_hostname=f"[IPv6:{address}]" if ":" in address else f"[{address}]",
        )
        try:
            await client.connect()
        except (aiosmtplib.SMTPException, ssl.SSLError, OSError, ValueError) as error:
            client.close()
            sock.close()
            raise _translated(error, server) from error
        except BaseException:
            client.close()
            sock.close()
            raise
        return client


async def _say_goodbye(client: aiosmtplib.SMTP) -> None:
    try:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await client.quit()
    finally:
        client.close()


async def _start_tls(client: aiosmtplib.SMTP, server: MailServer) -> None:
    await client.ehlo()
    if not client.supports_extension("starttls"):
        raise MailError(
            "smtp_tls_required",
            f"{server} offers no STARTTLS, and nothing is sent without TLS",
            hint="For a server of your own that has none: smtp://host:port?tls=none, without a password.",
        )
    await client.starttls()


def _refusal(address: str, code: int, message: str) -> dict[str, str | int]:
    return {"recipient": address, "code": int(code), "message": _words(message)}


def _words(message: str) -> str:
    text = message.encode("utf-8", "replace").decode()
    return " ".join(text.replace("\0", "").split())[:_MAX_WORDS]


def _class_of(code: int) -> str:
    """4yz asks to try later, as 429 does; 421 is a connection that is closed. 5yz stays as it is."""
    if code == aiosmtplib.SMTPStatus.domain_unavailable:
        return "connect"
    return "429" if 400 <= code < 500 else "validation"


def _translated(error: Exception, server: MailServer) -> MailError:
    """Our error for one of the library's."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return MailError("smtp_tls", f"the certificate of {server} is not valid for this name", "tls")
    if isinstance(cause, ssl.SSLError):
        return MailError("smtp_tls", f"the TLS handshake with {server} failed", "connect")
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        refused = tuple(_refusal(one.recipient, one.code, one.message) for one in error.recipients)
        later = any(400 <= one.code < 500 for one in error.recipients)
        return MailError(
            "smtp_recipients_refused",
            f"{server} refused every recipient: {refused[0]['code']} {refused[0]['message']}",
            "429" if later else "validation",
            smtp_code=int(refused[0]["code"]),
            refused=refused,
        )
    if isinstance(error, aiosmtplib.SMTPResponseException):
        if error.code == aiosmtplib.SMTPStatus.invalid_response:
            return MailError("smtp_malformed", f"{server} does not speak SMTP")
        is_login = isinstance(error, aiosmtplib.SMTPAuthenticationError)
        what = "refused the login" if is_login else "refused the message"
        return MailError(
            "smtp_login_refused" if is_login else "smtp_refused",
            f"{server} {what}: {error.code} {_words(error.message)}",
            _class_of(error.code),
            smtp_code=error.code,
        )
    if isinstance(error, aiosmtplib.SMTPServerDisconnected | aiosmtplib.SMTPConnectError | OSError):
        return MailError("smtp_connect", f"the connection to {server} was lost", "connect")
    # What the library itself says: an extension is missing, no way to log in, an address that cannot be sent.
    return MailError("smtp_unsupported", f"{server} cannot take this message: {_words(str(error))}")
