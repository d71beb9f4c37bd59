"""What is amiss with a set of good images as files: bit depth, sizes, cameras, kinds, colour.

A set of two cameras, or one of which a part was saved in another way, teaches an inspector that
both are good; and what a station's camera delivers later may be neither.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from calibrate.images import evenly
from cameras.errors import ImageError
from cameras.image_facts import ImageHeader, ImageSamples, header_from_file, samples_from_file
from cameras.image_files import MAX_BITS, eight_bits
from cameras.redaction import printable_path

MAX_DECODED = 200  # images whose samples are looked at, evenly spread over all
BIT_DEPTHS = (10, 12, 14)  # of cameras whose values lie in 16-bit files
GROUPS_SHOWN = 4  # in one line
FindingKind: TypeAlias = Literal["bit depth", "sizes", "cameras", "kinds", "colour"]
AnyFact = TypeVar("AnyFact", ImageHeader, ImageSamples)
_AT_ONCE = 4
_WHITE = 255


@dataclass(frozen=True, slots=True)
class SetFinding:
    """Something in which the images of a set are not as one camera delivers them.

    Attributes:
        kind: which check found it.
        text: what, how many, an example, and what to do, in one line.
    """

    kind: FindingKind
    text: str


def find_in_set(paths: Sequence[Path], *, bit_depth: int | None = None) -> tuple[SetFinding, ...]:
    """Look at the headers of all images, and at the samples of some.

    What cannot be read is passed over: that it is left out is told where the images are used.

    Args:
        paths: of one set, good images of one product.
        bit_depth: of the values in 16-bit files, as given; None = all 16.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="headers") as pool:
        headers = _known(paths, pool.map(_header, paths))
        some = evenly(paths, MAX_DECODED)
        samples = _known(some, pool.map(_samples, some))
    found: tuple[tuple[FindingKind, str], ...] = (
        ("bit depth", _describe_bit_depth(samples, bit_depth)),
        ("sizes", _describe_sizes({path: one.size for path, one in headers.items()})),
        ("cameras", _describe_cameras({path: one.camera for path, one in headers.items()})),
        ("kinds", _describe_kinds(headers, samples)),
        ("colour", _describe_colour({path: one.is_grey for path, one in samples.items()})),
    )
    return tuple(SetFinding(kind, text) for kind, text in found if text)


def _header(path: Path) -> ImageHeader | None:
    with contextlib.suppress(ImageError):
        return header_from_file(path)
    return None


def _samples(path: Path) -> ImageSamples | None:
    with contextlib.suppress(ImageError):
        return samples_from_file(path)
    return None


def _known(paths: Iterable[Path], found: Iterable[AnyFact | None]) -> dict[Path, AnyFact]:
    """What was found, by path, in order."""
    return {path: one for path, one in zip(paths, found, strict=True) if one is not None}


def _describe_bit_depth(samples: Mapping[Path, ImageSamples], bit_depth: int | None) -> str:
    """Whether values of fewer bits lie in 16-bit files, or the given depth is for none."""
    deep = [one.brightest for one in samples.values() if one.bits == MAX_BITS]
    fractions = [path for path, one in samples.items() if one.is_float]
    if fractions:
        return (
            f"{len(fractions)} of {len(samples)} images hold fractions, such as "
            f"{printable_path(fractions[0].name)}: nobody says which is white, and they are not "
            "read; save them with 8 or 16 bits"
        )
    if not deep:
        return f"no image has 16 bits: --bit-depth {bit_depth} changes nothing" if bit_depth else ""
    brightest = int(max(deep))
    used = int(eight_bits(np.array(brightest, np.uint16), bit_depth))
    needed = next((bits for bits in BIT_DEPTHS if brightest < 1 << bits), None)
    if needed is None or needed >= (bit_depth or MAX_BITS):
        return ""
    return (
        f"brightest pixel is {used} of {_WHITE}: the 16-bit files hold {needed}-bit values, up to "
        f"{brightest}; give --bit-depth {needed}, or what the camera delivers"
    )


def _describe_sizes(sizes: Mapping[Path, tuple[int, int]]) -> str:
    texts = {path: f"{width}x{height} px" for path, (height, width) in sizes.items()}
    return _describe_groups("sizes", texts, "give --roi, or images of one size")


def _describe_cameras(cameras: Mapping[Path, str]) -> str:
    named = {path: camera or "without a name" for path, camera in cameras.items()}
    return _describe_groups("cameras", named, "learn from the camera that will inspect")


def _describe_kinds(
    headers: Mapping[Path, ImageHeader], samples: Mapping[Path, ImageSamples]
) -> str:
    advice = "a JPEG's blocks look different from what a camera delivers; save all in one way"
    bits = {path: f"{one.bits} bits" for path, one in samples.items()}
    kinds = _describe_groups(
        "kinds of files", {path: x.kind for path, x in headers.items()}, advice
    )
    return kinds or _describe_groups("samples", bits, "save all in one way")


def _describe_colour(grey: Mapping[Path, bool]) -> str:
    texts = {path: "grey" if is_grey else "in colour" for path, is_grey in grey.items()}
    return _describe_groups("colours", texts, "learn from the camera that will inspect")


def _describe_groups(what: str, texts: Mapping[Path, str], advice: str) -> str:
    """How many images are of which kind, with an example of each but the first; empty for one."""
    groups: defaultdict[str, list[Path]] = defaultdict(list)
    for path, text in texts.items():
        groups[text].append(path)
    if len(groups) < 2:
        return ""
    order = sorted(groups, key=lambda text: -len(groups[text]))
    first, *others = order[:GROUPS_SHOWN]
    shown = [f"{len(groups[first])} {first}"]
    shown += [
        f"{len(groups[one])} {one} (such as {printable_path(groups[one][0].name)})"
        for one in others
    ]
    more = f" and {len(order) - GROUPS_SHOWN} more" if len(order) > GROUPS_SHOWN else ""
    return f"{what} differ: {', '.join(shown)}{more}; {advice}"
