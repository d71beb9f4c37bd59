"""The settings that a bundle keeps: taken over by an inspector, and changed without a build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2

from cameras.image_files import image_from_bytes
from edge.given import GivenSettings
from edge.inspection.held_out import RateOfRejects, threshold_for_rate, threshold_record
from edge.inspection.ignore_mask import (
    NOTHING,
    IgnoreMask,
    Nothing,
    check_mask,
    describe_much_ignored,
    grey_mask,
    mask_from_file,
    two_valued,
)
from edge.inspection.self_test import check_decision, find_region_beyond
from edge.inspection.verdict import DecisionSettings, decide
from edge.result import Roi, Say
from engines.bundle import Bundle
from engines.changes import KEEP, built_pixel_threshold, edit_manifest
from engines.errors import BundleError, EngineError
from engines.manifest import ChangeRecord, Manifest, RoiRecord
from engines.threshold_records import ThresholdRecord
from process.user import shown_name, user_at_host


class SettingsError(ValueError):
    """Settings that make no sense, or with which no part could ever be NG."""


def settings_from_bundle(
    bundle: Bundle,
    *,
    threshold: float | None = None,
    min_area: int | None = None,
    ignore: IgnoreMask | Nothing | None = None,
    roi: Roi | Nothing | None = None,
    pixel_threshold: float | Nothing | None = None,
) -> DecisionSettings:
    """A bundle's settings, each of which may be another.

    Args:
        bundle: whose.
        threshold: in place of the bundle's own.
        min_area: smallest region in pixels of the frame, in place of the bundle's own.
        ignore: (H, W) uint8 of the frame's size or the region's, of two values, white where nothing
            counts, or `NOTHING`; in place of the bundle's.
        roi: (x, y, width, height) in pixels of the frame that is inspected, or `NOTHING` for all
            of it; in place of the bundle's own, where another camera sees the same part.
        pixel_threshold: value of the map from which a region counts, in place of the bundle's own;
            `NOTHING` for that of the build.

    Raises:
        BundleError: the bundle's own mask cannot be read any more.
        ValueError: a threshold, area or mask that makes no sense.
    """
    manifest = bundle.manifest
    if ignore is None and manifest.ignore is not None:
        ignore = grey_mask(image_from_bytes(bundle.read(manifest.ignore)))
    if roi is None and manifest.roi is not None:
        roi = manifest.roi.box
    settings = DecisionSettings(
        threshold=manifest.threshold.value if threshold is None else threshold,
        min_area=manifest.min_area if min_area is None else min_area,
        ignore=None if isinstance(ignore, str) else ignore,
        roi=None if isinstance(roi, str) else roi,
        score_rule=manifest.score_rule,
        pixel_threshold=_pixel_threshold(manifest, pixel_threshold),
    )
    _check_mask_of(settings, manifest)
    return settings


def check_settings(settings: DecisionSettings, manifest: Manifest) -> None:
    """See that an inspector of a bundle can decide with settings that a program made.

    Args:
        settings: made from the inspector's own by `dataclasses.replace`.
        manifest: of its bundle.

    Raises:
        TypeError: they are none.
        SettingsError: they belong to another bundle, their mask fits none of its pictures, or no
            part could ever be NG.
    """
    if not isinstance(settings, DecisionSettings):
        raise TypeError(
            f"settings of type {type(settings).__name__}; give dataclasses.replace("
            "inspector.settings, min_area=...), or set inspector.threshold"
        )
    if settings.score_rule != manifest.score_rule:
        raise SettingsError(
            f"{manifest.name}: settings with another score rule than the bundle's; make them by "
            "dataclasses.replace(inspector.settings, ...)"
        )
    try:
        _check_mask_of(settings, manifest)
    except ValueError as error:
        raise SettingsError(f"{manifest.name}: {error}") from error
    _check_that_parts_can_be_ng(settings, manifest, where=manifest.name)


def _check_that_parts_can_be_ng(
    settings: DecisionSettings, manifest: Manifest, *, where: object
) -> None:
    try:
        check_decision(decide, settings=settings, manifest=manifest)
    except EngineError as error:
        raise SettingsError(
            f"{where}: no part could ever be NG with min_area {settings.min_area}; choose a "
            "smaller one"
        ) from error


def _check_mask_of(settings: DecisionSettings, manifest: Manifest) -> None:
    if settings.ignore is not None:
        check_mask(
            settings.ignore,
            roi=settings.roi,
            map_shape=manifest.size,
            sizes=manifest.health.sizes if manifest.health else (),
        )


def settings_in_use(bundle: Bundle, given: GivenSettings, *, say: Say) -> DecisionSettings:
    """Lay what is given over a bundle's own: what `stream`, `serve` and `evaluate` decide with.

    Args:
        bundle: whose.
        given: by the command line and `edge.toml`.
        say: told what is right only if it is meant.

    Raises:
        BundleError: the bundle's own mask cannot be read any more.
        ImageError: the mask is missing, or no image.
        ValueError: a threshold, area or mask that makes no sense.
    """
    manifest = bundle.manifest
    settings = settings_from_bundle(
        bundle,
        threshold=given.threshold,
        min_area=given.min_area,
        ignore=mask_from_file(Path(given.ignore)) if given.ignore else None,
        roi=given.roi,
    )
    beyond = find_region_beyond(given.roi, manifest) if given.roi else ""
    if beyond:
        say(f"{given.where}.roi: {beyond}: right only where this camera's are larger")
    much = describe_much_ignored(settings.ignore, roi=settings.roi, map_shape=manifest.size)
    if much:
        say(f"{given.ignore or bundle.path}: {much}; right only if that is meant")
    return settings


def change_settings(
    path: str | Path,
    *,
    threshold: float | RateOfRejects | None = None,
    min_area: int | None = None,
    ignore: IgnoreMask | Nothing | None = None,
    roi: Roi | Nothing | None = None,
    pixel_threshold: float | Nothing | None = None,
) -> tuple[ChangeRecord, ...]:
    """Change what a bundle inspects with from now on, without building again.

    Who changed what is kept in the bundle. An inspector that is at work takes the change over as
    it does a bundle that is built anew.

    Args:
        path: the bundle's folder.
        threshold: the score from which a part is NG; or a rate of false rejects, for which the
            bundle's held-out scores give it.
        min_area: smallest region that rejects, in pixels of the frame; 0 = the score alone.
        ignore: (H, W) uint8 of the frame's size or the region's, of two values, white where nothing
            counts; `NOTHING` removes the one that is there.
        roi: (x, y, width, height) in pixels of the frame; `NOTHING` for all of it.
        pixel_threshold: value of the map, above 0, from which a pixel belongs to an NG's regions;
            `NOTHING` for that of the build.

    Returns:
        What has changed; nothing where all was so already.

    Raises:
        BundleError: the bundle is missing or damaged, or the disk refuses; it is as before.
        SettingsError: a value that makes no sense, or no part could ever be NG.
    """
    if all(value is None for value in (threshold, pixel_threshold, min_area, ignore, roi)):
        raise SettingsError(
            "nothing to change: give a threshold, pixel_threshold, min_area, ignore or roi"
        )
    wanted = WantedSettings(threshold, min_area, ignore, roi, pixel_threshold)
    return wanted.put_into(Bundle.open(path))


@dataclass(frozen=True, slots=True, eq=False)
class WantedSettings:
    """The settings that are asked for, as `change_settings` takes them; None stays as it is."""

    threshold: float | RateOfRejects | None = None
    min_area: int | None = None
    ignore: IgnoreMask | Nothing | None = None
    roi: Roi | Nothing | None = None
    pixel_threshold: float | Nothing | None = None

    def put_into(
        self, before: Bundle, *, by: str | None = None, only_as_seen: bool = False
    ) -> tuple[ChangeRecord, ...]:
        """Change the bundle, and say what is otherwise now.

        Args:
            before: the bundle.
            by: who does it; None is the user of this machine.
            only_as_seen: not if anybody has changed it since `before` was opened.

        Raises:
            BundleError, SettingsError: as `change_settings` says.
        """
        known: tuple[ChangeRecord, ...] = ()

        def check(bundle: Bundle) -> None:
            nonlocal known
            known = bundle.manifest.changes
            if bundle.manifest.held_out != before.manifest.held_out:
                raise SettingsError(f"{bundle.path}: was built anew meanwhile; set it again")
            if only_as_seen and bundle.manifest != before.manifest:
                raise SettingsError(
                    f"{bundle.path}: somebody changed it meanwhile; look at it, and set it again"
                )
            self.check(bundle)

        check(before)
        ignore, roi, pixels = self.ignore, self.roi, self.pixel_threshold
        threshold = _threshold_record(before, self.threshold)
        after = edit_manifest(
            before,
            threshold=KEEP if threshold is None else threshold,
            pixel_threshold=KEEP if pixels is None else _pixel_threshold(before.manifest, pixels),
            min_area=KEEP if self.min_area is None else self.min_area,
            ignore=KEEP if ignore is None else None if isinstance(ignore, str) else _png(ignore),
            roi=KEEP if roi is None else None if isinstance(roi, str) else RoiRecord.from_box(roi),
            by=user_at_host() if by is None else shown_name(by),
            check=check,  # again: another change may have come between
        )
        return tuple(change for change in after.manifest.changes if change not in known)

    def check(self, bundle: Bundle) -> None:
        """See that an inspector can work with the settings.

        Raises:
            SettingsError: it cannot.
        """
        self.settings(bundle)
        beyond = (
            find_region_beyond(self.roi, bundle.manifest) if isinstance(self.roi, tuple) else ""
        )
        if beyond:
            raise SettingsError(
                f"{bundle.path}: {beyond}, and each such picture would be an ERROR; give one "
                "inside, or that of a camera with larger pictures in edge.toml"
            )

    def settings(self, bundle: Bundle) -> DecisionSettings:
        """Those of the bundle with what is asked for.

        Raises:
            SettingsError: no verdict would mean anything with them.
        """
        threshold, pixels = _threshold_record(bundle, self.threshold), self.pixel_threshold
        if isinstance(pixels, float | int) and pixels <= 0:
            raise SettingsError(
                f"{bundle.path}: pixel_threshold {pixels}: must lie above 0, or all of a picture "
                f"is a region; {NOTHING} goes back to that of the build"
            )
        try:
            settings = settings_from_bundle(
                bundle,
                threshold=threshold.value if isinstance(threshold, ThresholdRecord) else threshold,
                min_area=self.min_area,
                ignore=self.ignore,
                roi=self.roi,
                pixel_threshold=pixels,
            )
        except BundleError:
            raise
        except ValueError as error:
            raise SettingsError(f"{bundle.path}: {error}") from error
        _check_that_parts_can_be_ng(settings, bundle.manifest, where=bundle.path)
        return settings


def _pixel_threshold(manifest: Manifest, given: float | Nothing | None) -> float | None:
    """The one that is given, that of the build, or the bundle's own."""
    if given is None:
        return manifest.pixel_threshold
    return built_pixel_threshold(manifest) if isinstance(given, str) else given


def _threshold_record(
    bundle: Bundle, threshold: float | RateOfRejects | None
) -> float | ThresholdRecord | None:
    """What a threshold for a rate of false rejects is, and what can be said for it.

    Raises:
        SettingsError: the bundle's held-out scores don't support the rate.
    """
    if not isinstance(threshold, RateOfRejects):
        return threshold
    try:
        return threshold_record(threshold_for_rate(bundle.manifest, threshold), how="edge set")
    except ValueError as error:
        raise SettingsError(f"{bundle.path}: {error}") from error


def _png(mask: IgnoreMask) -> bytes:
    """The mask in black and white."""
    _, data = cv2.imencode(".png", two_valued(mask))
    return bytes(data.tobytes())
