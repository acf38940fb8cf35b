"""The variables of a process, read once and typed; what is wrong is told by the variable's name."""

from __future__ import annotations

from collections.abc import Mapping

from flowgres_postgres.dsn import is_dsn
from flowgres_process.errors import SettingsError

_LOG_LEVELS = ("debug", "info", "warning", "error")
# As other programs call them.
_OTHER_LEVELS = {
    "trace": "debug", "notice": "info", "warn": "warning", "err": "error", "critical": "error", "fatal": "error",
}  # fmt: skip
_LOG_FORMATS = ("auto", "text", "json")


class Environment:
    """Typed access to variables; an empty one counts as not set. Raises SettingsError for what cannot be used."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str) -> str:
        """The text without surrounding space, or ""."""
        return self._variables.get(name, "").strip()

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
            raise SettingsError(f"{name} must be a whole number from {low} to {high}, not {text[:40]!r}")
        return int(text)

    def seconds(self, name: str, default: float, *, low: float, high: float) -> float:
        """A number of seconds."""
        value = self.optional_seconds(name, low=low, high=high)
        return default if value is None else value

    def optional_seconds(self, name: str, *, low: float, high: float) -> float | None:
        """A number of seconds, or None when nothing is said."""
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise SettingsError(f"{name} must be a number of seconds from {low:g} to {high:g}, not {text[:40]!r}")
        return value

    def choice(
        self, name: str, default: str, choices: tuple[str, ...], *, also: Mapping[str, str] | None = None
    ) -> str:
        """One of some words, in lower case; `also` are words that stand for one of them."""
        text = self.text(name).lower() or default
        text = (also or {}).get(text, text)
        if text not in choices:
            raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {text[:40]!r}")
        return text

    def log_level(self) -> str:
        """LOG_LEVEL, as `configure_logs` takes it; other programs' names for a level count as well."""
        return self.choice("LOG_LEVEL", "info", _LOG_LEVELS, also=_OTHER_LEVELS)

    def log_format(self) -> str:
        """LOG_FORMAT, as `configure_logs` takes it."""
        return self.choice("LOG_FORMAT", "auto", _LOG_FORMATS)


def check_url(name: str, text: str) -> None:
    """Raise SettingsError, without a word of it, for what is no connection string: a password may be anywhere in it."""
    if not is_dsn(text):
        raise SettingsError(
            f"{name} is no connection string of PostgreSQL",
            hint="It looks like postgresql://user:password@host:5432/database; percent-encode special characters.",
        )
