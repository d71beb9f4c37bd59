"""`edge.toml`: what a production line's commands default to."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from edge.fields import OptionsModel, overlay
from edge.options import (
    BuildOptions,
    CameraName,
    CameraSection,
    LifeOptions,
    LogOptions,
    ServeOptions,
    StreamOptions,
    StudioOptions,
)
from process.plain_files import read_plain_text
from process.wrong_values import place_and_reason

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG = Path("edge.toml")
BUILDS = Path("build")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # what such a text begins with


class ConfigError(ValueError):
    """`edge.toml` cannot be read, or says something that makes no sense."""


Model = TypeVar("Model", bound=BaseModel)


class Config(OptionsModel):
    """The whole file. The section of a bridge is checked when the bridge is opened."""

    build: BuildOptions = BuildOptions()
    stream: StreamOptions = StreamOptions()
    cameras: dict[CameraName, CameraSection] = Field(default_factory=dict)
    life: LifeOptions = LifeOptions()
    log: LogOptions = LogOptions()
    station: ServeOptions = ServeOptions()
    studio: StudioOptions = StudioOptions()
    modbus: dict[str, Any] = Field(default_factory=dict)
    opcua: dict[str, Any] = Field(default_factory=dict)
    mqtt: dict[str, Any] = Field(default_factory=dict)

    def override(self, **given: OptionsModel) -> Config:
        """Lay what the command line gives over the sections of these names."""
        sections = {
            name: overlay(type(options), getattr(self, name), options)
            for name, options in given.items()
        }
        return self.model_copy(update=sections)


def read_config(path: Path = CONFIG) -> Config:
    """Read `edge.toml`; without one, the empty configuration.

    Raises:
        ConfigError: not TOML, an unknown key, or a value that makes no sense.
    """
    try:
        content = tomllib.loads(read_plain_text(path))
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        kind = "UTF-16" if error.object[:2] in _UTF_16 else "not UTF-8"
        raise ConfigError(f"{path}: the text is {kind}; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    return checked(Config, content, path=path)


def checked(kind: type[Model], content: Any, *, path: Path = CONFIG, section: str = "") -> Model:
    """Check what stands in `edge.toml`.

    Args:
        kind: the file's model, or that of a section.
        content: as read.
        path: the file.
        section: name of the section.

    Raises:
        ConfigError: an unknown key, or a value that makes no sense.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        where, reason = place_and_reason(error, kind)
        place = ".".join(filter(None, (section, where)))
        end = "" if reason.endswith("?") else ";"
        raise ConfigError(
            f"{path}: {place}: {reason}{end} docs/edge_toml.md lists every key"
        ) from error


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        ConfigError: it already exists, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path}: already exists; remove it first to start anew") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def find_bundle(given: Path | None, config: Config) -> Path:
    """The bundle that was named, that of `edge.toml`, or the only one under `build/`.

    Raises:
        ConfigError: none, or several to choose from.
    """
    named = given or config.stream.bundle or config.build.output
    if named is not None:
        return named
    found = sorted(path for path in BUILDS.glob("*.edge") if path.is_dir())
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError("no bundle: none under build/; run `edge build IMAGES` or give --bundle")
    names = ", ".join(str(path) for path in found)
    raise ConfigError(f"several bundles: {names}; give --bundle")


def check_output(target: Path) -> None:
    """Find out before minutes of work whether a bundle can be written where it shall be.

    Nothing stays behind.

    Raises:
        ConfigError: something else is there, or the folder cannot be written.
    """
    if target.exists() and not (target / "manifest.json").exists() and not _is_empty(target):
        raise ConfigError(f"{target}: exists and is no bundle; choose another --output")
    home = next(folder for folder in target.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise ConfigError(
            f"{target}: cannot be written, {home}: {error.strerror}; choose another --output"
        ) from error


def check_folder_of(file: Path, *, option: str) -> None:
    """Find out before the work whether a file's folder is there.

    Raises:
        ConfigError: it is not.
    """
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"{file}: {file.parent} is no folder; give another {option}")


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
