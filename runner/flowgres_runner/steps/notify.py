"""`notify`: tell somebody by e-mail, in Slack, by a webhook, or in the log alone.

The output is `{channel, recipient, sent, mode}`: `mode` is `send`, or `log` where nothing was sent and a line in the
history of the execution stands for it. That is so when the setting `notify_mode` or the channel says so, and in
development where no provider is configured; anywhere else a missing provider is a failure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowgres_definitions.description import config_schema
from flowgres_runner.http.signing import sign
from flowgres_runner.json_values import encode_json
from flowgres_runner.mail import LetterError, Mailer, MailError, MailServer, ServerAddressError, compose
from flowgres_runner.mail.message import parse_address
from flowgres_runner.payloads.masks import masker
from flowgres_runner.providers import Providers
from flowgres_runner.steps.base import (
    Completed,
    Failed,
    Handler,
    HttpAnswer,
    HttpFailedError,
    Json,
    Outcome,
    StepError,
    StepTask,
)
from flowgres_runner.steps.failures import as_text, invalid_config, not_configured

_MEMBERS = config_schema("notify")["properties"]
_NAMES: Mapping[str, tuple[str, ...]] = {"email": ("SMTP_URL", "SMTP_FROM"), "slack": ("SLACK_WEBHOOK_URL",)}
_LOGGED_CHARACTERS = 2_000


class NotifyHandler(Handler):
    """Handler of `notify` steps; `mailer` hands in e-mails."""

    type = "notify"
    waits = True
    uses_tools = True
    has_stub = True
    secret_places = tuple(key for key, of in _MEMBERS.items() if "x-secrets" in of)

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer

    def provider_names(self, config: Json) -> tuple[str, ...]:
        """See Handler."""
        channel = config.get("channel") if isinstance(config, dict) else None
        return _NAMES.get(channel, ()) if isinstance(channel, str) else ()

    async def _run(self, task: StepTask) -> Outcome:
        """Send the message, or log it."""
        config: Any = task.config
        providers = task.providers
        channel = config["channel"]
        if channel == "log" or providers.settings.get("notify_mode") == "log":
            return _logged(config)
        try:
            if channel == "email":
                return await self._mail(task, config, providers)
            if channel == "slack":
                return await _post_to_slack(task, config, providers)
            return await _post_to_webhook(task, config)
        except _NotConfiguredError as error:
            return _logged(config) if providers.is_development else Failed(error.failure)
        except LetterError as error:
            return Failed(StepError(error.code, error.message, "validation"))

    async def _mail(self, task: StepTask, config: Mapping[str, Any], providers: Providers) -> Outcome:
        server, sender = _server_and_sender(config, providers)
        mask = masker((*task.secret_values, *server.secrets))
        letter = compose(
            sender=sender,
            recipients=config.get("recipient") or (),
            subject=config.get("subject", ""),
            text=as_text(config["message"]),
            html=config.get("html"),
            cc=config.get("cc"),
            bcc=config.get("bcc"),
            reply_to=config.get("reply_to"),
            key=task.idempotency_key,
            at=datetime.now(UTC),
        )
        detail: dict[str, Json] = {"channel": "email", "server": str(server), "message_id": letter.message_id}
        try:
            done = await self._mailer.send(letter, server, timeout_seconds=task.remaining_seconds)
        except MailError as error:
            details: dict[str, Json] = {"server": str(server)}
            if error.smtp_code is not None:
                details["code"] = error.smtp_code
            if error.refused:
                details["refused"] = mask.json([dict(one) for one in error.refused])  # type: ignore[assignment]
            if error.hint:
                details["hint"] = error.hint
            return Failed(StepError(error.code, mask.text(error.message), error.error_class, details=details), detail)
        output = _output(config, mode="send") | {"id": letter.message_id, "accepted": list(done.accepted)}
        for one in done.refused:
            task.log.warning(mask.text(f"refused: {one['recipient']}: {one['code']} {one['message']}"))
        if done.refused:
            output["refused"] = mask.json([dict(one) for one in done.refused])  # type: ignore[assignment]
        return Completed(output, detail={**detail, "answer": mask.text(done.answer)})


@dataclass
class _NotConfiguredError(Exception):
    failure: StepError


def _server_and_sender(config: Mapping[str, Any], providers: Providers) -> tuple[MailServer, str]:
    """Where the message is handed in and whose it is. A shared server sends in the name of its own sender alone."""
    account: Mapping[str, str] = providers.own if "server" in config else providers.account("SMTP_URL")
    url, sender = config.get("server") or account.get("SMTP_URL"), account.get("SMTP_FROM")
    if not url:
        raise _NotConfiguredError(_missing("e-mail", "SMTP_URL"))
    try:
        server = MailServer.parse(url)
    except ServerAddressError as error:
        raise LetterError("smtp_url_invalid", f"the address of the mail server cannot be used: {error}") from None
    wanted = config.get("from")
    if wanted is None:
        sender = sender or (server.user if "@" in server.user else None)
        if sender is None:
            raise _NotConfiguredError(_missing("the sender of e-mails", "SMTP_FROM"))
        return server, sender
    if providers.is_shared(account) and (
        sender is None
        or parse_address(wanted, what="from").addr_spec.lower() != parse_address(sender, what="from").addr_spec.lower()
    ):
        raise LetterError(
            "sender_not_allowed",
            "the shared mail server sends from its own address alone; store an SMTP_URL of your own",
        )
    return server, wanted


def _missing(what: str, name: str) -> StepError:
    return not_configured(what, name, setting="notify_mode log", stands_for="lines in the log in place of messages")


async def _post_to_slack(task: StepTask, config: Mapping[str, Any], providers: Providers) -> Outcome:
    url = config.get("url") or providers.account("SLACK_WEBHOOK_URL").get("SLACK_WEBHOOK_URL")
    if not url:
        raise _NotConfiguredError(_missing("Slack", "SLACK_WEBHOOK_URL"))
    subject, message = config.get("subject"), as_text(config["message"])
    body: dict[str, Json] = {"text": f"*{subject}*\n{message}" if subject else message}
    if "blocks" in config:
        body["blocks"] = config["blocks"]
    try:
        answer = await task.http.request("POST", url, json=body)
    except HttpFailedError as error:
        word = error.details.get("body") if isinstance(error.details, dict) else None
        if error.code == "http_status" and error.error_class == "http_status" and isinstance(word, str):
            said = word[:100]
            return Failed(StepError("slack_refused", f"Slack refused the message: {said}", "http_status",
                                    details=error.details))  # fmt: skip
        return Failed(error)
    return Completed(_output(config, mode="send"), detail=_detail("slack", answer))


async def _post_to_webhook(task: StepTask, config: Mapping[str, Any]) -> Outcome:
    recipient = config.get("recipient")
    url = config.get("url") or (recipient if isinstance(recipient, str) else None)
    if not url or not url.lower().startswith(("http://", "https://")):
        return invalid_config("a webhook needs the address that it calls, as url or as recipient")
    body: dict[str, Json] = {
        "execution_id": task.execution_id,
        "step": task.step_id,
        "message": config["message"],
        **{key: config[key] for key in ("subject", "recipient", "data") if key in config},
    }
    headers = {"Content-Type": "application/json", "Idempotency-Key": task.idempotency_key}
    text = encode_json(body).encode()
    if "secret" in config:
        # Dots part what is signed.
        message_id = task.idempotency_key.replace(".", "/")
        try:
            headers |= sign(config["secret"], message_id=message_id, at=int(datetime.now(UTC).timestamp()), body=text)
        except ValueError as error:
            return invalid_config(f"secret: {error}")
    try:
        answer = await task.http.request("POST", url, headers=headers, body=text)
    except HttpFailedError as error:
        return Failed(error)
    return Completed(_output(config, mode="send") | {"id": task.idempotency_key}, detail=_detail("webhook", answer))


def _detail(channel: str, answer: HttpAnswer) -> Json:
    return {"channel": channel, "url": answer.url, "status": answer.status}


def _output(config: Mapping[str, Any], *, mode: str) -> dict[str, Json]:
    return {
        "channel": config["channel"],
        "recipient": config.get("recipient"),
        "sent": mode == "send",
        "mode": mode,
    }


def _logged(config: Mapping[str, Any]) -> Completed:
    """What stands for a message: a line in the history of the execution."""
    recipient = config.get("recipient")
    named = ", ".join(recipient) if isinstance(recipient, list) else recipient
    subject = f"{config['subject']}: " if config.get("subject") else ""
    line = f"{config['channel']} to {named or 'nobody in particular'}: {subject}{as_text(config['message'])}"
    return Completed(_output(config, mode="log"), logs=(("info", line[:_LOGGED_CHARACTERS]),))
