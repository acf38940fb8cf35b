"""The command line of flowgres: an HTTP client for tenants, and SQL for installing, upgrading and the dev stack."""

from __future__ import annotations

__version__ = "0.1.0"
