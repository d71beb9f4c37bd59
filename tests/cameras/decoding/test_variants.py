"""Every variant of a picture is what was written, or refused in a line that names it."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from odd_pictures import OddPicture, odd_pictures
from PIL import Image, ImageOps

from cameras.errors import ImageError
from cameras.image_files import image_from_bytes

PICTURES = odd_pictures()
OF_DEEP = ("16", "grey12", "alpha", "int", "float")  # Pillow misreads, or rounds down


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_it_is_what_was_written_or_refused_by_name(picture: OddPicture) -> None:
    if picture.shows is None:
        with pytest.raises(ImageError, match=picture.says) as caught:
            image_from_bytes(picture.data)
        assert "\n" not in str(caught.value)
        return
    image = image_from_bytes(picture.data)
    assert image.shape == picture.shows.shape
    off = np.abs(image.astype(int) - picture.shows)
    assert (off.mean() <= picture.within) if picture.within else (off.max() == 0)
    if not any(word in picture.name for word in OF_DEEP):
        second = np.abs(image.astype(int) - by_pillow(picture.data))
        assert second.mean() <= max(1.0, picture.within)


def test_so_many_are_handled_and_so_many_refused() -> None:
    handled = sum(picture.shows is not None for picture in PICTURES)
    assert (handled, len(PICTURES) - handled) == (117, 22)


def by_pillow(data: bytes) -> np.ndarray:
    """(H, W, 3) BGR, turned, alpha dropped."""
    with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as opened:
        warnings.simplefilter("ignore")
        upright = ImageOps.exif_transpose(opened)
        return np.asarray(upright.convert("RGB"))[..., ::-1]
