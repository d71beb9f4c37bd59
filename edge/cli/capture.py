"""The command `edge capture`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from edge import console
from edge.cli import errors
from edge.cli.options import Json, takes_options
from edge.config import read_config
from edge.fields import overlay
from edge.options import CaptureOptions


@takes_options
def capture(given: CaptureOptions, json: Json = False) -> None:
    """Capture with the options that were given, over those of the camera in `edge.toml`."""
    from edge.capturing.capture import camera_from, capture_pictures

    camera = camera_from(given, read_config())
    captured = capture_pictures(overlay(CaptureOptions, given), camera, say=console.say)
    if json:
        console.print_json(asdict(captured))
    else:
        console.print_table(captured.folder, [*asdict(captured).items()][1:])
    if not captured.saved:
        console.say("no picture was saved")
    if captured.lost or not captured.saved:
        raise typer.Exit(errors.FAILURE)
