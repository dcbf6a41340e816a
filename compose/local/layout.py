"""What all parts of one stack share: folders, ports, credentials, account."""

from dataclasses import dataclass
from pathlib import Path

from compose.local.accounts import Account, can_reach, service_account
from compose.local.credentials import load_credentials
from compose.local.ports import choose_ports
from face3d.errors import ConfigurationError

DATABASE = "face3d"
DATABASE_USER = "face3d"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders, ports and credentials of one stack."""

    state_dir: Path
    account: Account | None
    ports: dict[str, int]
    credentials: dict[str, str]

    @property
    def logs(self) -> Path:
        """Return the folder of the log files, one a service."""
        return self.state_dir / "logs"

    @property
    def env_file(self) -> Path:
        """Return the file of FACE3D_* settings that name this stack's servers."""
        return self.state_dir / "stack.env"

    @property
    def web_url(self) -> str:
        """Return the page's address."""
        return f"http://127.0.0.1:{self.ports['web']}"

    @property
    def s3_url(self) -> str:
        """Return the S3 endpoint."""
        return f"http://127.0.0.1:{self.ports['s3']}"

    @property
    def flower_url(self) -> str:
        """Return Flower's address."""
        return f"http://127.0.0.1:{self.ports['flower']}"

    @property
    def database_url(self) -> str:
        """Return the SQLAlchemy URL of the database."""
        password = self.credentials["database_password"]
        return (
            f"postgresql+psycopg://{DATABASE_USER}:{password}@127.0.0.1:{self.ports['postgres']}/{DATABASE}"
        )

    @property
    def broker_url(self) -> str:
        """Return Celery's broker URL."""
        return f"redis://:{self.credentials['broker_password']}@127.0.0.1:{self.ports['valkey']}/0"


def make_state_dir(state_dir: Path) -> Path:
    """Make the state folder and its log folder; as root, check that the service account can enter it.

    Raises:
        ConfigurationError: a folder above it is closed to the account.
    """
    account = service_account()
    state_dir = state_dir.absolute()
    state_dir.mkdir(mode=0o700 if account is None else 0o755, parents=True, exist_ok=True)
    (state_dir / "logs").mkdir(mode=0o700, exist_ok=True)
    if account is not None and not can_reach(state_dir, account):
        raise ConfigurationError(
            f"The servers do not run as root, and their account cannot enter {state_dir}: "
            "set FACE3D_STATE_DIR to a folder whose parents are open to all, for example below /var/lib."
        )
    return state_dir


def open_layout(state_dir: Path, wanted_ports: dict[str, int] | None = None) -> Layout:
    """Return the layout of a stack; ports and credentials are remembered in the state folder."""
    return Layout(
        state_dir=state_dir,
        account=service_account(),
        ports=choose_ports(state_dir, wanted_ports),
        credentials=load_credentials(state_dir),
    )
