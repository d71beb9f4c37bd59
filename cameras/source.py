"""What every source of frames is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from cameras.frame import Frame

if TYPE_CHECKING:
    from typing_extensions import Self


class Source(Protocol):
    """Frames from one place; released by `close` or at the end of `with`.

    Attributes:
        name: what the user named, credentials redacted.
        live: whether frames come when the camera wants: the newest wins, the others are counted
            in `dropped`. Otherwise every frame is delivered and the source waits.
        rate_hz: nominal frames per second; None when unknown or meaningless.
    """

    live: bool
    name: str
    rate_hz: float | None

    @property
    def dropped(self) -> int:
        """Frames that were captured and never handed out, so far."""
        ...

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:
        """Release device, file and thread; a second call does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def frame_now(
    source: str, index: int, image: npt.NDArray[np.uint8] | None, reason: str = ""
) -> Frame:
    """Return a frame that was captured at this moment."""
    return Frame(
        source=source,
        index=index,
        captured_at_ns=time.time_ns(),
        monotonic_ns=time.monotonic_ns(),
        image=image,
        reason=reason,
    )
