"""A mail server on loopback: aiosmtpd in a thread, with TLS, logins and refusals as a test wants them."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


class _Listening(Controller):
    """One that is asked for any free port, tells which it was, and leaves no connection open when it stops."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._opened: list[SMTP] = []
        super().__init__(*arguments, **options)

    def factory(self) -> SMTP:
        """A conversation with a client."""
        smtp = cast("SMTP", super().factory())  # type: ignore[no-untyped-call]
        self._opened.append(smtp)
        return smtp

    def hang_up(self) -> None:
        """Cut whoever has not said goodbye: his good manners may come after the test."""

        async def cut() -> None:
            for smtp in self._opened:
                if smtp.transport is not None:
                    cast("asyncio.Transport", smtp.transport).abort()
            # It is closed in the next turn of the loop.
            for _ in range(3):
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(cut(), self.loop).result(5)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        super()._trigger_server()  # type: ignore[no-untyped-call]


@dataclass
class Mail:
    """One message that was taken."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    is_encrypted: bool
    user: str | None


@dataclass
class MailServer:
    """Takes mail at `port`; use as a context manager.

    `tls` is for STARTTLS, or from the first byte when `is_implicit`. `refusals` are answers to recipients, `answer` the
    one to a message. With a `password` only `user` may send.
    """

    tls: ssl.SSLContext | None = None
    is_implicit: bool = False
    user: str = "shop"
    password: str | None = None
    refusals: Mapping[str, str] = field(default_factory=dict)
    answer: str = "250 taken"
    mails: list[Mail] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> MailServer:
        server = self

        class Handler:
            async def handle_EHLO(
                self, smtp: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
            ) -> list[str]:
                session.host_name = hostname
                server.connections += 1
                return responses

            async def handle_RCPT(
                self, smtp: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
            ) -> str:
                if address in server.refusals:
                    return server.refusals[address]
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, smtp: SMTP, session: Session, envelope: Envelope) -> str:
                if server.answer.startswith("250"):
                    message = message_from_bytes(cast("bytes", envelope.content), policy=default)
                    server.mails.append(
                        Mail(
                            str(envelope.mail_from),
                            list(envelope.rcpt_tos),
                            message,
                            session.ssl is not None or server.is_implicit,
                            None
                            if session.auth_data is None
                            else cast("LoginPassword", session.auth_data).login.decode(),
                        )
                    )
                return server.answer

        def authenticate(smtp: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
            is_right = data.login.decode() == self.user and data.password.decode() == self.password
            return AuthResult(success=is_right, handled=False, auth_data=data)

        options: dict[str, Any] = {"enable_SMTPUTF8": True, "decode_data": False}
        if self.tls is not None and not self.is_implicit:
            options["tls_context"] = self.tls
        if self.password is not None:
            options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": not self.is_implicit}
        if self.tls is not None and self.is_implicit:
            options["ssl_context"] = self.tls
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about logins without TLS, which it does not see below it
            self._controller = _Listening(Handler(), hostname="127.0.0.1", port=0, **options)
            self._controller.start()
        self.port = self._controller.port
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.hang_up()
        self._controller.stop()
