"""Flags beat environment, beat profile, beat the folder's server, beat defaults."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from flowgres_cli.config import DEFAULT_API_URL, DEFAULT_FRONT_URL, load_config
from flowgres_cli.errors import UsageProblemError

PROFILES = """
default = "staging"

[profiles.staging]
api_url = "http://staging/api/"
api_key = "key-of-staging"

[profiles.production]
api_url = "http://production/api"
token = "token-of-production"
output = "yaml"
"""


@pytest.fixture
def environment(tmp_path: Path, write: Callable[..., Path]) -> dict[str, str]:
    write("config/flowgres/config.toml", PROFILES)
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def test_nothing_given_takes_defaults(tmp_path: Path) -> None:
    config = load_config({}, {"HOME": str(tmp_path)}, tmp_path)
    assert (config.api_url, config.api_key, config.profile) == (DEFAULT_API_URL, None, None)


def test_default_profile_is_used_and_its_address_loses_the_last_slash(
    environment: dict[str, str], tmp_path: Path
) -> None:
    config = load_config({}, environment, tmp_path)
    assert (config.api_url, config.api_key, config.profile) == ("http://staging/api", "key-of-staging", "staging")


def test_named_profile_beats_the_default_one(environment: dict[str, str], tmp_path: Path) -> None:
    by_flag = load_config({"profile": "production"}, environment, tmp_path)
    by_variable = load_config({}, environment | {"FLOWGRES_PROFILE": "production"}, tmp_path)
    assert by_flag.api_url == by_variable.api_url == "http://production/api"
    assert by_flag.output == "yaml"


def test_environment_beats_profile_and_flag_beats_environment(environment: dict[str, str], tmp_path: Path) -> None:
    environment |= {"FLOWGRES_API_URL": "http://environment"}
    assert load_config({}, environment, tmp_path).api_url == "http://environment"
    assert load_config({"api_url": "http://flag"}, environment, tmp_path).api_url == "http://flag"


def test_credentials_of_one_source_do_not_mix_with_those_of_another(
    environment: dict[str, str], tmp_path: Path
) -> None:
    config = load_config({"token": "mine"}, environment, tmp_path)
    assert (config.token, config.api_key) == ("mine", None)


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        ({"api_url": "http://other"}, {}),
        ({"front_url": "http://other"}, {}),
        ({}, {"FLOWGRES_API_URL": "http://other"}),
        ({"api_url": "http://other"}, {"FLOWGRES_API_URL": "http://mine", "FLOWGRES_API_KEY": "key"}),
    ],
)
def test_credentials_do_not_follow_to_another_address(
    environment: dict[str, str], tmp_path: Path, flags: dict[str, str], variables: dict[str, str]
) -> None:
    config = load_config(flags, environment | variables, tmp_path)
    assert {config.api_url, config.front_url} & {"http://other"}
    assert (config.api_key, config.token) == (None, None)
    assert "not for http://other" in str(config.withheld)


@pytest.mark.parametrize(
    ("flags", "variables", "key"),
    [
        ({"api_url": "http://staging/api"}, {}, "key-of-staging"),
        ({"api_url": "http://other", "api_key": "mine"}, {}, "mine"),
        ({"api_url": "http://other"}, {"FLOWGRES_API_KEY": "mine"}, "mine"),
        ({}, {"FLOWGRES_API_URL": "http://other", "FLOWGRES_API_KEY": "mine"}, "mine"),
    ],
)
def test_credentials_go_where_they_were_given_for(
    environment: dict[str, str], tmp_path: Path, flags: dict[str, str], variables: dict[str, str], key: str
) -> None:
    config = load_config(flags, environment | variables, tmp_path)
    assert (config.api_key, config.withheld) == (key, None)


def test_one_address_of_a_server_brings_no_default_for_the_other(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    assert load_config({"api_url": "http://x"}, home, tmp_path).front_url is None
    assert load_config({"front_url": "http://x"}, home, tmp_path).api_url is None
    assert load_config({"api_url": DEFAULT_API_URL + "/"}, home, tmp_path).front_url == DEFAULT_FRONT_URL


def test_empty_variable_counts_as_unset(environment: dict[str, str], tmp_path: Path) -> None:
    assert load_config({}, environment | {"FLOWGRES_API_KEY": ""}, tmp_path).api_key == "key-of-staging"


def test_server_of_the_folder_is_found_from_below(tmp_path: Path, write: Callable[..., Path]) -> None:
    write(".flowgres/profile.toml", 'api_url = "http://here"\napi_key = "local"\n')
    config = load_config({}, {"HOME": str(tmp_path)}, tmp_path / "deep" / "below")
    assert (config.api_url, config.api_key) == ("http://here", "local")


@pytest.mark.parametrize("variable", ["FLOWGRES_API_URL", "FLOWGRES_API_KEY"])
def test_server_of_the_folder_is_ignored_when_anything_else_names_one(
    tmp_path: Path, write: Callable[..., Path], variable: str
) -> None:
    """Otherwise a key of the environment would travel to the address that some folder names."""
    write(".flowgres/profile.toml", 'api_url = "http://here"\napi_key = "local"\n')
    config = load_config({}, {"HOME": str(tmp_path), variable: "http://mine"}, tmp_path)
    assert "here" not in str(config.api_url)
    assert config.api_key != "local"


def test_server_file_of_another_user_is_ignored(
    tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(".flowgres/profile.toml", 'api_url = "http://here"\n')
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
    else:  # only root can give a file away: become somebody else instead
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert load_config({}, {"HOME": str(tmp_path)}, tmp_path).api_url == DEFAULT_API_URL


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[profiles.x]\napi_ulr = "http://x"', "Did you mean 'api_url'?"),
        ("[profiles.x]\napi_url = 5", "Put it in quotes"),
        ("[profiles.x", "cannot read"),
        ('[profiles.x]\noutput = "xml"', "Use one of table"),
        ("[profiles.y]", "Profiles there: y"),
    ],
)
def test_bad_configuration_says_where_and_how_to_fix(
    tmp_path: Path, write: Callable[..., Path], text: str, said: str
) -> None:
    write("config/flowgres/config.toml", text)
    with pytest.raises(UsageProblemError) as caught:
        load_config({"profile": "x"}, {"XDG_CONFIG_HOME": str(tmp_path / "config")}, tmp_path)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_credentials_do_not_show_in_the_text_of_a_configuration(environment: dict[str, str], tmp_path: Path) -> None:
    assert "key-of-staging" not in repr(load_config({}, environment, tmp_path))
