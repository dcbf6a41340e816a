"""`face3d explain JOB`: why each stage of a job went where it went."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli.console import output
from face3d.settings import get_settings

if TYPE_CHECKING:
    from db.models import Attempt, Stage, Worker


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog="Example:  face3d explain 6f1c2a9e-...")(explain)


def explain(job: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]) -> None:
    """Say where each stage of a job ran, what the router knew when it chose, and what was tried."""
    from db import queries
    from db.session import make_session_factory
    from db.workers import live_workers

    settings = get_settings()
    with make_session_factory(settings)() as session:
        found = queries.find(session, job)
        workers = live_workers(session, timeout_seconds=settings.worker_timeout_seconds)
        output.print(f"{found.id}  {found.state}  tier {found.tier}", markup=False)
        forced = found.options.get("gpu-type", "any")
        if forced != "any":
            output.print(f"option gpu-type={forced}", markup=False)
        for stage in found.stages:
            print_stage(stage)
        unfit = [worker for worker in workers if worker.state != "ready"]
        if unfit:
            output.print("\nworkers that take no work now")
        for worker in unfit:
            output.print(f"  {describe_worker(worker)}", markup=False, soft_wrap=True)


def describe_worker(worker: "Worker") -> str:
    """Return a worker's name, and why it drains."""
    if worker.state == "ready":
        return worker.name
    return f"{worker.name} (drains: {worker.reason or 'no reason given'})"


def print_stage(stage: "Stage") -> None:
    """Print one stage: its queue, the router's reason and table, the attempts."""
    output.print(f"\n[bold]{stage.name}[/]  {stage.state}  {stage.queue or 'not placed yet'}")
    placement: dict[str, Any] = stage.placement or {}
    if placement.get("why"):
        output.print(f"  {placement['why']}", markup=False, soft_wrap=True)
    if placement.get("profile"):
        output.print(f"  The photo is prepared for the profile of {placement['profile']}.", markup=False)
    if placement.get("candidates"):
        output.print(candidates_table(placement))
    if stage.excluded:
        output.print(f"  memory did not suffice on: {', '.join(stage.excluded)}", markup=False)
    for attempt in stage.attempts:
        output.print(f"  {describe_attempt(attempt)}", markup=False, soft_wrap=True)


def candidates_table(placement: dict[str, Any]) -> Table:
    """Return what the router knew of every type, the earliest expected finish first."""
    columns = (
        "  type",
        "expected s",
        "one job s",
        "known by",
        "slots",
        "running",
        "interactive",
        "batch",
        "",
    )
    table = Table(*columns, box=None)
    for one in sorted(placement["candidates"], key=lambda candidate: candidate["expected_seconds"]):
        waiting = one["waiting"]
        table.add_row(
            f"  {one['gpu_type']}",
            f"{one['expected_seconds']:.3f}",
            f"{one['service_seconds']:.3f}",
            "measured" if one["measured"] else "published speed",
            str(one["slots"]),
            str(one["running"]),
            str(waiting.get("interactive", 0)),
            str(waiting.get("batch", 0)),
            "passed over: too little memory" if one["excluded"] else "",
        )
    return table


def describe_attempt(attempt: "Attempt") -> str:
    """Return one attempt in one line."""
    text = f"attempt {attempt.number}: {attempt.outcome} on {attempt.worker} ({attempt.device})"
    if attempt.finished_at is not None:
        text += f", {(attempt.finished_at - attempt.started_at).total_seconds():.3f} s"
    if attempt.ran:
        text += ", " + ", ".join(f"{name}={value}" for name, value in attempt.ran.items())
    if attempt.error_code:
        text += f", {attempt.error_code}: {attempt.error_message}"
    return text
