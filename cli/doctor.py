"""`face3d doctor`: what works and what does not, one line each."""

import os
import sys

import typer

from cli.console import output
from cli.diagnosis import examine
from cli.probing import Finding


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog="Example:  face3d doctor")(doctor)


def doctor() -> None:
    """Examine servers, relays, workers, buckets, models and this machine; exit code 1 when one is wrong.

    Answers within 5 seconds, whatever hangs. What is worth a look does not change the exit code.
    """
    from face3d.settings import get_settings

    findings: list[Finding] = []
    for finding in examine(get_settings()):
        findings.append(finding)
        mark = "[green]ok[/]   " if finding.ok else "[bold red]wrong[/]"
        if finding.ok and finding.warning:
            mark = "[yellow]look[/] "
        output.print(f"{mark} {finding.subject:<22}", end=" ")
        output.print(finding.detail, markup=False, soft_wrap=True)
        if (finding.warning or not finding.ok) and finding.remedy:
            output.print(f"      {'':<22} -> {finding.remedy}", markup=False, soft_wrap=True)
    wrong = sum(not finding.ok for finding in findings)
    look = sum(finding.ok and finding.warning for finding in findings)
    output.print(f"{len(findings) - wrong - look} ok, {look} worth a look, {wrong} wrong")
    # At once: threads that still wait, and all that was loaded, would make an orderly end take its time.
    sys.stdout.flush()
    os._exit(min(wrong, 1))
