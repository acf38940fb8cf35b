"""Create a database and install the flowgres that is on the module path; standard input says where and how, as JSON."""

from __future__ import annotations

import json
import sys

from flowgres_cli.migrate import LOGIN_ROLES, create_database, upgrade


def main() -> None:
    """Read {dsn, password, settings}; every login role gets that password."""
    order = json.load(sys.stdin)
    create_database(order["dsn"])
    upgrade(order["dsn"], passwords=dict.fromkeys(LOGIN_ROLES, order["password"]), settings=order["settings"])


if __name__ == "__main__":
    main()
