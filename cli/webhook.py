"""`face3d webhook`: who hears of finished jobs."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from cli import deliveries
from cli.api import open_api
from cli.console import output
from cli.deliveries import find_endpoint


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    group = typer.Typer(help="Who hears of finished jobs (Standard Webhooks).", no_args_is_help=True)
    group.command(epilog="Example:  face3d webhook add https://example.com/hooks/face3d")(add)
    group.command("list", epilog="Example:  face3d webhook list")(list_endpoints)
    group.command(epilog="Example:  face3d webhook test https://example.com/hooks/face3d")(test)
    group.command(epilog="Example:  face3d webhook rotate https://example.com/hooks/face3d")(rotate)
    group.command(epilog="Example:  face3d webhook enable https://example.com/hooks/face3d")(enable)
    group.command(epilog="Example:  face3d webhook disable https://example.com/hooks/face3d")(disable)
    group.command(epilog="Example:  face3d webhook remove https://example.com/hooks/face3d")(remove)
    deliveries.register(group)
    app.add_typer(group, name="webhook")


Endpoint = Annotated[str, typer.Argument(help="The endpoint's id or URL.")]


def is_ahead(time: str | None) -> bool:
    """Tell whether an ISO time lies in the future."""
    return time is not None and datetime.fromisoformat(time) > datetime.now(UTC)


def add(url: Annotated[str, typer.Argument(help="http(s) URL that takes POSTs.")]) -> None:
    """Add an endpoint and print, this once, the secret that signs its messages."""
    with open_api() as api:
        endpoint = api.call("POST", "/v1/webhooks", json={"url": url})
    output.print(f"{endpoint['id']}  {endpoint['url']}", markup=False, soft_wrap=True)
    if endpoint["secret"] is None:
        output.print("it was there already and keeps its secret; `face3d webhook rotate` gives another")
    else:
        output.print(f"secret: {endpoint['secret']}", markup=False, soft_wrap=True)


def list_endpoints() -> None:
    """List the endpoints."""
    with open_api() as api:
        for endpoint in api.call("GET", "/v1/webhooks"):
            state = "" if endpoint["enabled"] else f"  (disabled: {endpoint['disabled_reason'] or 'asked'})"
            if endpoint["enabled"] and is_ahead(endpoint["paused_until"]):
                state = f"  (pauses until {endpoint['paused_until']})"
            output.print(f"{endpoint['id']}  {endpoint['url']}{state}", markup=False, soft_wrap=True)


def test(endpoint: Endpoint) -> None:
    """Send a test message to an endpoint."""
    with open_api() as api:
        report = api.call("POST", f"/v1/webhooks/{find_endpoint(endpoint)}/test")
    output.print(f"sent as {report['delivery_id']}", markup=False)


def rotate(endpoint: Endpoint) -> None:
    """Give an endpoint another secret and print it this once; for a day both sign."""
    with open_api() as api:
        made = api.call("POST", f"/v1/webhooks/{find_endpoint(endpoint)}/rotate")
    output.print(f"secret: {made['secret']}", markup=False, soft_wrap=True)


def enable(endpoint: Endpoint) -> None:
    """Send messages to an endpoint again; what failed meanwhile: `face3d webhook redeliver --failed`."""
    with open_api() as api:
        api.call("POST", f"/v1/webhooks/{find_endpoint(endpoint)}/enable")
    output.print("enabled")


def disable(endpoint: Endpoint) -> None:
    """Send nothing to an endpoint any more; what waits for it fails."""
    with open_api() as api:
        api.call("POST", f"/v1/webhooks/{find_endpoint(endpoint)}/disable")
    output.print("disabled")


def remove(endpoint: Endpoint) -> None:
    """Remove an endpoint."""
    with open_api() as api:
        api.call("DELETE", f"/v1/webhooks/{find_endpoint(endpoint)}")
    output.print("removed")
