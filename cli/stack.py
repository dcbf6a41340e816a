"""`face3d up`, `down`, `status`, `link`: the local stack, and the way to its page."""

import shlex
import time
from typing import TYPE_CHECKING

import typer

from cli.console import errors, output, print_error

if TYPE_CHECKING:
    from compose.local import Stack
    from face3d.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(epilog="Example:  face3d up")(up)
    app.command(epilog="Example:  face3d down")(down)
    app.command(epilog="Example:  face3d status")(status)
    app.command(epilog="Example:  face3d link")(link)


def up() -> None:
    """Start the local stack and keep it until Ctrl-C."""
    from compose.local import Stack
    from compose.local.foreground import run_until_interrupted
    from face3d.settings import Settings

    started = time.monotonic()

    def report(line: str) -> None:
        errors.print(f"[dim]{time.monotonic() - started:6.1f} s  {line}[/]", soft_wrap=True)

    run_until_interrupted(Stack(Settings().state_dir, report=report), describe)


def describe(stack: "Stack") -> None:
    """Print where everything of a running stack is."""
    layout, settings = stack.layout, stack.settings
    rows = (
        ("page", f"{sign_in_link(settings)}  (opens once, within 15 minutes; then: face3d link)"),
        ("API token", layout.credentials["api_token"]),
        ("S3 endpoint", layout.s3_url),
        ("S3 keys", f"{layout.credentials['s3_access_key']} / {layout.credentials['s3_secret_key']}"),
        ("inbox", f"s3://{settings.bucket_inbox}"),
        ("Flower", f"{layout.flower_url} (face3d / {layout.credentials['flower_password']})"),
        ("settings", str(layout.env_file)),
        ("for a shell", f"set -a; . {shlex.quote(str(layout.env_file))}; set +a"),
        ("logs", str(layout.logs)),
    )
    output.print("[bold green]Face3D is up.[/] Ctrl-C stops it.")
    for name, value in rows:
        output.print(f"  {name:<12} {value}", markup=False, soft_wrap=True)


def link() -> None:
    """Print a link that signs in to the page, once, within 15 minutes."""
    from face3d.settings import get_settings

    settings = get_settings()
    if not settings.api_token.get_secret_value():
        print_error("FACE3D_API_TOKEN is not set: nobody can sign in")
        raise typer.Exit(1)
    output.print(sign_in_link(settings), markup=False, soft_wrap=True)


def sign_in_link(settings: "Settings") -> str:
    """Return the page's address with a new code that signs in once."""
    from db.session import make_session_factory
    from db.sign_in import make_code

    with make_session_factory(settings).begin() as session:
        code = make_code(session, settings.api_token)
    return f"{settings.public_url}/?code={code}"


def down() -> None:
    """Stop the local stack that runs elsewhere, in order."""
    from compose.local.foreground import stop_running
    from face3d.settings import Settings

    output.print("stopped" if stop_running(Settings().state_dir) else "no stack runs")


def status() -> None:
    """Say whether the local stack runs, and which processes it has; exit code 1 when it does not."""
    from datetime import UTC, datetime

    from compose.local.lock import find_holder
    from compose.local.orphans import load_record
    from face3d.settings import Settings

    folder = Settings().state_dir
    running = find_holder(folder)
    if running is None:
        output.print("no stack runs; start it with: face3d up")
        raise typer.Exit(1)
    output.print(f"running: {running.url}")
    record = load_record(folder)
    for name, mark in record.processes.items() if record else ():
        alive = mark.process() is not None
        since = datetime.fromtimestamp(mark.started, UTC).isoformat(timespec="seconds")
        text = f"pid {mark.pid}, since {since}" if alive else "not running now; see its log"
        output.print(f"  {name:<12} {text}")
    output.print(f"logs: {folder / 'logs'}", soft_wrap=True)
