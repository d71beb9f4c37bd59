"""The command `edge doctor`."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING

import typer

from edge import console
from edge.cli import errors, tables
from edge.cli.options import Json, takes_options
from edge.config import check_folder_of
from edge.options import ProofOptions

if TYPE_CHECKING:
    from edge.prove.prove import ProofReport


@takes_options
def doctor(options: ProofOptions, json: Json = False) -> None:
    """Examine this machine, exit 1 if something fails; or prove what its GPU does."""
    if options.prove:
        _prove(options, json=json)
    else:
        _examine(json=json)


def _examine(*, json: bool) -> None:
    from edge.doctor import examine

    checks = examine()
    healthy = all(check.status != "fail" for check in checks)
    if json:
        console.print_json({"ok": healthy, "checks": [check.to_json() for check in checks]})
    else:
        tables.print_checks(checks)
    if not healthy:
        raise typer.Exit(errors.FAILURE)


def _prove(options: ProofOptions, *, json: bool) -> None:
    """Prove; exit 1 if a claim failed, 2 where there is no card to prove anything on."""
    from calibrate.progress import Stages
    from edge.prove.prove import prove
    from engines.atomic_files import replace_file

    if options.output is not None:
        check_folder_of(options.output, option="--output")
    with console.stage_bars() as bars:
        report = prove(options.engine, seconds=options.seconds, stages=Stages(bars.show))
    if options.output is not None:
        replace_file(options.output, f"{dumps(report.to_json(), indent=2)}\n".encode())
    if json:
        console.print_json(report.to_json())
    else:
        _print_report(report)
    if report.outcome == "failed":
        raise typer.Exit(errors.FAILURE)
    if report.outcome == "no card":
        console.say(f"nothing is proven of a GPU: {report.why_no_card}")
        raise typer.Exit(errors.USAGE)


def _print_report(report: ProofReport) -> None:
    rows = [(claim.state, claim.name, claim.detail) for claim in report.claims]
    title = f"{report.engine}: {report.outcome}, in {report.seconds:.0f} s"
    console.print_columns(title, ("", "claim", "seen"), rows)
    steps = [(claim.name, claim.next) for claim in report.claims if claim.next]
    if steps:
        console.print_table("What to do", steps)
