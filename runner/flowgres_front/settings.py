"""What the front needs to know, read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowgres_process.environment import Environment, check_url
from flowgres_process.errors import SettingsError

FRONT_ROLE = "flowgres_front"
TOKEN_LIFETIME_SECONDS = 15 * 60
MIN_JWT_SECRET_LENGTH = 32


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """Addresses, keys and bounds of the front.

    `dsn` logs in as flowgres_front. `api_url` is where this process finds PostgREST, `public_url` where clients find
    both servers behind one proxy, PostgREST below `/api` ("" when there is none). `secret_key` is
    FLOWGRES_SECRET_KEY as written ("" when secrets cannot be stored).
    `cors_origins` mirrors PostgREST: any origin, because callers send a bearer token or key and never a cookie.
    """

    dsn: str
    jwt_secret: str
    secret_key: str = ""
    previous_secret_key: str = ""
    api_url: str = ""
    api_admin_url: str = ""
    public_url: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    max_body_bytes: int = 1 << 20
    max_json_depth: int = 64
    body_seconds: float = 30.0
    statement_seconds: float = 15.0
    pool_size: int = 8
    pool_wait_seconds: float = 3.0
    cors_origins: tuple[str, ...] = ("*",)
    log_level: str = "info"
    log_format: str = "auto"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> FrontSettings:
        """Read the variables that `deploy/.env.example` explains.

        Raises SettingsError with the name of the variable and what it should be.
        """
        read = Environment(environment)
        jwt_secret = environment.get("PGRST_JWT_SECRET", "")
        if len(jwt_secret) < MIN_JWT_SECRET_LENGTH:
            raise SettingsError(
                f"PGRST_JWT_SECRET must have at least {MIN_JWT_SECRET_LENGTH} characters, the same as PostgREST's"
            )
        if jwt_secret.lstrip().startswith("{"):
            raise SettingsError(
                "PGRST_JWT_SECRET must be a shared text: the front signs by HS256 and takes no JSON Web Key"
            )
        return cls(
            dsn=_front_dsn(read),
            jwt_secret=jwt_secret,
            secret_key=read.text("FLOWGRES_SECRET_KEY"),
            previous_secret_key=read.text("FLOWGRES_SECRET_KEY_PREVIOUS"),
            api_url=read.text("FLOWGRES_API_URL").rstrip("/"),
            api_admin_url=read.text("FLOWGRES_API_ADMIN_URL").rstrip("/"),
            public_url=read.text("PUBLIC_URL").rstrip("/"),
            host=read.text("HOST") or "127.0.0.1",
            port=read.whole("PORT", 8000, low=0, high=65535),
            log_level=read.log_level(),
            log_format=read.log_format(),
            body_seconds=read.seconds("FRONT_BODY_TIMEOUT", 30, low=1, high=3600),
            max_body_bytes=read.whole("MAX_PAYLOAD_BYTES", 1 << 20, low=1024, high=64 << 20),
        )


def _front_dsn(read: Environment) -> str:
    """FRONT_DATABASE_URL, else DATABASE_URL with the front's login in place of its own."""
    given = read.text("FRONT_DATABASE_URL")
    text = given or read.text("DATABASE_URL")
    if not text:
        raise SettingsError("FRONT_DATABASE_URL or DATABASE_URL must name the database")
    check_url("FRONT_DATABASE_URL" if given else "DATABASE_URL", text)
    parts = conninfo_to_dict(text)
    if not given:
        parts["user"] = FRONT_ROLE
    return make_conninfo("", **parts)
