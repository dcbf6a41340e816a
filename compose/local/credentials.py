"""Passwords and tokens of the stack, made once, mode 0600, never on a command line."""

import json
import secrets
from pathlib import Path

from compose.local.accounts import write_private

CREDENTIAL_NAMES = (
    "database_password",
    "broker_password",
    "s3_access_key",
    "s3_secret_key",
    "api_token",
    "event_token",
    "secret_key",
    "flower_password",
)


def load_credentials(state_dir: Path) -> dict[str, str]:
    """Return the stack's credentials; missing ones are made and kept."""
    file = state_dir / "secrets.json"
    known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    complete = {name: known.get(name) or secrets.token_hex(16) for name in CREDENTIAL_NAMES}
    if complete != known:
        write_private(file, json.dumps(complete, indent=1))
    return complete
