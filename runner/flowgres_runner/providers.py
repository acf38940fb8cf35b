"""Whose account a step uses that reaches a provider: the tenant's own, or the one that the operator shares.

The two never mix: the operator's key goes to the operator's address alone, else a tenant would have it sent to
one of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from flowgres_runner.json_values import Json

PROVIDER_VARIABLES = (
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "SLACK_WEBHOOK_URL",
    "SMTP_FROM",
    "SMTP_URL",
)
"""Names of a tenant's secrets, and of the operator's variables, that steps look for by themselves."""


@dataclass(frozen=True, slots=True)
class Providers:
    """What a step may use: `own` are the tenant's secrets, `shared` the operator's, `settings` the tenant's."""

    own: Mapping[str, str] = field(default_factory=dict, repr=False)
    shared: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Json] = field(default_factory=dict)
    is_development: bool = False

    def account(self, *names: str) -> Mapping[str, str]:
        """Values of one party: the tenant's, if it has stored any of these names, else the operator's."""
        return self.own if any(name in self.own for name in names) else self.shared

    def is_shared(self, account: Mapping[str, str]) -> bool:
        """Whether these are the operator's."""
        return account is self.shared


NO_PROVIDERS = Providers()


@dataclass(frozen=True, slots=True)
class SharedProviders:
    """What the operator shares with all tenants, by the name of its variable: nothing unless it says so."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_development: bool = False

    def of(self, *, own: Mapping[str, str], names: Collection[str], settings: Mapping[str, Json]) -> Providers:
        """What one step may use that looks for these names."""
        shared = {name: value for name, value in self.values.items() if name in names}
        return Providers(own=own, shared=shared, settings=settings, is_development=self.is_development)


NOTHING_SHARED = SharedProviders()
