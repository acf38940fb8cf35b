"""Where the server is and who we are: flags beat environment, beat profile, beat defaults.

Profiles live in `$XDG_CONFIG_HOME/flowgres/config.toml` (else `~/.config/flowgres/config.toml`):

    default = "staging"

    [profiles.staging]
    api_url = "https://flowgres.example/api"
    front_url = "https://flowgres.example"
    api_key = "fg_live_..."

An address and its credentials are one unit. What a profile holds is sent to the addresses of that profile alone, and
what the environment holds to no address that a flag puts in the place of the environment's own; then nothing is sent,
and the refusal says why. Who names one address of a server gets no default for the other: that is another server.

`flowgres dev` leaves a profile in its data directory. It is used, as a whole, in that folder and below when neither
flags nor environment nor a profile name a server or credentials, so a second terminal needs no setting at all.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from flowgres_cli.errors import UsageProblemError

DEFAULT_API_URL = "http://127.0.0.1:3000"
DEFAULT_FRONT_URL = "http://127.0.0.1:8000"
OUTPUT_FORMATS = ("table", "json", "jsonl", "yaml", "id")
DATA_DIRECTORY_NAME = ".flowgres"
FOLDER_PROFILE_NAME = "profile.toml"
_PROFILE_KEYS = ("api_url", "front_url", "api_key", "token", "output")
_ENVIRONMENT = {
    "api_url": "FLOWGRES_API_URL",
    "front_url": "FLOWGRES_FRONT_URL",
    "api_key": "FLOWGRES_API_KEY",
    "token": "FLOWGRES_TOKEN",
    "output": "FLOWGRES_OUTPUT",
}
_CREDENTIALS = ("api_key", "token")
_DEFAULTS = {"api_url": DEFAULT_API_URL, "front_url": DEFAULT_FRONT_URL}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a command needs to reach the server; `sources` tells where each value came from.

    An address is None when only the other one was named. `withheld` says whose credentials were not taken, and why.
    `database` is the connection string of the environment when nobody named an API: then the default has to be that
    installation's.
    """

    api_url: str | None
    front_url: str | None
    api_key: str | None
    token: str | None
    output: str | None
    profile: str | None
    sources: Mapping[str, str]
    withheld: str | None = None
    database: str | None = None

    def __repr__(self) -> str:
        """Without the credentials, which must not reach a log."""
        hidden = (*_CREDENTIALS, "database")
        shown = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in hidden}
        return f"Config({shown})"

    def server(self, address: str) -> str:
        """An address of ours as a person should read it: whether anybody named it."""
        name = "api_url" if address == self.api_url else "front_url"
        return address if name in self.sources else f"{address} (the default, as none was named)"


def load_config(flags: Mapping[str, str], environment: Mapping[str, str], folder: Path) -> Config:
    """Merge flags, environment, profile and defaults. `flags` has the keys of a profile, and `profile`.

    Raises UsageProblemError for a profile that does not exist or a file that is no such file.
    """
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    layers: dict[str, Mapping[str, str]] = {}

    def take(found: Mapping[str, str], source: str) -> None:
        layers[source] = found
        # Credentials are one choice, not two: an API key from a flag must not travel with a token of the profile.
        has_credentials = any(name in values for name in _CREDENTIALS)
        for name, value in found.items():
            if name in values or (has_credentials and name in _CREDENTIALS):
                continue
            values[name] = value
            sources[name] = source

    take({k: v for k, v in flags.items() if k != "profile"}, "flag")
    # An empty variable counts as unset, as in `FLOWGRES_API_KEY= flowgres ...`.
    take({k: environment[v] for k, v in _ENVIRONMENT.items() if environment.get(v)}, "environment")
    wanted = flags.get("profile") or environment.get("FLOWGRES_PROFILE") or None
    profile_name, profile = _read_profile(config_path(environment), wanted)
    if profile_name is not None:
        take(profile, f"profile {profile_name}")
    if not any(name in values for name in ("api_url", "front_url", *_CREDENTIALS)):
        found = _find_folder_profile(folder)
        if found is not None:
            take(_checked(_read_toml(found), found, "the file"), str(found))
            profile_name = profile_name or str(found)
    withheld = _withhold(values, sources, layers)
    output = values.get("output")
    if output is not None and output not in OUTPUT_FORMATS:
        raise UsageProblemError(
            f"{output!r} is no output format", where=sources["output"], hint=f"Use one of {', '.join(OUTPUT_FORMATS)}."
        )
    return Config(
        api_url=_address(values, "api_url", other="front_url"),
        front_url=_address(values, "front_url", other="api_url"),
        api_key=values.get("api_key"),
        token=values.get("token"),
        output=output,
        profile=profile_name,
        sources=sources,
        withheld=withheld,
        database=None if "api_url" in values else environment_dsn(environment),
    )


