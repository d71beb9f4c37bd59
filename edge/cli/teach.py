"""The command `edge teach`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from edge import console
from edge.cli import errors
from edge.cli.options import BundleArgument, Json, takes_options
from edge.fields import OptionsModel, option
from edge.options import ENGINE, EngineName

if TYPE_CHECKING:
    from edge.teaching.correction import Correction

CHANGED_SHOWN = 20


class TeachOptions(OptionsModel):
    """From what, and whether it goes into service."""

    parts: Path | None = option(
        None, "Folder of good parts, or with folders good and defective.", name="FOLDER"
    )
    marked: Path | None = option(None, "Folder of kept parts, whose marked ones are taken.")
    engine: EngineName = option("auto", ENGINE)
    yes: bool = option(False, "Put it in service without asking.")
    force: bool = option(
        False, "Teach parts that look like defects too, and let more defects pass."
    )


@takes_options
def teach(bundle: BundleArgument, options: TeachOptions, json: Json = False) -> None:
    """Teach a bundle parts that were marked, show what changes, and ask."""
    from edge.sinks.kept_parts import MARKED
    from edge.teaching.marked_parts import TeachError, marked_parts
    from edge.teaching.proposal import ProposalRefusedError, accept
    from edge.teaching.teach import correct
    from engines.bundle import Bundle

    folders = [one for one in (options.parts, options.marked and options.marked / MARKED) if one]
    if len(folders) != 1:
        raise TeachError("give a folder of parts, or --marked with a folder of kept ones")
    opened, parts = Bundle.open(bundle), marked_parts(folders[0])
    try:
        correction = correct(opened, parts, engine=options.engine, leave_out=not options.force)
    except ProposalRefusedError as error:
        _refuse(error.problems)
    if json:
        console.print_json(correction.to_json())
    else:
        _print(correction)
    problems = correction.problems()
    if problems and not options.force:
        _refuse(problems)
    refusal = "" if options.yes else _ask()
    if refusal:
        console.say(refusal)
        return
    version = accept(correction, force=options.force).version
    assert version is not None
    console.say(
        f"{bundle}: in service; version {version.number} is the one before, `edge rollback`"
    )


def _refuse(problems: Sequence[str]) -> NoReturn:
    console.say(f"refused: {'; '.join(problems)}; look at those parts, or add --force")
    raise typer.Exit(errors.FAILURE)


def _print(correction: Correction) -> None:
    from calibrate.dataset import list_names
    from edge.teaching.correction import describe_left_out

    before, after = correction.bundle.manifest.threshold, correction.manifest.threshold
    rows = [
        ("learnt", f"{len(correction.learnt)} parts, {correction.different} different"),
        ("left out", len(correction.left_out)),
        ("known before", len(correction.known)),
        ("cannot be used", len(correction.skipped)),
        ("prototypes", f"{correction.manifest.prototypes}, {correction.prototypes} of them new"),
        ("threshold", f"{before.value:.4f} to {after.value:.4f}"),
        ("false rejects", f"at most {after.false_reject_bound or 1:.1%}, with 95 % confidence"),
    ]
    if correction.threshold is None:
        rows[-2:] = [("threshold", f"{before.value:.4f}: it stays")]
    console.print_table(str(correction.bundle.path), rows)
    console.print_columns(
        "What changes",
        ("", "parts", "before", "after"),
        [row[1:] for row in correction.effect.rows()],
    )
    changed = [one for one in correction.effect.parts if one.is_changed]
    console.print_columns(
        f"{len(changed)} verdicts change",
        ("", "what it is", "before", "after", "score before", "score after"),
        [
            (one.name, one.kind, one.before[0], one.after[0], one.before[1], one.after[1])
            for one in changed[:CHANGED_SHOWN]
        ],
    )
    for skipped in correction.skipped:
        console.say(skipped.reason)
    still = [
        one.name for one in correction.effect.parts if one.kind == "good" and one.after[0] != "OK"
    ]
    if still:
        console.say(f"still rejected: {list_names(still)}")
    if correction.left_out:
        console.say(f"left out: {describe_left_out(correction.left_out)}; --force teaches them too")


def _ask() -> str:
    """Ask whether it shall be in service; what is said if not."""
    if not (sys.stdin and sys.stdin.isatty()):
        return "nobody to ask without a terminal, so nothing is changed; --yes puts it in service"
    if typer.confirm("Put it in service?", err=True):
        return ""
    return "nothing is changed"
