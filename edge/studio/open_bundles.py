"""Bundles as the pages want them: opened by name, judging pictures, their good pictures found."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from calibrate.dataset import images_in
from edge.config import Config
from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_from_bundle
from edge.result import Image, Result
from edge.sinks.kept_parts import MARKED
from edge.sinks.pictures import jpeg_from_image
from edge.studio.guard import Asking
from edge.studio.places import Places, pick
from edge.studio.refusals import RefusalError
from engines.bundle import Bundle
from engines.manifest import DIGITS, Manifest
from process.plain_files import sha256_of

MAX_SIDE = 720  # px of a picture on a page
_LISTED_S = 10.0  # for which a listing of pictures holds


@contextmanager
def telling_errors() -> Iterator[None]:
    """Tell what the parts below say of bad input, a damaged bundle or a full disk."""
    try:
        yield
    except (ValueError, RuntimeError, OSError) as error:
        raise RefusalError("studio.told", text=" ".join(str(error).split())) from error


def open_bundle(places: Places, name: str) -> Bundle:
    """The bundle of a name from the page.

    Raises:
        RefusalError: there is none, or it is damaged.
    """
    path = pick(name, places.bundles())
    with telling_errors():
        return Bundle.open(path)


def name_of(asking: Asking) -> str:
    """Who does something, as a bundle's history and a part's mark keep it."""
    return f"{asking.who}@studio"


def shown_picture(image: Image) -> tuple[bytes, str]:
    """A picture as a page shows it, JPEG."""
    height, width = image.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return jpeg_from_image(small), "image/jpeg"


class OpenInspector:
    """The inspector of the bundle that was asked for last; any thread may call.

    Args:
        engine: that judges.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._inspector: Inspector | None = None

    def inspect(self, bundle: Bundle, image: Image) -> Result:
        """Judge a picture as the bundle is now.

        Raises:
            EngineError, BundleError, ValueError: as their modules say.
        """
        with self._lock:
            inspector = self._inspector
            if inspector is None or not _is_same(inspector.bundle, bundle):
                self._close()
                settings = settings_from_bundle(bundle)
                inspector = Inspector(bundle, settings=settings, engine=self._engine)
                self._inspector = inspector
            return inspector.inspect(image)

    def close(self) -> None:
        """Close the engine; a second call does nothing."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        inspector, self._inspector = self._inspector, None
        if inspector is not None:
            inspector.close()


class GoodPictures:
    """Finds the pictures that a bundle has learnt from, by the names that it keeps.

    They are looked for in the sets, where `edge.toml` has the images of a build, and among the
    marked parts; a file counts if the bundle has learnt from exactly it.

    Args:
        config: `edge.toml`.
        places: with the sets.
    """

    def __init__(self, config: Config, places: Places) -> None:
        self._config = config
        self._places = places
        self._lock = threading.Lock()
        self._listed: dict[str, list[Path]] = {}
        self._until_s = 0.0

    def find(self, name: str, manifest: Manifest) -> Path | None:
        """The picture of this name; None where it has gone."""
        for path in self._listing().get(Path(name).name, []):
            if not path.as_posix().endswith(name):
                continue
            if not manifest.learnt_images or sha256_of(path)[:DIGITS] in manifest.learnt_files:
                return path
        return None

    def _listing(self) -> dict[str, list[Path]]:
        with self._lock:
            if time.monotonic() >= self._until_s:
                found: dict[str, list[Path]] = defaultdict(list)
                for folder in self._folders():
                    for path in images_in(folder, deep=True):
                        found[path.name].append(path)
                self._listed, self._until_s = found, time.monotonic() + _LISTED_S
            return self._listed

    def _folders(self) -> list[Path]:
        keep = self._config.stream.keep
        asked = [*self._places.sets().values(), *self._config.build.images]
        if keep is not None:
            asked.append(keep / MARKED)
        return [folder for folder in dict.fromkeys(asked) if folder.is_dir()]


def _is_same(one: Bundle, other: Bundle) -> bool:
    return one.path == other.path and one.manifest == other.manifest
