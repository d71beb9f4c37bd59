"""Whether pictures come from another source than the good images: their size and their colour.

Any size is fitted and any colour is inspected, so this makes no ERROR; but an inspector that has
learnt from other pictures is worth less, and nobody notices.
"""

from __future__ import annotations

from cameras.image_facts import is_grey
from edge.result import Image
from engines.manifest import HealthRecord

LOOK_EVERY = 100  # pictures, for colour, while their size stays


class UnlikeDetector:
    """Compares one camera's pictures with the good images; one thread adds, any may read.

    Args:
        record: what the good images look like; None = nothing is known.

    Attributes:
        reason: what is unlike, in words; empty if nothing is.
    """

    def __init__(self, record: HealthRecord | None) -> None:
        self.reason = ""
        self._record = record
        self._shape: tuple[int, ...] | None = None
        self._seen = 0

    def add(self, image: Image) -> str:
        """Look at a picture, where it may have changed; return the reason."""
        self._seen += 1
        if self._record is None or (image.shape == self._shape and self._seen % LOOK_EVERY):
            return self.reason
        self._shape = image.shape
        found = (self._describe_size(self._record, image), _describe_colour(self._record, image))
        self.reason = "; ".join(filter(None, found))
        return self.reason

    def _describe_size(self, record: HealthRecord, image: Image) -> str:
        if not record.sizes or image.shape[:2] in record.sizes:
            return ""
        learnt = ", ".join(f"{width}x{height}" for height, width in record.sizes)
        return (
            f"other source: pictures have {image.shape[1]}x{image.shape[0]} px, the good images "
            f"{learnt}: what is inspected looks otherwise; set the camera back, or build with its "
            "pictures"
        )


def _describe_colour(record: HealthRecord, image: Image) -> str:
    if record.grey is None or is_grey(image) is record.grey:
        return ""
    now, learnt = ("in colour", "grey") if record.grey else ("grey", "in colour")
    return (
        f"other source: pictures are {now}, the good images {learnt}; set the camera back, or "
        "build with its pictures"
    )
