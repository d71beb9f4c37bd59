"""The command `edge studio`."""

from __future__ import annotations

from importlib.util import find_spec

from edge import console
from edge.cli.options import takes_options
from edge.config import ConfigError, read_config
from edge.options import StudioOptions


@takes_options
def studio(given: StudioOptions) -> None:
    """Serve the page until a signal comes."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} not installed; pip install 'protoedge[studio]'")
    from edge.studio.serve import serve_studio

    serve_studio(read_config().override(studio=given), say=console.say)
