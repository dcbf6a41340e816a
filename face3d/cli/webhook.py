"""`face3d webhook`: who hears of finished jobs."""

from typing import Annotated

import typer

from face3d.cli.api import open_api
from face3d.cli.console import output


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(help="Who hears of finished jobs (Standard Webhooks).", no_args_is_help=True)
    group.command(epilog="Example:  face3d webhook add https://example.com/hooks/face3d")(add)
    group.command("list", epilog="Example:  face3d webhook list")(list_endpoints)
    group.command(epilog="Example:  face3d webhook test https://example.com/hooks/face3d")(test)
    group.command(epilog="Example:  face3d webhook remove https://example.com/hooks/face3d")(remove)
    app.add_typer(group, name="webhook")


Endpoint = Annotated[str, typer.Argument(help="The endpoint's id or URL.")]


def add(url: Annotated[str, typer.Argument(help="http(s) URL that takes POSTs.")]) -> None:
    """Add an endpoint and print the secret that signs its messages."""
    with open_api() as api:
        endpoint = api.call("POST", "/v1/webhooks", json={"url": url})
    output.print(f"{endpoint['id']}  {endpoint['url']}", markup=False, soft_wrap=True)
    output.print(f"secret: {endpoint['secret']}", markup=False)


def list_endpoints() -> None:
    """List the endpoints."""
    with open_api() as api:
        for endpoint in api.call("GET", "/v1/webhooks"):
            state = "" if endpoint["enabled"] else "  (disabled)"
            output.print(f"{endpoint['id']}  {endpoint['url']}{state}", markup=False, soft_wrap=True)


def test(endpoint: Endpoint) -> None:
    """Send a test message to an endpoint."""
    with open_api() as api:
        report = api.call("POST", f"/v1/webhooks/{_find(endpoint)}/test")
    output.print(f"sent as {report['delivery_id']}", markup=False)


def remove(endpoint: Endpoint) -> None:
    """Remove an endpoint."""
    with open_api() as api:
        api.call("DELETE", f"/v1/webhooks/{_find(endpoint)}")
    output.print("removed")


def _find(endpoint: str) -> str:
    with open_api() as api:
        for known in api.call("GET", "/v1/webhooks"):
            if endpoint in (known["id"], known["url"]):
                return str(known["id"])
    raise typer.BadParameter("there is no such endpoint; see `face3d webhook list`")
