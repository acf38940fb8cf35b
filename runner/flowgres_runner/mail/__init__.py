"""E-mail from workflows: composed by the standard library, sent by SMTP to a server that the egress policy allows.

`message` makes what is sent, `server` reads the address of a server, `sending` hands the one to the other.
"""

from __future__ import annotations

from flowgres_runner.mail.message import Letter, LetterError, compose
from flowgres_runner.mail.sending import Delivery, Mailer, MailError
from flowgres_runner.mail.server import MailServer, ServerAddressError

__all__ = [
    "Delivery",
    "Letter",
    "LetterError",
    "MailError",
    "MailServer",
    "Mailer",
    "ServerAddressError",
    "compose",
]
