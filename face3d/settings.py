"""The one settings object: environment variables `FACE3D_*`, or a `.env`-style file named by FACE3D_ENV_FILE.

docs/reference/settings.md is made from the descriptions here; a test compares the two.
"""

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from face3d.errors import ConfigurationError
from face3d.queues import DELIVERY_QUEUE
from face3d.states import STAGES
from face3d.worker_spec import Pool, WorkerSpec

#: The checkout (or the folder that holds the installed packages).
ROOT = Path(__file__).resolve().parent.parent

#: Shorter ones can be guessed; `openssl rand -hex 32` makes 64 characters.
TOKEN_LENGTH = 24

#: Fewer different characters are blanks or a pattern: of 24 random hexadecimal ones, one in 300 million are.
TOKEN_LETTERS = 6

#: What example files hold where a secret belongs.
PLACEHOLDER = "change-me"
_PLACEHOLDERS = re.compile(r"(?<![a-z])change[-_ ]?me", re.IGNORECASE)

HOW_TO_MAKE_ONE = "`openssl rand -hex 32` makes one"

BrokerKind = Literal["redis", "amqp"]


def default_state_dir() -> Path:
    """Return the folder of the local stack's data.

    As root it lies outside the checkout, where the unprivileged service user can reach it: a checkout below
    a 0700 folder cannot be traversed by anyone else, and we never chmod someone's home.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/face3d") / hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    return ROOT / ".face3d"


class Settings(BaseSettings):
    """All settings; each reads `FACE3D_<NAME>`."""

    # A value that is refused may be a secret: no error repeats it.
    model_config = SettingsConfigDict(
        env_prefix="FACE3D_", extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # -- servers
    database_url: SecretStr = Field(
        default=SecretStr("postgresql+psycopg://face3d@127.0.0.1:5432/face3d"),
        description="SQLAlchemy URL of PostgreSQL (driver psycopg).",
    )
    broker_url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="Celery broker: redis://... (Valkey, Redis) or amqp://... (RabbitMQ).",
    )
    s3_endpoint: str | None = Field(default=None, description="S3 endpoint URL; empty for AWS itself.")
    s3_public_endpoint: str | None = Field(
        default=None, description="Endpoint in presigned URLs, when clients reach S3 under another name."
    )
    s3_region: str = Field(default="us-east-1", description="S3 region.")
    s3_access_key: SecretStr = Field(default=SecretStr(""), description="S3 access key.")
    s3_secret_key: SecretStr = Field(default=SecretStr(""), description="S3 secret key.")
    bucket_inbox: str = Field(default="face3d-inbox", description="Bucket that apps drop photos into.")
    bucket_work: str = Field(default="face3d-work", description="Bucket of artifacts between stages.")
    bucket_assets: str = Field(default="face3d-assets", description="Bucket of finished assets.")

    # -- web
    web_host: str = Field(default="127.0.0.1", description="Address that the web server binds.")
    web_port: int = Field(default=8080, description="Port of the page and the API.")
    public_url: str = Field(
        default="http://127.0.0.1:8080", description="Where people reach the page; used in links."
    )
    api_token: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer token of the API, 24 characters at least; the web server does not start without.",
    )
    event_token: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer token of storage events, 24 characters at least; they are refused when empty.",
    )

    sns_topics: tuple[str, ...] = Field(
        default=(),
        description="ARNs of topics of Amazon SNS whose requests to send events here, signed by Amazon, are "
        "confirmed without a person (JSON list); others wait for `face3d events confirm`.",
    )

    # -- engines
    model_dir: Path = Field(
        default_factory=lambda: default_state_dir() / "models",
        description="Folder of model files and of the built head data.",
    )
    landmark_model: Path | None = Field(
        default=None, description="A face_landmarker_v2.task to use in place of the one in model_dir."
    )
    hrn_model_dir: Path | None = Field(
        default=None, description="Model directory of engine hrn; `hrn` in model_dir when empty."
    )
    hrn_texture_steps: int = Field(
        default=100, description="Steps of engine hrn's texture fit; 0 keeps the colours of its model."
    )
    engine: Literal["anny", "hrn", "null"] = Field(
        default="anny", description="Engine of jobs that name none."
    )
    texture_size: int = Field(default=4096, description="Texture size of jobs that name none.")

    # -- limits of a photo
    max_bytes: int = Field(default=64 * 2**20, description="Largest photo file, bytes.")
    max_megapixels: float = Field(default=64.0, description="Largest photo, megapixels.")
    min_eye_distance_px: float = Field(default=40.0, description="Smallest outer-eye distance, pixels.")
    max_yaw_degrees: float = Field(default=30.0, description="Largest turn of the head, degrees.")
    max_pitch_degrees: float = Field(default=25.0, description="Largest nod of the head, degrees.")
    decoder_sandbox: Literal["auto", "required", "off"] = Field(
        default="auto",
        description="Sandbox of the process that decodes photos: `auto` takes what the kernel gives, with "
        "`required` no worker starts where Landlock, seccomp or a user other than root is missing, `off` "
        "keeps only the limits of memory and time.",
    )

    # -- stages and recovery
    lease_seconds: float = Field(default=30.0, description="How long a stage's lease lives unrenewed.")
    lease_renew_seconds: float = Field(default=10.0, description="How often a worker renews its lease.")
    stage_limit_seconds: float = Field(
        default=300.0, description="Hard limit of one attempt; its lease is not renewed past it."
    )
    max_attempts: int = Field(default=3, description="Attempts of a stage that fail with a retryable error.")
    poison_limit: int = Field(
        default=3, description="Workers that a stage may kill before its job fails with worker_died."
    )
    lost_dispatch_seconds: float = Field(
        default=15.0, description="A dispatched stage that nobody started is looked into after this."
    )
    relay_poll_seconds: float = Field(default=1.0, description="Relay's poll where no notification came.")
    sweep_seconds: float = Field(default=60.0, description="Pause between two sweeps of the inbox bucket.")
    heartbeat_seconds: float = Field(default=1.0, description="Pause between two heartbeats of a worker.")
    worker_timeout_seconds: float = Field(
        default=10.0, description="A worker without heartbeat for this long is dead to the router."
    )
    retention_days: float = Field(
        default=30.0, description="Photo, artifacts and asset of a finished job live this long; 0: for ever."
    )

    # -- workers
    gpu_type: str | None = Field(
        default=None, description="GPU type of this worker; detected with NVML when empty."
    )
    worker_slots: int | None = Field(
        default=None, description="Tasks at once in a worker; by GPU type (CPU: cores) when empty."
    )

    drain_seconds: float = Field(
        default=30.0,
        description="Time that running tasks get after SIGTERM; then their leases are given back.",
    )
    overrun_grace_seconds: float = Field(
        default=5.0,
        description="A GPU worker's process is killed when a stage runs this much over stage_limit_seconds.",
    )
    memory_budget_mb: float | None = Field(
        default=None,
        description="Device memory that a worker's jobs may take together, MB; by GPU type when empty.",
    )
    batch_wait_seconds: float = Field(
        default=0.004, description="How long a geometry stage waits for others to share its pass."
    )
    selftest_seconds: float = Field(
        default=600.0,
        description="Pause between two golden self-tests of a GPU worker; 0: only at its start.",
    )
    throttle_seconds: float = Field(
        default=60.0,
        description="A card whose clocks are held down this long drains, and is back after as long without.",
    )

    # -- one worker's process, as its launcher describes it: `worker` gathers them
    worker_name: str | None = Field(
        default=None, description="Name of this worker, `<what>@<host>`; `face3d worker` sets it."
    )
    device: str = Field(
        default="cpu", description="Device of this process, cpu or cuda:<index>; `face3d worker` sets it."
    )
    stages: str = Field(
        default="", description="What this worker serves, with commas; `face3d worker` sets it."
    )
    slots: int = Field(default=1, description="Tasks at once in this worker; `face3d worker` sets it.")
    pool: Pool = Field(default="prefork", description="Celery's pool; `face3d worker` sets it.")
    memory_share: float = Field(
        default=1.0, description="Part of the device's memory that is this worker's; `face3d worker` sets it."
    )
    watch_dir: Path | None = Field(
        default=None, description="Folder that the launcher watches; `face3d worker` sets it."
    )

    # -- webhooks
    secret_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key that seals webhook secrets in the database, 24 random characters or more; several "
        "with commas between them: the first seals, all open. Empty: secrets lie there in plain text.",
    )
    webhook_timeout_seconds: float = Field(
        default=10.0, description="Time for a whole request, from the name's look-up to the answer's headers."
    )
    webhook_retry_seconds: tuple[float, ...] = Field(
        default=(5, 30, 120, 600, 3600, 4 * 3600, 12 * 3600),
        description="Waits before the retries of a webhook, seconds (JSON list).",
    )
    webhook_allow_private: bool = Field(
        default=False,
        description="Allow webhooks to loopback and private addresses, on any port (the local stack does).",
    )
    webhook_ports: tuple[int, ...] = Field(
        default=(80, 443), description="Ports that webhooks may call (JSON list)."
    )
    webhook_endpoint_places: int = Field(
        default=2, ge=1, description="Messages on their way to one endpoint at once."
    )

    # -- local stack and logs
    state_dir: Path = Field(
        default_factory=default_state_dir, description="Folder of the local stack's state."
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    log_format: Literal["console", "json"] = Field(default="console", description="Form of a log line.")

    @field_validator("stages")
    @classmethod
    def _known(cls, value: str) -> str:
        known = (*STAGES, DELIVERY_QUEUE)
        if not set(value.split(",")) <= {"", *known}:
            raise ValueError(f"a worker serves {', '.join(known)}")
        return value

    @field_validator("*")
    @classmethod
    def _no_negative_number(cls, value: Any) -> Any:
        if isinstance(value, int | float) and value < 0:
            raise ValueError("a number below 0 makes no sense here")
        return value

    @field_validator("*")
    @classmethod
    def _no_placeholder(cls, value: Any) -> Any:
        if isinstance(value, SecretStr) and _PLACEHOLDERS.search(value.get_secret_value()):
            raise ValueError(f"{PLACEHOLDER} is no secret: {HOW_TO_MAKE_ONE}")
        return value

    @field_validator("api_token", "event_token")
    @classmethod
    def _long_enough(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            _check_strength("token", value.get_secret_value())
        return value

    @field_validator("secret_key")
    @classmethod
    def _each_long_enough(cls, value: SecretStr) -> SecretStr:
        for key in filter(None, map(str.strip, value.get_secret_value().split(","))):
            _check_strength("key", key)
        return value

    @model_validator(mode="after")
    def _tokens_differ(self) -> Self:
        # The one for events stands in the storage's configuration, and in URLs.
        if self.api_token.get_secret_value() and self.api_token == self.event_token:
            raise ValueError(f"api_token and event_token are the same: {HOW_TO_MAKE_ONE}")
        return self

    @property
    def worker(self) -> WorkerSpec:
        """Return who this process is when it is a worker's."""
        return WorkerSpec(
            name=self.worker_name or f"worker-{os.getpid()}",
            gpu_type=self.gpu_type or "cpu",
            device=self.device,
            stages=tuple(filter(None, self.stages.split(","))),
            slots=self.slots,
            pool=self.pool,
            memory_share=self.memory_share,
            watch_dir=self.watch_dir,
        )

    def require_api_token(self) -> None:
        """Return if the web server may start.

        Raises:
            ConfigurationError: nobody could use it.
        """
        if not self.api_token.get_secret_value():
            raise ConfigurationError(f"FACE3D_API_TOKEN is empty: {HOW_TO_MAKE_ONE}")

    @property
    def broker_kind(self) -> BrokerKind:
        """Return which family of brokers `broker_url` names: the only place that looks."""
        scheme = urlsplit(self.broker_url.get_secret_value()).scheme
        return "amqp" if scheme.startswith("amqp") else "redis"

    @property
    def delivery_guard_seconds(self) -> float:
        """Return how long after its publication a webhook message may still be on its way to a worker."""
        return self.webhook_timeout_seconds + 50.0

    @property
    def delivery_hold_seconds(self) -> float:
        """Return how long a send that began holds its message: past the request's deadline by a margin."""
        return self.webhook_timeout_seconds + 5.0

    @property
    def urgency_across_queues(self) -> bool:
        """Return whether one consumer of many queues gets the most urgent message first.

        Valkey does it by message priority; RabbitMQ's quorum queues are served in turn, so a worker keeps a
        slot there that consumes the interactive queues only.
        """
        return self.broker_kind == "redis"


def _check_strength(kind: str, secret: str) -> None:
    if len(secret) < TOKEN_LENGTH:
        raise ValueError(f"a {kind} has at least {TOKEN_LENGTH} characters: {HOW_TO_MAKE_ONE}")
    if len(set(secret)) < TOKEN_LETTERS:
        raise ValueError(f"a {kind} has at least {TOKEN_LETTERS} different characters: {HOW_TO_MAKE_ONE}")


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the process's settings, read once.

    A running local stack writes `<state_dir>/stack.env`; FACE3D_ENV_FILE names such a file.

    Raises:
        ConfigurationError: a value makes no sense, or a secret is none.
    """
    try:
        return Settings(_env_file=os.environ.get("FACE3D_ENV_FILE"))  # type: ignore[call-arg]
    except ValidationError as error:
        told = (": ".join([*map(str, one["loc"]), one["msg"]]) for one in error.errors())
        raise ConfigurationError("; ".join(told)) from None
