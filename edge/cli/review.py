"""`edge review`: what parses and prints."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from edge import console
from edge.cli.options import BundleArgument, Json, takes_options
from edge.options import Mark, MarkOptions, PartsOptions, ReviewOptions, TryOptions

app = typer.Typer(no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of kept parts.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="CSV file to write instead.")]
DecimalComma = Annotated[
    bool,
    typer.Option(
        "--decimal-comma/--decimal-point",
        help="Write CSV with decimal commas and semicolons, as many countries' spreadsheets do.",
    ),
]
_SHOWN = ("id", "time", "camera", "verdict", "score", "threshold", "mark", "picture", "reason")


@app.command("parts", help="List parts: the newest, or those with the highest scores.")
@takes_options
def list_parts(
    folder: Folder,
    options: PartsOptions,
    csv: CsvFile = None,
    decimal_comma: DecimalComma = False,
    json: Json = False,
) -> None:
    """List the parts that are asked for."""
    from edge.review.parts import PartStore

    with PartStore(folder) as store:
        rows = [part.to_json() for part in store.parts(options)]
        count = store.count(options)
    if csv is None and not json:
        title = f"{folder}: {len(rows)} of {count} parts"
        console.print_columns(title, _SHOWN, ([row[name] for name in _SHOWN] for row in rows))
    else:
        _write(csv, {"parts": rows}, count, decimal_comma=decimal_comma)


@app.command("hours", help="Report parts, rejects, scores and reasons hour by hour.")
@takes_options
def report_hours(
    folder: Folder,
    options: ReviewOptions,
    csv: CsvFile = None,
    decimal_comma: DecimalComma = False,
    json: Json = False,
) -> None:
    """Report the hours in which there were parts."""
    from edge.review.hours import hours_of
    from edge.review.parts import PartStore

    with PartStore(folder) as store:
        rows = [hour.to_json() for hour in hours_of(store, options)]
    if csv is None and not json:
        head = [*(rows[0] if rows else ())]
        console.print_columns(str(folder), head, (row.values() for row in rows))
    else:
        _write(csv, {"hours": rows}, len(rows), decimal_comma=decimal_comma)


@app.command("shadow", help="List parts of which the last candidate says otherwise.")
@takes_options
def list_shadowed(
    folder: Folder,
    options: PartsOptions,
    csv: CsvFile = None,
    decimal_comma: DecimalComma = False,
    json: Json = False,
) -> None:
    """List the parts in which a candidate differs from the inspector at work."""
    from edge.review.parts import PartStore

    with PartStore(folder) as store:
        found = store.shadow_differences(options)
    rows = [part.to_json() for part in found.parts]
    if csv is None and not json:
        title = f"{found.candidate}: differs in {found.differing} of {found.judged} parts"
        console.print_columns(title, [*(rows[0] if rows else ())], (row.values() for row in rows))
    else:
        facts = {name: getattr(found, name) for name in ("candidate", "judged", "differing")}
        _write(csv, {"parts": rows}, found.differing, decimal_comma=decimal_comma, **facts)


@app.command("try", help="Count what a threshold would reject and let pass.")
@takes_options
def try_threshold(
    folder: Folder, bundle: BundleArgument, options: TryOptions, json: Json = False
) -> None:
    """Count false rejects and escapes among good images, marked parts and drawn defects."""
    from edge.review.parts import PartStore
    from edge.review.scores import ScoresOfBundle, marked_parts_of, score_anew
    from engines.bundle import Bundle

    opened = Bundle.open(bundle)
    manifest = opened.manifest
    with PartStore(folder) as store:
        parts = marked_parts_of(store, camera=options.camera)
    kept = ScoresOfBundle.from_manifest(manifest).with_parts(parts, manifest)
    scores = score_anew(kept, opened, engine=options.engine)
    value = manifest.threshold.value if options.threshold is None else options.threshold
    counts = asdict(scores.at(value))
    if json:
        console.print_json({"bundle": str(bundle), **counts})
    else:
        console.print_table(str(bundle), [*counts.items()])


@app.command("mark", help="Mark parts as good, defective or ignored; what was said before stays.")
@takes_options
def mark_parts(
    folder: Folder,
    mark: Annotated[Mark, typer.Argument(metavar="MARK", help="What they are.")],
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Numbers of the parts.")],
    options: MarkOptions,
) -> None:
    """Mark parts."""
    from edge.review.parts import PartStore

    with PartStore(folder) as store:
        parts = store.mark(ids, mark, by=options.by or _user_name())
    console.say(f"{len(parts)} marked {mark}")


@app.command("dataset", help="Copy marked parts to a new folder in MVTec AD's layout.")
@takes_options
def write_data_set(
    folder: Folder,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The new folder.")],
    options: ReviewOptions,
) -> None:
    """Write a data set of the marked parts."""
    from edge.review.data_set import write_data_set
    from edge.review.parts import PartStore

    with PartStore(folder) as store:
        chosen = PartsOptions(**options.model_dump(exclude_unset=True))
        counts = write_data_set(store, target, chosen)
    console.say(f"{target}: {', '.join(f'{count} {mark}' for mark, count in counts.items())}")


def _user_name() -> str:
    """Who works here.

    Raises:
        ValueError: the system has no name for the user, as in some containers.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ValueError("this user has no name; say who marks with --by NAME") from None


def _write(
    csv: Path | None,
    table: dict[str, list[dict[str, Any]]],
    found: int,
    *,
    decimal_comma: bool,
    **facts: Any,
) -> None:
    """Write rows as CSV, or print them with some facts as one JSON object.

    Args:
        csv: the file; None is JSON.
        table: the rows, by what they are.
        found: so many there are, whatever was asked for.
        decimal_comma: in CSV.
        facts: beside the rows, in JSON.
    """
    if csv is None:
        console.print_json({**facts, **table})
        return
    from edge.review.tables import write_csv

    ((of, rows),) = table.items()
    head = dict.fromkeys(chain.from_iterable(rows))
    count = write_csv(csv, rows, head=head, decimal_comma=decimal_comma)
    of_all = "" if count == found else f" of {found}"
    hint = "; --limit takes more" if of_all else ""
    console.say(f"{csv}: {count}{of_all} {of}{hint}")
