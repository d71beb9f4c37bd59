"""Which cameras the user means: the command line over `[cameras.NAME]` over `[stream]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from edge.config import Config, ConfigError, find_bundle
from edge.fields import MAY_BE_EMPTY, overlay
from edge.options import CameraOptions, CameraSection, StreamOptions


class CameraConfig(CameraSection):
    """One camera, and how its frames are judged.

    Attributes:
        name: empty where there is only one, unnamed.
        bundle: the bundle's folder.
    """

    name: Annotated[str, MAY_BE_EMPTY]
    bundle: Path


def camera_configs(given: StreamOptions, config: Config) -> list[CameraConfig]:
    """Find the cameras that the user means.

    One source alone has no name. Several have: those of `edge.toml` their own, others a number.

    Args:
        given: on the command line; a source may be the name of a camera.
        config: `edge.toml`.

    Raises:
        ConfigError: no source, no bundle, or one camera twice.
    """
    named = config.cameras
    sources = given.source or tuple(named) or config.stream.source
    if not sources:
        raise ConfigError(
            "no source: name one, such as /dev/video0, or set stream.source in edge.toml"
        )
    sections = {source: CameraSection(source=source) for source in sources} | named
    if len(sources) == 1 and sources[0] not in named:
        return [_camera("", sections[sources[0]], given, config)]
    found = [
        _camera(source if source in named else f"camera{number}", sections[source], given, config)
        for number, source in enumerate(sources, start=1)
    ]
    names = [one.name for one in found]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"{', '.join(repeated)}: the same camera twice; name each once")
    return found


def _camera(
    name: str, section: CameraSection, given: StreamOptions, config: Config
) -> CameraConfig:
    judged = overlay(CameraOptions, config.stream, section, given)
    facts = {
        "name": name,
        "source": section.source,
        "options": section.options,
        "bundle": find_bundle(judged.bundle, config),
    }
    return CameraConfig(**{**dict(judged), **facts})
