"""`edge promote` and `edge rollback`: which version of a bundle is at work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge import console
from edge.cli.options import BundleArgument, takes_options
from edge.options import ENGINE, EngineName
from engines import versions
from engines.bundle import Bundle
from engines.errors import BundleError
from process.user import user_at_host

CandidateArgument = Annotated[
    Path, typer.Argument(metavar="CANDIDATE", help="Bundle to put there.")
]
EngineOption = Annotated[EngineName, typer.Option(help=ENGINE)]


@takes_options
def promote(
    candidate: CandidateArgument, bundle: BundleArgument, engine: EngineOption = "auto"
) -> None:
    """Test a candidate, and put it in the place of the bundle at work, which is kept."""
    from edge.teaching.proposal import accept
    from edge.teaching.replacement import propose_promotion

    proposal = propose_promotion(Bundle.open(candidate), bundle, engine=engine)
    console.say(proposal.engine_reason)
    for problem in proposal.problems():
        console.say(f"warning: {problem}; `edge rollback` takes it back")
    version = accept(proposal, force=True).version
    before = "" if version is None else f"; version {version.number} is the one before"
    console.say(f"{bundle}: {candidate} is in service{before}")


@takes_options
def roll_back(
    bundle: BundleArgument,
    to: Annotated[
        int | None, typer.Option("--to", help="Number of the version; default the latest.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show the versions and change none.")
    ] = False,
) -> None:
    """Put an earlier version of a bundle in its place, or show which there are."""
    if show:
        rows: list[tuple[object, ...]] = []
        for one in versions.versions_of(bundle):
            try:
                manifest = Bundle.open(one.path).manifest
            except BundleError:
                rows.append((one.number, "damaged", None, None))
                continue
            made = manifest.created.isoformat(timespec="seconds")
            rows.append((one.number, made, manifest.images.used, manifest.threshold.value))
        console.print_columns(str(bundle), ("version", "made", "images", "threshold"), rows)
        return
    _, version = versions.roll_back(bundle, to, by=user_at_host())
    console.say(f"{bundle}: version {version.number} is in service again")
