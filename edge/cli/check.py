"""The command `edge check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge import console
from edge.cli.options import Json, takes_options
from edge.config import ConfigError, check_folder_of, read_config
from edge.fields import overlay
from edge.options import BuildOptions, CheckOptions

if TYPE_CHECKING:
    from edge.checking.check import CheckedSet

CLUSTERS_SHOWN, IMAGES_SHOWN = 10, 4


@takes_options
def check(
    given: CheckOptions,
    report: Annotated[
        Path | None, typer.Option(help="HTML file for what was found, with pictures.")
    ] = None,
    json: Json = False,
) -> None:
    """Check with the options that were given, over those of `edge.toml`."""
    from calibrate.progress import Stages
    from edge.checking.check import check_images

    options = overlay(BuildOptions, read_config().build, given)
    if not options.images:
        raise ConfigError(
            "no images: name a folder, or set build.images in edge.toml (`edge init` writes one)"
        )
    if report is not None:
        check_folder_of(report, option="--report")
    with console.stage_bars() as bars:
        checked = check_images(options.images, options=options, stages=Stages(bars.show, bars.tell))
    if report is not None:
        from edge.checking.report import check_report

        report.write_text(check_report(checked), encoding="utf-8")
    if json:
        console.print_json(checked.to_json())
    else:
        _print_checked(checked)


def _print_checked(checked: CheckedSet) -> None:
    """Print the set, its groups, what is amiss, and what would prove which rate."""
    found, read = checked.found, checked.read
    height, width = found.options.size
    rows: list[tuple[str, object]] = [
        ("layout", found.dataset.layout),
        ("files", found.dataset.account),
        ("usable", f"{len(read.usable)}, {len(read.skipped)} skipped"),
        ("different", read.clusters.count),
        ("model's size", f"{width} x {height} px"),
        ("light", f"{read.looks.light:.0f} of 255, {read.looks.burnt_out:.1%} white"),
        ("sharpness", f"{read.looks.sharpness:.2f}"),
        ("proven at best", f"{checked.bound:.2%} false rejects, none of the images rejected"),
    ]
    console.print_table(checked.given, rows)
    console.print_columns(
        "How many good images prove which rate, none of them rejected",
        ("false rejects", "needed", "still missing"),
        [(f"{one.rate:.2%}", one.needed, one.missing) for one in checked.rates],
    )
    if read.clusters.shared:
        console.print_columns(
            "Images that show one thing and count once",
            ("images", "such as"),
            [
                (len(cluster), [read.usable[index].name for index in cluster[:IMAGES_SHOWN]])
                for cluster in read.clusters.shared[:CLUSTERS_SHOWN]
            ],
        )
    for line in checked.lines[1:]:
        console.say(line)
