"""Whether memory was lacking, by anybody's account: Python's, the system's or a library's."""

from __future__ import annotations

import errno
import re

# What C++ libraries write (OpenCV, ONNX Runtime, OpenVINO, torch), none of which raises MemoryError
# for certain.
_LACKING = re.compile(
    r"\bbad_alloc\b|\b(?:can't|cannot|could not|failed to|unable to) allocate\b"
    r"|\b(?:out of|insufficient|not enough) memory\b"
    r"|\bcan't start new thread\b",  # for want of a stack, or of processes
    re.IGNORECASE,
)
_OURS = frozenset({"edge", "calibrate", "engines", "cameras", "process"})


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it arose from, is that memory could not be had.

    The text of our own errors counts for nothing: it may name files.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or _is_told(error):
            return True
        error = error.__cause__
    return False


def _is_told(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, ValueError):  # bad input, whose words are somebody's own
        return False
    is_foreign = type(error).__module__.partition(".")[0] not in _OURS
    return is_foreign and _LACKING.search(str(error)) is not None
