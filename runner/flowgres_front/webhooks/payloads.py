"""What an authentic body says: JSON, a form, a text, or a CloudEvent around one of these.

JSON is handed on as it was written, so that numbers keep every digit.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from flowgres_front.bodies import BodyLimits, parse_json
from flowgres_front.problems import Problem
from flowgres_front.webhooks.signatures import Headers

_FORM: Final = "application/x-www-form-urlencoded"
_CLOUD_EVENT: Final = "application/cloudevents+json"
_CLOUD_EVENT_BATCH: Final = "application/cloudevents-batch+json"
_CHARSET: Final = re.compile(r"(?:^|[;\s])charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_MOST_FIELDS: Final = 1000
_CHARSETS: Final = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252"})
_TAKEN: Final = f"application/json and other +json types, {_FORM}, text/*, {_CLOUD_EVENT}"
# Those whose forms have one field with JSON in it.
_JSON_IN_FORMS: Final = frozenset({"github", "slack"})


@dataclass(frozen=True, slots=True)
class Payload:
    """What a body says: `text` as JSON, `value` as Python has it.

    `event` are the attributes of a CloudEvent around it, None when it is none.
    """

    text: str
    value: Any
    event: Mapping[str, Any] | None = None


def media_type(headers: Headers) -> str:
    """The media type of a body, in lower case and without parameters; "" when it says none."""
    return _content_type(headers)[0]


def looks_like_json(headers: Headers, body: bytes) -> bool:
    """Whether a body says that it is JSON."""
    kind = media_type(headers)
    return _is_json(kind) or (not kind and body.lstrip()[:1] in (b"{", b"["))


def read_payload(scheme: str, headers: Headers, body: bytes, limits: BodyLimits) -> Payload:
    """Read a body by its content type.

    Without one, what begins with a brace or bracket is JSON and anything else a text. Raises Problem 400 for what is
    not what it says, 415 for what is not taken here.
    """
    if any(value.strip().lower() not in ("", "identity") for value in headers.get("content-encoding", ())):
        raise Problem(415, "unsupported_encoding", "compressed bodies are not accepted", hint="Send it uncompressed.")
    kind, charset = _content_type(headers)
    if kind == _CLOUD_EVENT:
        return _structured(body, limits)
    payload = _read(scheme, kind, charset, body, limits)
    event = _binary_event(headers)
    return Payload(payload.text, payload.value, event) if event else payload


def _read(scheme: str, kind: str, charset: str, body: bytes, limits: BodyLimits) -> Payload:
    if _is_json(kind) or (not kind and body.lstrip()[:1] in (b"{", b"[")):
        if charset != "utf-8":
            raise Problem(415, "unsupported_charset", "JSON is UTF-8", hint="Leave the charset out.")
        value = parse_json(body, limits)
        return Payload(body.decode(), value)
    if kind == _FORM:
        return _form(scheme, body, limits)
    if not kind and not body:
        return _made(None)
    if not kind or kind.startswith("text/"):
        return _made(_text(body, charset))
    raise Problem(
        415,
        "unsupported_media_type",
        "this kind of body is not accepted here",
        hint=f"Content-Type: {_TAKEN}.",
        headers={"Accept": "application/json, application/*+json, text/*, " + _FORM},
    )


def _is_json(kind: str) -> bool:
    return kind == "application/json" or (kind.endswith("+json") and kind != _CLOUD_EVENT_BATCH)


def _form(scheme: str, body: bytes, limits: BodyLimits) -> Payload:
    """Texts by name; of a name that is repeated, the list of its texts."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError as error:
        raise Problem(
            400,
            "invalid_form",
            "the body is no form",
            hint=f"Names and values in UTF-8, at most {_MOST_FIELDS} of them.",
        ) from error
    if scheme in _JSON_IN_FORMS and [name for name, _ in pairs] == ["payload"]:
        text = pairs[0][1].encode()
        return Payload(text.decode(), parse_json(text, limits))
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            fields[name] = value
        elif isinstance(fields[name], list):
            fields[name].append(value)
        else:
            fields[name] = [fields[name], value]
    _refuse_null("".join(name + value for name, value in pairs))
    return _made(fields)


def _text(body: bytes, charset: str) -> str:
    if charset not in _CHARSETS:
        raise Problem(415, "unsupported_charset", "this charset is not read here", hint="Send it in UTF-8.")
    try:
        text = body.decode(charset)
    except UnicodeDecodeError as error:
        raise Problem(400, "invalid_text", f"the body is no text in {charset}") from error
    _refuse_null(text)
    return text


def _refuse_null(text: str) -> None:
    if "\0" in text:
        raise Problem(400, "invalid_text", "the body holds the null character, which nothing can store")


def _structured(body: bytes, limits: BodyLimits) -> Payload:
    """A CloudEvent in JSON: its data is the payload."""
    event = parse_json(body, limits)
    if not isinstance(event, dict):
        raise Problem(400, "invalid_cloud_event", "a CloudEvent is a JSON object")
    attributes = {name: value for name, value in event.items() if name not in ("data", "data_base64")}
    _check_event(attributes)
    return _made(event.get("data", event.get("data_base64")), attributes)


def _binary_event(headers: Headers) -> Mapping[str, Any] | None:
    """The attributes of a CloudEvent whose data is the body: headers that begin with ce-."""
    attributes = {
        name[3:]: values[0] for name, values in headers.items() if name.startswith("ce-") and len(values) == 1
    }
    if "specversion" not in attributes:
        return None
    if kind := media_type(headers):
        attributes["datacontenttype"] = kind
    _check_event(attributes)
    return attributes


def _check_event(attributes: Mapping[str, Any]) -> None:
    missing = [
        name
        for name in ("specversion", "id", "source", "type")
        if not isinstance(attributes.get(name), str) or not attributes[name]
    ]
    if missing or attributes["specversion"] != "1.0":
        raise Problem(
            400,
            "invalid_cloud_event",
            f"this is no CloudEvent of version 1.0: it lacks {', '.join(missing) or 'that version'}",
            hint="specversion (1.0), id, source and type are texts.",
        )


def _made(value: Any, event: Mapping[str, Any] | None = None) -> Payload:
    return Payload(json.dumps(value, ensure_ascii=False), value, event)


def _content_type(headers: Headers) -> tuple[str, str]:
    """Media type and charset, both in lower case; a charset by the name that Python gives it, "" for unknown ones."""
    given = ", ".join(headers.get("content-type", ()))
    kind, _, parameters = given.partition(";")
    named = _CHARSET.search(parameters)
    try:
        charset = codecs.lookup(named[1]).name if named else "utf-8"
    except LookupError:
        charset = ""
    return kind.strip().lower(), charset
