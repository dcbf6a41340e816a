"""`face3d webhook deliveries`, `face3d webhook redeliver`: what was sent, and once more."""

from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.console import output

#: Messages of one page of the API.
_PAGE = 200


def register(group: typer.Typer) -> None:
    """Add the commands to the group `webhook`."""
    group.command(
        "deliveries",
        epilog="Examples:  face3d webhook deliveries --failed   |   face3d webhook deliveries --job ID",
    )(show)
    group.command(epilog="Examples:  face3d webhook redeliver ID   |   face3d webhook redeliver --failed")(
        redeliver
    )


EndpointOption = Annotated[str | None, typer.Option(help="Only to this endpoint (id or URL).")]
JobOption = Annotated[str | None, typer.Option(help="Only of this job.")]


def show(
    failed: Annotated[bool, typer.Option("--failed", help="Only messages that were given up.")] = False,
    endpoint: EndpointOption = None,
    job: JobOption = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1)] = 50,
    tries: Annotated[bool, typer.Option("--tries", help="Print every try, not the last alone.")] = False,
) -> None:
    """List webhook messages, newest first, with how their tries ended."""
    wanted: dict[str, Any] = _selection(endpoint, job)
    if failed:
        wanted["state"] = "failed"
    with open_api() as api:
        left = limit
        while left > 0:
            page = api.call("GET", "/v1/webhooks/deliveries", params={**wanted, "limit": min(left, _PAGE)})
            for delivery in page["deliveries"]:
                _print(delivery, tries=tries)
            left -= len(page["deliveries"])
            if page["next"] is None:
                break
            wanted["before"] = page["next"]


def redeliver(
    delivery: Annotated[str | None, typer.Argument(help="The message's id, `msg_...`.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All messages that were given up.")] = False,
    endpoint: EndpointOption = None,
    job: JobOption = None,
) -> None:
    """Send a message again, or all that were given up, each under its id and with all tries before it."""
    if (delivery is None) != failed:
        raise typer.BadParameter("name one message, or say --failed")
    if delivery is not None and (endpoint or job):
        raise typer.BadParameter("--endpoint and --job go with --failed")
    with open_api() as api:
        if delivery is not None:
            api.call("POST", f"/v1/webhooks/deliveries/{delivery}/redeliver")
            count = 1
        else:
            answer = api.call("POST", "/v1/webhooks/deliveries/redeliver", params=_selection(endpoint, job))
            count = answer["count"]
    told = (
        ""
        if count
        else ": of the endpoints that are enabled (`face3d webhook list`), none has a failed message"
    )
    output.print(f"{count} on the way again{told}", soft_wrap=True)


def find_endpoint(endpoint: str) -> str:
    """Return an endpoint's id by id or URL.

    Raises:
        typer.BadParameter: there is none.
    """
    with open_api() as api:
        for known in api.call("GET", "/v1/webhooks"):
            if endpoint in (known["id"], known["url"]):
                return str(known["id"])
    raise typer.BadParameter("there is no such endpoint; see `face3d webhook list`")


def _selection(endpoint: str | None, job: str | None) -> dict[str, Any]:
    chosen = {"endpoint": find_endpoint(endpoint) if endpoint else None, "job": job}
    return {name: value for name, value in chosen.items() if value}


def _print(delivery: dict[str, Any], *, tries: bool) -> None:
    end = f"  next try {delivery['due_at']}" if delivery["due_at"] else ""
    job = delivery["job_id"] or "-"
    output.print(
        f"{delivery['id']}  {delivery['state']:<9}  {delivery['event_type']:<12}  job {job}"
        f"  tries {len(delivery['tries'])}{end}",
        markup=False,
        soft_wrap=True,
    )
    if delivery["last_error"] and all(one["error"] != delivery["last_error"] for one in delivery["tries"]):
        output.print(f"    {delivery['last_error']}", markup=False, soft_wrap=True)
    for one in delivery["tries"] if tries else delivery["tries"][-1:]:
        if one["milliseconds"] is None:
            told = "runs, or its worker died with it"
        else:
            told = f"{one['error'] or one['status']} after {one['milliseconds']} ms"
        answer = f"  {one['answer']}" if one["answer"] else ""
        output.print(
            f"    {one['number']:>2}  {one['started_at']}  {told}{answer}", markup=False, soft_wrap=True
        )
