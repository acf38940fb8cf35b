"""`flowgres dev` and `flowgres demo`: a real stack, started and stopped as a user does."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from flowgres_cli.stack.ports import free_port, is_free

from .conftest import Flowgres
from .processes import working_in
from .servers import START_SECONDS, Dev, dev, tmp_path

__all__ = ["dev", "tmp_path"]  # fixtures
GREET = "name: greet\nsteps:\n  - {id: hello, type: transform, config: {expression: '{{ \"Hello\" }}'}}\n"


def test_dev_serves_reloads_keeps_its_data_and_leaves_nothing_running(
    flowgres: Flowgres, dev: Callable[..., Dev], write: Callable[..., Path]
) -> None:
    path = write("flows/greet.yaml", GREET)
    server = dev("flows")
    assert "imported  flows/greet.yaml: greet version 1" in server.text
    for name in ("API", "Front", "Docs", "Database", "API key"):
        assert server.address(name)
    assert "swagger-ui" in httpx.get(server.address("Docs")).text

    # In the same folder, without any setting.
    first = flowgres("run", "greet")
    assert (first.code, first.json["status"]) == (0, "completed")

    path.write_text(GREET.replace("Hello", "Goodbye"))
    server.wait_for("greet version 2")
    path.write_text("name: [")
    server.wait_for("flows/greet.yaml:2:1")
    assert flowgres("workflows", "show", "greet").json["active_version"] == 2

    again = flowgres("dev")
    assert again.code == 6
    assert "already runs" in again.err

    key, api = server.address("API key"), server.address("API")
    assert server.stop() == 0, server.text
    assert "stopped" in server.text
    assert working_in(flowgres.folder) == []
    assert is_free(int(api.rpartition(":")[2]))
    assert flowgres("run", "greet").code != 0

    server = dev()
    assert server.address("API key") == key
    assert [row["id"] for row in flowgres("executions", "list").json] == [first.json["execution_id"]]
    assert server.stop(signal.SIGTERM) == 0, server.text
    assert working_in(flowgres.folder) == []


@pytest.mark.slow
def test_dev_recovers_from_its_own_violent_end(flowgres: Flowgres, dev: Callable[..., Dev]) -> None:
    server = dev()
    server.process.kill()
    server.process.wait()
    # At once, while the parts of the first one are still ending.
    server = dev()
    assert flowgres("workflows", "list").code == 0
    assert len([line for line in working_in(flowgres.folder) if "postgrest " in line and "guard.py" not in line]) == 1
    server.stop()
    assert working_in(flowgres.folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", ["", "PostgreSQL", "Schema", "PostgREST"])
def test_interrupt_during_the_start_leaves_nothing_running(flowgres: Flowgres, part: str) -> None:
    server = Dev(flowgres)
    deadline = time.monotonic() + START_SECONDS
    # Without a part: as soon as it has made its directory, while the database is being created.
    while not (part in server.text if part else (flowgres.folder / ".flowgres" / "lock").exists()):
        assert server.process.poll() is None, server.text
        assert time.monotonic() < deadline, server.text
        time.sleep(0.01)
    server.process.send_signal(signal.SIGINT)
    server.process.wait(60)
    assert working_in(flowgres.folder) == []
    assert "Traceback" not in server.text


@pytest.mark.slow
def test_two_that_start_at_the_same_time_take_different_ports(flowgres: Flowgres) -> None:
    servers = []
    for name in ("one", "two"):
        (flowgres.folder / name).mkdir(mode=0o755)
        servers.append(Dev(Flowgres(flowgres.folder / name, flowgres.environment)))
    try:
        for server in servers:
            server.wait_for("Ctrl-C stops it.")
        for name in ("API", "Front", "Database"):
            assert len({server.address(name) for server in servers}) == 2
    finally:
        for server in servers:
            server.stop(signal.SIGTERM)


@pytest.mark.slow
def test_port_that_was_asked_for_and_is_taken_is_an_error_and_leaves_nothing_running(flowgres: Flowgres) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        answer = flowgres("dev", "--api-port", str(port))
    assert answer.code == 1
    assert str(port) in answer.err
    assert working_in(flowgres.folder) == []


def test_dev_without_postgresql_says_how_to_get_it(flowgres: Flowgres) -> None:
    answer = flowgres("dev", FLOWGRES_PG_BIN=str(flowgres.folder / "nowhere"))
    assert answer.code == 1
    assert "FLOWGRES_PG_BIN" in answer.err
    assert "hint:" in answer.err


def test_demo_runs_to_its_end_and_leaves_nothing_behind(flowgres: Flowgres, tmp_path: Path) -> None:
    place = tmp_path / "tmp"
    place.mkdir(mode=0o777)
    answer = flowgres("demo", TMPDIR=str(place))
    assert answer.code == 0, answer.err
    assert answer.json["status"] == "completed"
    assert answer.json["output"]["headline"]
    for part in ("PostgreSQL", "Schema", "PostgREST", "Runner", "Next:"):
        assert part in answer.err
    # Nothing of what is gone by then.
    for part in ("http://", "postgresql://", "API key"):
        assert part not in answer.err + answer.out
    assert list(place.iterdir()) == []
    assert working_in(place) == []


@pytest.mark.slow
def test_demo_shows_a_tree_on_a_terminal(flowgres: Flowgres) -> None:
    environment = {name: value for name, value in flowgres.environment.items() if name != "NO_COLOR"}
    text, code = _on_terminal(flowgres, environment | {"TERM": "xterm-256color", "COLUMNS": "100"}, "demo")
    assert code == 0, text
    assert "├── " in text
    assert "\x1b[32m" in text
    assert "completed" in text
    assert "headline" in text


@pytest.mark.slow
def test_no_color_leaves_the_tree_without_colour(flowgres: Flowgres) -> None:
    text, code = _on_terminal(flowgres, flowgres.environment | {"TERM": "xterm", "NO_COLOR": "1"}, "demo")
    assert code == 0, text
    assert "├── " in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", text)


def _on_terminal(flowgres: Flowgres, environment: dict[str, str], *arguments: str) -> tuple[str, int]:
    """Run the program on a terminal of its own; what it drew, and its exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        flowgres.command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        cwd=flowgres.folder,
        start_new_session=True,
    )
    os.close(theirs)
    parts = []
    with contextlib.suppress(OSError):  # the other side is closed: the end
        while part := os.read(ours, 65536):
            parts.append(part)
    os.close(ours)
    return b"".join(parts).decode(), process.wait(START_SECONDS)
