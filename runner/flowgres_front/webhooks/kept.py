"""Which headers and parameters of a request go along with it, into `trigger.headers` and `trigger.query`.

What expressions read is stored and shown. So a header goes along when its name is one that webhooks use, and does not
sound like a credential; and nothing does that holds one of the webhook's own secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl

from flowgres_front.webhooks.signatures import Headers

_NAMES: Final = frozenset(
    {"content-type", "user-agent", "idempotency-key", "traceparent", "tracestate", "webhook-id", "webhook-timestamp"}
)
_PREFIXES: Final = ("x-", "ce-")
# Of proxies: addresses of people, which nobody has asked for.
_NOT_PREFIXES: Final = ("x-forwarded", "x-real-ip", "x-client", "x-envoy", "x-amz-cf", "x-original")
_SECRET_WORDS: Final = re.compile(
    r"sign|hmac|token|secret|auth|key|passw|pwd|cookie|session|credential|bearer|jwt|digest|hash|sid$"
)
_MOST: Final = 40
_MOST_CHARACTERS: Final = 1000


def kept_headers(headers: Headers, secrets: Sequence[str]) -> dict[str, str]:
    """Headers by their names in lower case; values of one that is repeated joined by a comma and a space."""
    found = {
        name: ", ".join(values)
        for name, values in headers.items()
        if name in _NAMES
        or (name.startswith(_PREFIXES) and not name.startswith(_NOT_PREFIXES) and not _SECRET_WORDS.search(name))
    }
    return dict(_bounded(found, secrets))


def kept_query(query: str, secrets: Sequence[str]) -> dict[str, str]:
    """Parameters behind the question mark; of one that is repeated the last."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=2 * _MOST)
    except ValueError:
        return {}
    return dict(_bounded({name: value for name, value in pairs if not _SECRET_WORDS.search(name.lower())}, secrets))


def _bounded(given: Mapping[str, str], secrets: Sequence[str]) -> Iterable[tuple[str, str]]:
    some = sorted(given.items())[:_MOST]
    for name, value in some:
        clean = "".join(char for char in value if char.isprintable())[:_MOST_CHARACTERS]
        if not any(secret in value for secret in secrets) and name.isprintable() and len(name) <= 100:
            yield name, clean
