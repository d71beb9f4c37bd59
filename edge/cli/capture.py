"""The command `edge capture`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

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

    config = read_config()
    camera = camera_from(given, config)
    options = overlay(CaptureOptions, CaptureOptions(settle_ms=config.stream.settle_ms), given)
    open_plc = None
    if options.bridges:
        from edge.plc.capture import open_capture_station

        open_plc = partial(open_capture_station, config, options.bridges, say=console.say)
    captured = capture_pictures(
        options, camera, say=console.say, life=config.life, open_plc=open_plc
    )
    if json:
        console.print_json(asdict(captured))
    else:
        console.print_table(captured.folder, [*asdict(captured).items()][1:])
    if not captured.saved:
        console.say("no picture was saved")
    if captured.lost or captured.missed or captured.trouble or not captured.saved:
        raise typer.Exit(errors.FAILURE)
