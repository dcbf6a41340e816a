"""`face3d events`: topics of Amazon SNS that ask to send upload events here."""

from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.console import errors, output

_PATH = "/v1/event-subscriptions"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(help="Who may send upload events (Amazon SNS).", no_args_is_help=True)
    group.command("list", epilog="Example:  face3d events list")(list_subscriptions)
    group.command(
        epilog="Examples:  face3d events confirm   |   "
        "face3d events confirm arn:aws:sns:eu-central-1:123456789012:photos"
    )(confirm)
    app.add_typer(group, name="events")


def list_subscriptions() -> None:
    """List the topics that asked to send events here."""
    with open_api() as api:
        topics = api.call("GET", _PATH)
    if not topics:
        errors.print("no topic has asked; subscribe the address of /events/storage/s3 to one")
    for topic in topics:
        output.print(describe(topic), markup=False, soft_wrap=True)


def confirm(
    topic: Annotated[
        str | None, typer.Argument(help="The topic's ARN; may be left out while only one waits.")
    ] = None,
) -> None:
    """Tell Amazon that a topic may send its events here."""
    with open_api() as api:
        wanted = topic or only_waiting(api.call("GET", _PATH))
        output.print(
            describe(api.call("POST", f"{_PATH}/confirm", json={"topic": wanted})),
            markup=False,
            soft_wrap=True,
        )


def describe(topic: dict[str, Any]) -> str:
    """Return a topic as one line."""
    state = f"confirmed {topic['confirmed_at']}" if topic["confirmed_at"] else "waits"
    return f"{topic['topic']}  {state}"


def only_waiting(topics: list[dict[str, Any]]) -> str:
    """Return the one topic that waits.

    Raises:
        typer.BadParameter: none does, or several do.
    """
    waiting = [str(topic["topic"]) for topic in topics if not topic["confirmed_at"]]
    if len(waiting) == 1:
        return waiting[0]
    if not waiting:
        raise typer.BadParameter("no topic waits; see `face3d events list`")
    raise typer.BadParameter("several topics wait; name one: " + ", ".join(waiting))
