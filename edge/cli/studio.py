"""The command `edge studio`."""

from __future__ import annotations

from edge import console
from edge.cli.options import takes_options
from edge.config import read_config
from edge.options import StudioOptions


@takes_options
def studio(given: StudioOptions) -> None:
    """Serve the page until a signal comes."""
    from edge.studio.serve import serve_studio

    serve_studio(read_config().override(studio=given), say=console.say)
