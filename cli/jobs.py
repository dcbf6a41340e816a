"""`face3d jobs`: what the server knows of jobs, and retry, cancel, erase."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cli.api import open_api
from cli.console import as_written, errors, output

_ACTIONS = ("retry", "cancel", "erase")
#: Columns of a terminal that shows the whole table.
_WIDE = 110


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(
        epilog="Examples:  face3d jobs   |   face3d jobs ID   |   face3d jobs retry ID   |   "
        "face3d jobs cancel ID   |   face3d jobs erase ID",
    )(jobs)


def jobs(
    what: Annotated[
        str | None, typer.Argument(metavar="[ID|retry|cancel|erase]", help="Nothing lists the newest jobs.")
    ] = None,
    job_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The job to act on.")] = None,
    limit: Annotated[int, typer.Option(help="Length of the list.", min=1, max=200)] = 20,
) -> None:
    """List jobs, show one, or act on one."""
    with open_api() as api:
        if what is None:
            print_list(api.call("GET", "/v1/jobs", params={"limit": limit})["jobs"])
        elif what not in _ACTIONS:
            print_job(api.job(what))
        elif job_id is None:
            raise typer.BadParameter(f"name the job: face3d jobs {what} ID")
        elif what == "erase":
            api.call("DELETE", f"/v1/jobs/{job_id}")
            output.print("erased")
        else:
            print_job(api.call("POST", f"/v1/jobs/{job_id}/{what}"))


def print_list(jobs: list[dict[str, Any]]) -> None:
    """Print a table of jobs, in a pipe one tab-separated line each."""
    if not jobs:
        errors.print("no jobs yet; make one with: face3d submit PHOTO")
    elif output.is_terminal:
        # A narrow terminal shows what fits beside whole ids.
        names = ("job", "state", "made", "stage or verdict", "tier", "engine", "photo")
        shown = names if output.width >= _WIDE else names[:4]
        table = Table(*shown, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        rows = [_cells(job, "%m-%d %H:%M")[: len(shown)] for job in jobs]
        for column in table.columns:
            column.no_wrap = True
        table.columns[0].min_width = max(len(job["id"]) for job in jobs)
        if shown == names:
            # A long name of a photo is cut, and nothing else for its sake.
            widths = [max(map(len, cells)) + 2 for cells in zip(names, *rows, strict=True)]
            table.columns[-1].max_width = max(output.width - sum(widths[:-1]), len(names[-1]))
        for row in rows:
            table.add_row(*map(escape, row))
        output.print(table)
    else:
        for job in jobs:
            # Not by `print`, which makes blanks of tabs.
            output.file.write("\t".join(_cells(job, "%Y-%m-%dT%H:%M:%S%z")) + "\n")


def _cells(job: dict[str, Any], time_format: str) -> tuple[str, ...]:
    active = next((s["name"] for s in job["stages"] if s["state"] in ("dispatched", "running")), "")
    verdict = job["error"]["code"] if job["error"] else job["quality"] or active
    made = datetime.fromisoformat(job["created_at"]).astimezone().strftime(time_format)
    engine = job["options"].get("engine", "")
    return (job["id"], job["state"], made, verdict, job["tier"], engine, _photo(job))


def _photo(job: dict[str, Any]) -> str:
    """Return the photo's name, without what would move a terminal's cursor or part a line's fields."""
    return "".join(letter if letter.isprintable() else "?" for letter in job.get("name") or "")


def print_job(job: dict[str, Any]) -> None:
    """Print one job with its stages and files."""
    line = f"{job['id']}  {job['state']}  {job['quality'] or ''}"
    output.print(f"{line}  {_photo(job)}".rstrip(), markup=False, soft_wrap=True)
    if job["error"]:
        error = job["error"]
        output.print(f"  {error['code']}: {error['message']}", markup=False, soft_wrap=True)
        if error.get("value") is not None:
            value, limit = (as_written(error[name]) for name in ("value", "limit"))
            output.print(f"  measured {value}, limit {limit}", markup=False, soft_wrap=True)
    for stage in job["stages"]:
        seconds = f"{stage['seconds']:.2f} s" if stage["seconds"] is not None else ""
        line = f"  {stage['name']:<11} {stage['state']:<10} attempt {stage['attempt']}  {seconds}"
        output.print(f"{line}  {stage['queue'] or ''}", markup=False, soft_wrap=True)
    for file in job["files"]:
        output.print(f"  {file['name']:<20} {file['size'] / 1e6:8.2f} MB", markup=False, soft_wrap=True)
