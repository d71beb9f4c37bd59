"""Why a part is an ERROR when its inspection failed: in words, and told where nobody foresaw it."""

from __future__ import annotations

from cameras.errors import ImageError
from engines.errors import BundleError, EngineError
from process.out_of_memory import is_out_of_memory
from process.threads import FAILURES

_FORESEEN = (EngineError, BundleError)


def reason_from_failure(what: str, error: Exception) -> str:
    """Say why, in one line; what nobody foresaw also makes the process not ready.

    Args:
        what: failed, for whoever looks after the process.
        error: that it failed with.
    """
    if isinstance(error, ImageError):
        return str(error)
    if is_out_of_memory(error):
        return "out of memory; take smaller pictures, or give this machine more memory"
    if isinstance(error, _FORESEEN):
        return str(error)
    FAILURES.note(what, error, goes_on=True)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
