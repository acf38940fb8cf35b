"""The account that PostgreSQL runs as: PostgreSQL refuses root, so root hands it to another user."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowgres_cli.stack.errors import StackError


@dataclass(frozen=True, slots=True)
class Account:
    """An operating system user that programs are started as."""

    name: str
    uid: int
    gid: int
    home: str

    def popen_arguments(self) -> dict[str, Any]:
        """Give the arguments that make `subprocess` drop to this user; the directory is one that it can enter."""
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": "/"}

    def can_reach(self, path: Path) -> bool:
        """Tell whether this user may enter every directory down to `path` (or to what exists of it)."""
        return all(self._may(directory, 0o1) for directory in _existing_parents(path))

    def _may(self, directory: Path, bit: int) -> bool:
        status = directory.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & (bit << 6))
        if status.st_gid == self.gid:
            return bool(status.st_mode & (bit << 3))
        return bool(status.st_mode & bit)


def server_account() -> Account | None:
    """Choose the user that PostgreSQL runs as.

    None (ourselves) for an ordinary user; for root `postgres`, else `nobody`, else the first user that is not root.
    initdb looks its user up by number, so the user has to be in the password database.
    """
    if os.geteuid() != 0:
        return None
    everyone = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    entry = everyone.get("postgres") or everyone.get("nobody") or next(iter(everyone.values()), None)
    if entry is None:
        raise StackError(
            "no_account",
            "PostgreSQL refuses to run as root, and this machine has no other user.",
            hint="Add one: useradd --system flowgres",
        )
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, home=entry.pw_dir)


def reachable_directory(wanted: Path, account: Account | None) -> Path:
    """Return `wanted`, or a directory of the same purpose below /var/lib/flowgres when `account` cannot enter it.

    A project below /root is the usual case: mode 700 keeps every other user out.
    """
    wanted = wanted.absolute()
    if account is None or account.can_reach(wanted):
        return wanted
    return Path("/var/lib/flowgres") / str(wanted).strip("/").replace("/", "-")


def _existing_parents(path: Path) -> list[Path]:
    resolved = path.resolve()
    return [parent for parent in (resolved, *resolved.parents) if parent.is_dir()]