def environment_dsn(environment: Mapping[str, str]) -> str | None:
    """The database that the environment names, past a pooler where it says how."""
    return environment.get("DATABASE_DIRECT_URL") or environment.get("DATABASE_URL") or None


def _withhold(
    values: dict[str, str], sources: Mapping[str, str], layers: Mapping[str, Mapping[str, str]]
) -> str | None:
    """Take away credentials that belong to another address than the one in use; says whose they were."""
    held = [name for name in _CREDENTIALS if name in values]
    if not held:
        return None
    owner = sources[held[0]]
    order = list(layers)
    for name in _DEFAULTS:
        if name not in values or order.index(sources[name]) >= order.index(owner):
            continue
        # A stronger source has put another address in its place.
        own = layers[owner].get(name)
        if own.rstrip("/") == values[name].rstrip("/") if own is not None else owner == "environment":
            continue
        for credential in held:
            del values[credential]
        return f"those of {owner} are for {own or 'its own addresses'}, not for {values[name]}"
    return None


def _address(values: Mapping[str, str], name: str, *, other: str) -> str | None:
    found = values.get(name)
    if found is None:
        # The default of a server is the default of both of its addresses.
        return _DEFAULTS[name] if values.get(other, _DEFAULTS[other]).rstrip("/") == _DEFAULTS[other] else None
    return found.rstrip("/")


def config_path(environment: Mapping[str, str]) -> Path:
    """The profile file, whether it exists or not."""
    base = environment.get("XDG_CONFIG_HOME") or ""
    # The XDG specification says to ignore a relative path.
    root = Path(base) if base.startswith("/") else Path(environment.get("HOME") or "~").expanduser() / ".config"
    return root / "flowgres" / "config.toml"


def _read_profile(path: Path, wanted: str | None) -> tuple[str | None, Mapping[str, str]]:
    if not path.is_file():
        if wanted is not None:
            raise UsageProblemError(
                f"profile {wanted!r} does not exist",
                where=str(path),
                hint="The file is missing; create it, or drop --profile.",
            )
        return None, {}
    document = _read_toml(path)
    profiles = document.get("profiles", {})
    name = wanted or document.get("default")
    if name is None:
        return None, {}
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name), dict):
        known = ", ".join(sorted(profiles)) if isinstance(profiles, dict) else ""
        raise UsageProblemError(
            f"profile {name!r} does not exist", where=str(path), hint=f"Profiles there: {known or 'none'}."
        )
    return str(name), _checked(profiles[name], path, f"profile {name!r}")


def _checked(table: Mapping[str, object], path: Path, what: str) -> dict[str, str]:
    checked: dict[str, str] = {}
    for key, value in table.items():
        if key not in _PROFILE_KEYS:
            near = difflib.get_close_matches(key, _PROFILE_KEYS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(_PROFILE_KEYS)}."
            raise UsageProblemError(f"{what} has the unknown key {key!r}", where=str(path), hint=hint)
        if not isinstance(value, str):
            raise UsageProblemError(f"{key!r} of {what} is no text", where=str(path), hint="Put it in quotes.")
        checked[key] = value
    return checked


def _read_toml(path: Path) -> dict[str, object]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageProblemError(f"cannot read the configuration: {error}", where=str(path)) from error


def _find_folder_profile(folder: Path) -> Path | None:
    for parent in (folder, *folder.parents):
        candidate = parent / DATA_DIRECTORY_NAME / FOLDER_PROFILE_NAME
        try:
            owner = candidate.stat().st_uid
        except OSError:
            continue
        # Somebody else's file must not decide where we send what.
        return candidate if owner in (os.getuid(), 0) else None
    return None
