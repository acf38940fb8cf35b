"""The private server in shells that are full of other things, and in folders with names of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import pq

from .conftest import Flowgres
from .processes import working_in
from .servers import Dev, dev, tmp_path
from .test_development import GREET

pytestmark = pytest.mark.slow

__all__ = ["dev", "tmp_path"]  # fixtures
NOWHERE = "http://127.0.0.1:9"
LIBPQ = {
    **{option.envvar.decode(): "/nonsense" for option in pq.Conninfo.get_defaults() if option.envvar is not None},
    **dict.fromkeys(("PGSERVICEFILE", "PGSYSCONFDIR", "PGLOCALEDIR", "PGDATA", "PGTZ", "PGDATESTYLE"), "/nonsense"),
}
SHELLS = {
    "libpq": LIBPQ,
    "libpq, what it understands": {
        **{"PGHOSTADDR": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "elsewhere", "PGPASSWORD": "x"},
        **{"PGSSLMODE": "verify-full", "PGOPTIONS": "-c default_transaction_read_only=on -c search_path=nowhere"},
        **{"PGREQUIREAUTH": "none", "PGCHANNELBINDING": "require", "PGTARGETSESSIONATTRS": "standby"},
        **{"PGAPPNAME": "x" * 100, "PGCLIENTENCODING": "EUC_JP", "PGCONNECT_TIMEOUT": "1"},
    },
    "addresses of another server": {
        **dict.fromkeys(("DATABASE_URL", "DATABASE_DIRECT_URL", "FRONT_DATABASE_URL"), "postgresql://u@192.0.2.1/x"),
        **{"FLOWGRES_API_URL": NOWHERE, "FLOWGRES_API_ADMIN_URL": NOWHERE, "FLOWGRES_FRONT_URL": NOWHERE},
        **{"FLOWGRES_API_KEY": "fg_live_other", "FLOWGRES_TOKEN": "other", "FLOWGRES_SECRET_KEY": "short"},
        **{"FLOWGRES_SECRET_KEY_PREVIOUS": "short", "ENV": "production", "HOST": "192.0.2.1", "PORT": "none"},
        **{"PGRST_DB_URI": "postgresql://192.0.2.1/x", "PGRST_JWT_SECRET": "short", "PGRST_SERVER_PORT": "1"},
        **{"PGRST_DB_CONFIG": "true", "PGRST_DB_SCHEMAS": "nowhere", "PGRST_OPENAPI_MODE": "disabled"},
    },
    "proxies": dict.fromkeys(
        ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE
    ),
    "locale, time and loader": {
        **{"LC_ALL": "xx_XX.nonsense", "LANG": "de_DE.ISO-8859-1", "LANGUAGE": "de", "TZ": "Mars/Olympus_Mons"},
        **{"GHCRTS": "-nonsense", "NODE_OPTIONS": "--nonsense"},
        **{"MALLOC_ARENA_MAX": "1", "LD_BIND_NOW": "1", "LD_LIBRARY_PATH": "/nonsense"},
    },
}


@pytest.mark.parametrize("shell", SHELLS)
def test_dev_starts_and_runs_whatever_the_shell_is_full_of(
    flowgres: Flowgres, dev: Callable[..., Dev], write: Callable[..., Path], shell: str
) -> None:
    write("flows/greet.yaml", GREET)
    plain = dict(flowgres.environment)
    flowgres.environment.update(SHELLS[shell])
    server = dev("flows")
    assert "greet version 1" in server.text
    flowgres.environment.clear()
    flowgres.environment.update(plain)
    assert flowgres("run", "greet").json["status"] == "completed"
    assert server.stop() == 0, server.text


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("name", ['it\'s "größe", 日本 $HOME `x` 100%s', "comma,'quote\\slash; #hash=value"])
def test_dev_lives_in_a_folder_of_any_name(
    flowgres: Flowgres, dev: Callable[..., Dev], write: Callable[..., Path], name: str, locale: str
) -> None:
    flowgres.folder.joinpath(name).mkdir(mode=0o755)
    write(f"{name}/greet.yaml", GREET)
    flowgres.environment["LC_ALL"] = locale
    flowgres.folder = flowgres.folder / name
    server = dev("greet.yaml")
    assert flowgres("run", "greet").json["status"] == "completed"
    assert server.stop() == 0, server.text
    # And again, with what is there by now.
    server = dev()
    assert flowgres("executions", "list").json
    assert server.stop() == 0, server.text
    assert working_in(flowgres.folder) == []


def test_settings_of_the_runner_come_through(flowgres: Flowgres, dev: Callable[..., Dev]) -> None:
    flowgres.environment["LOG_LEVEL"] = "error"
    server = dev()
    # Every request of the front would stand there with the level that is usual.
    assert (flowgres.folder / ".flowgres" / "runner.log").read_text() == ""
    assert server.stop() == 0
