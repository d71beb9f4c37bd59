"""The command `edge stream`."""

from __future__ import annotations

from edge import console
from edge.cli import tables
from edge.cli.options import Json, takes_options
from edge.config import read_config
from edge.options import LifeOptions, StreamOptions


@takes_options
def stream(given: StreamOptions, life: LifeOptions, json: Json = False) -> None:
    """Inspect until the sources end, a window is closed, or a signal comes."""
    from edge.stream.run import run_streams

    summary = run_streams(given, read_config().override(life=life), say=console.say).to_json()
    if json:
        console.print_json(summary)
    else:
        tables.say_summary(summary)
