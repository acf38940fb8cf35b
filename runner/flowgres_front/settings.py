"""What the front needs to know, read once from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowgres_process.environment import Environment, check_url
from flowgres_process.errors import SettingsError

FRONT_ROLE = "flowgres_front"
TOKEN_LIFETIME_SECONDS = 15 * 60
MIN_JWT_SECRET_LENGTH = 32


@dataclass(frozen=True, slots=True)
class FrontSettings:
    """Addresses, keys and bounds of the front.

    `dsn` logs in as flowgres_front, and so does `direct_dsn`, which goes past a pooler ("" when there is none).
    `api_url` is where this process finds PostgREST, `public_url` where clients find both servers behind one proxy,
    PostgREST below `/api` ("" when there is none). `secret_key` is FLOWGRES_SECRET_KEY as written ("" when secrets
    cannot be stored). `metrics_token` is what a monitor sends as a bearer ("": only this machine may read /metrics).
    `cors_origins` mirrors PostgREST: any origin, because callers send a bearer token or key and never a cookie.
    """

    dsn: str
    jwt_secret: str
    direct_dsn: str = ""
    secret_key: str = ""
    metrics_token: str = field(default="", repr=False)
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
    stream_heartbeat_seconds: float = 15.0
    stream_check_seconds: float = 60.0
    stream_stall_seconds: float = 20.0
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
            dsn=_front_dsn(read, "DATABASE_URL"),
            direct_dsn=_front_dsn(read, "DATABASE_DIRECT_URL"),
            jwt_secret=jwt_secret,
            secret_key=read.text("FLOWGRES_SECRET_KEY"),
            previous_secret_key=read.text("FLOWGRES_SECRET_KEY_PREVIOUS"),
            metrics_token=read.text("METRICS_TOKEN"),
            api_url=read.text("FLOWGRES_API_URL").rstrip("/"),
            api_admin_url=read.text("FLOWGRES_API_ADMIN_URL").rstrip("/"),
            public_url=read.text("PUBLIC_URL").rstrip("/"),
            host=read.text("HOST") or "127.0.0.1",
            port=read.whole("PORT", 8000, low=0, high=65535),
            log_level=read.log_level(),
            log_format=read.log_format(),
            body_seconds=read.seconds("FRONT_BODY_TIMEOUT", 30, low=1, high=3600),
            stream_heartbeat_seconds=read.seconds("FRONT_STREAM_HEARTBEAT", 15, low=0.1, high=600),
            stream_check_seconds=read.seconds("FRONT_STREAM_CHECK", 60, low=0.1, high=3600),
            stream_stall_seconds=read.seconds("FRONT_STREAM_STALL", 20, low=0.1, high=600),
            max_body_bytes=read.whole("MAX_PAYLOAD_BYTES", 1 << 20, low=1024, high=64 << 20),
        )


def _front_dsn(read: Environment, name: str) -> str:
    """FRONT_<name>, else <name> with the front's login in place of its own; "" when there is no direct address."""
    given = read.text(f"FRONT_{name}")
    text = given or read.text(name)
    if not text:
        if name == "DATABASE_DIRECT_URL":
            return ""
        raise SettingsError("FRONT_DATABASE_URL or DATABASE_URL must name the database")
    check_url(f"FRONT_{name}" if given else name, text)
    parts = conninfo_to_dict(text)
    if not given:
        parts["user"] = FRONT_ROLE
    return make_conninfo("", **parts)
