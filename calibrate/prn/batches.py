"""Batches for training PRN: half good images, half of them with a synthesised defect."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from calibrate.defects.foreground import Mask
from calibrate.images import Image

Synthesise: TypeAlias = Callable[[Image, np.random.Generator], tuple[Image, Mask]]
AHEAD = 2  # batches made while the network trains on one


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images and their masks.

    Attributes:
        images: (N, H, W, 3) uint8 BGR.
        masks: (N, H, W) bool, True where defective.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """The batch of any step; a step's images depend on the seed and the step alone.

    In an epoch each good image is shown once as it is, and as often with a defect: the paper's
    N normal to N anomalous, of which `synthesise` decides what share is real, extended and
    simulated.

    Attributes:
        images: good ones, (H, W, 3) uint8 BGR of one size.
        synthesise: makes a defective image and its mask from a good image and a generator.
        size: images a batch, even.
        seed: of everything.
    """

    images: Sequence[Image]
    synthesise: Synthesise
    size: int
    seed: int

    def at(self, step: int) -> Batch:
        """The batch of one step."""
        half = self.size // 2
        places = range(step * half, (step + 1) * half)
        good = [self.images[self._image(place, stream=0)] for place in places]
        made = [self._defective(place) for place in places]
        images = np.stack([*good, *(image for image, _ in made)])
        masks = np.zeros(images.shape[:3], np.bool_)
        masks[half:] = [mask for _, mask in made]
        return Batch(images, masks)

    def ahead(self, first: int, last: int, *, threads: int) -> Iterator[Batch]:
        """The batches of steps `first` to `last` - 1, made while others are in use."""
        with ThreadPoolExecutor(threads, thread_name_prefix="synthesis") as pool:
            waiting: deque[Future[Batch]] = deque()
            try:
                for step in range(first, last):
                    waiting.append(pool.submit(self.at, step))
                    if len(waiting) > AHEAD * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:  # also when training stops in between
                for future in waiting:
                    future.cancel()

    def _image(self, place: int, *, stream: int) -> int:
        """Which image is at a place of the endless row of shuffled epochs."""
        epoch, index = divmod(place, len(self.images))
        order = np.random.default_rng([self.seed, stream, epoch]).permutation(len(self.images))
        return int(order[index])

    def _defective(self, place: int) -> tuple[Image, Mask]:
        image = self.images[self._image(place, stream=1)]
        return self.synthesise(image, np.random.default_rng([self.seed, 2, place]))


def validation_batches(
    images: Sequence[Image], synthesise: Synthesise, *, size: int, seed: int
) -> Iterator[Batch]:
    """Each held-out good image as it is and with a defect, the same ones every time."""
    half = max(1, size // 2)
    for start in range(0, len(images), half):
        places = range(start, min(start + half, len(images)))
        good = [images[place] for place in places]
        made = [
            synthesise(image, np.random.default_rng([seed, 3, place]))
            for place, image in zip(places, good, strict=True)
        ]
        both = np.stack([*good, *(image for image, _ in made)])
        masks = np.zeros(both.shape[:3], np.bool_)
        masks[len(good) :] = [mask for _, mask in made]
        yield Batch(both, masks)
