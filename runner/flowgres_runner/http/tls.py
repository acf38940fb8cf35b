"""Certificates of a request's own: who it is, and whom it trusts. Connections under different ones are never shared.

aiohttp keeps connections apart by their context, so a context is made once for all that is in it and found again by its
hash. Keys are loaded from memory: OpenSSL reads files only, and a file of this process alone is one.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets as random_tokens
import ssl
from collections import OrderedDict
from dataclasses import dataclass, field

from flowgres_runner.http.failures import HttpError
from flowgres_runner.http.keys import MAX_ITERATIONS, KeyTooCostlyError, judged_certificates, judged_key

MAX_CONTEXTS = 32
"""Each takes about half a megabyte: the certificates that the system trusts are in it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A client certificate with its key, and authorities that are trusted besides the system's; all PEM."""

    certificate: str | None = None
    key: str | None = field(default=None, repr=False)
    key_password: str | None = field(default=None, repr=False)
    ca: str | None = None


class Contexts:
    """TLS contexts by what they are made of, least recently used out first."""

    def __init__(self) -> None:
        self._salt = random_tokens.token_bytes(32)
        self._contexts: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()

    async def find(self, identity: Identity) -> ssl.SSLContext:
        """The context of an identity. Raises HttpError (`config_invalid`) for what cannot be loaded."""
        digest = hashlib.blake2b(key=self._salt, digest_size=32)
        for part in (identity.certificate, identity.key, identity.key_password, identity.ca):
            data = b"" if part is None else part.encode(errors="surrogatepass")
            digest.update(b"%d:" % (-1 if part is None else len(data)) + data)
        key = digest.digest()
        context = self._contexts.get(key)
        if context is None:
            # Reading what the system trusts takes some ten milliseconds.
            made = await asyncio.to_thread(make_context, identity)
            context = self._contexts.setdefault(key, made)
            if len(self._contexts) > MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        if key in self._contexts:
            self._contexts.move_to_end(key)
        return context


def make_context(identity: Identity) -> ssl.SSLContext:
    """A context that shows this certificate. Raises HttpError (`config_invalid`)."""
    try:
        context = ssl.create_default_context()
        if identity.ca is not None:
            # Names of authorities stand there as comments, in any letters; OpenSSL takes ASCII.
            context.load_verify_locations(cadata=identity.ca.encode("ascii", "ignore").decode())
    except (ssl.SSLError, ValueError, TypeError):
        raise _invalid("tls.ca is no certificate in PEM") from None
    context.set_alpn_protocols(["http/1.1"])
    if identity.certificate is not None and identity.key is not None:
        _load(context, identity.certificate, identity.key, identity.key_password)
    return context


def _load(context: ssl.SSLContext, certificate: str, key: str, password: str | None) -> None:
    if "-----BEGIN CERTIFICATE-----" not in certificate:
        raise _invalid("auth.certificate is no certificate in PEM")
    if "PRIVATE KEY-----" not in key:
        raise _invalid("auth.key is no private key in PEM")
    try:
        judged = f"{judged_certificates(certificate)}\n{judged_key(key)}"
    except KeyTooCostlyError:
        why = f"opening auth.key takes more than {MAX_ITERATIONS:,} iterations, or as much; lock it with fewer"
        raise _invalid(why) from None
    except ValueError:
        raise _invalid("auth.certificate and auth.key cannot be loaded") from None
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(judged.encode())
        # Without a password OpenSSL would ask whoever sits in front of the runner.
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=password or "")
    except (ssl.SSLError, UnicodeEncodeError, ValueError) as error:
        reason = getattr(error, "reason", None) or ""
        if reason == "KEY_VALUES_MISMATCH":
            raise _invalid("auth.key does not belong to auth.certificate") from None
        if "DECRYPT" in reason or "PASSWORD" in reason or "ENCRYPTED" in key:
            raise _invalid("auth.key_password does not open auth.key") from None
        raise _invalid("auth.certificate and auth.key cannot be loaded") from None
    finally:
        os.close(descriptor)


def _invalid(why: str) -> HttpError:
    return HttpError("config_invalid", f"http: {why}")
