"""Find which images show one thing: copies, further shots of it, and frames of one film.

Good parts in a fixture look alike; what tells them apart is their own texture, their marks and
their play. So two pictures are compared as a camera would give one again (`same.is_same`): what is
then left of their difference is noise, or it is another part. A perceptual hash has no such notion,
and calls different parts in one fixture copies (docs/check.md has the figures).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibrate.likeness.clusters import Clusters, JoinedImages
from calibrate.likeness.same import is_same
from calibrate.likeness.sketches import Sketch
from calibrate.likeness.thumbs import Thumbs, nearest_pairs, thumbs_of

FILM_FRAMES = 8  # fewer images are no film
FILM = 0.25  # of the usual difference: nearer are frames that follow each other in a film
SAMPLE = 400  # images whose differences tell the usual one


def clusters_of_sketches(sketches: Sequence[Sketch]) -> Clusters:
    """Which images show one thing; what is like one of a cluster belongs to it.

    All pairs are compared as thumbs, and the nearest of each as sketches; what was found to be one
    thing is then taken once, and compared again, until nothing more is found.

    Args:
        sketches: of one size, in the order of the files.
    """
    joined = JoinedImages(len(sketches))
    if len(sketches) < 2:
        return joined.clusters()
    thumbs, left = thumbs_of(sketches), np.arange(len(sketches))
    for one, other in film_pairs(thumbs):
        joined.join(one, other)
    while len(left) > 1:
        for first, second in nearest_pairs(thumbs.of(left)):
            one, other = int(left[first]), int(left[second])
            if not joined.is_joined(one, other) and is_same(sketches[one], sketches[other]):
                joined.join(one, other)
        roots = np.unique([joined.root(int(index)) for index in left])
        if len(roots) == len(left):
            break
        left = roots
    return joined.clusters()


def film_pairs(thumbs: Thumbs) -> list[tuple[int, int]]:
    """Images that follow each other in a film, whatever moves in it; none of other images.

    Files that follow each other are of a film where most of them differ by less than a quarter of
    what any two differ by. Of nine sets of different parts those of one, sorted by module, come to
    half (docs/check.md); of films every seventh frame to a fifth.
    """
    count = len(thumbs.pictures)
    if count < FILM_FRAMES:
        return []
    some = np.linspace(0, count - 1, min(SAMPLE, count)).astype(np.int64)
    usual = np.median(thumbs.differences(some, some)[0][~np.eye(len(some), dtype=bool)])
    steps = np.array(
        [
            thumbs.differences(slice(index, index + 1), slice(index + 1, index + 2))[0][0, 0]
            for index in range(count - 1)
        ]
    )
    if not usual > 0 or np.median(steps) > FILM * usual:
        return []
    return [(int(index), int(index) + 1) for index in np.flatnonzero(steps <= FILM * usual)]
