"""`face3d doctor`: what works and what does not, one line each."""

import typer

from face3d.cli.console import output
from face3d.cli.diagnosis import Finding, examine


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog="Example:  face3d doctor")(doctor)


def doctor() -> None:
    """Examine servers, buckets, schema, models, libraries and this machine; exit code 1 when one is wrong."""
    from face3d.settings import get_settings

    findings: list[Finding] = []
    for finding in examine(get_settings()):
        findings.append(finding)
        mark = "[green]ok[/]   " if finding.ok else "[bold red]wrong[/]"
        output.print(f"{mark} {finding.subject:<22}", end=" ")
        output.print(finding.detail, markup=False, soft_wrap=True)
        if not finding.ok and finding.remedy:
            output.print(f"      {'':<22} -> {finding.remedy}", markup=False, soft_wrap=True)
    wrong = sum(not finding.ok for finding in findings)
    output.print(f"{len(findings) - wrong} ok, {wrong} wrong")
    if wrong:
        raise typer.Exit(1)
