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
NEARER = 0.02  # of the images, that may be nearer to a frame than the next one
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
    what any two differ by, and next to no other image is nearer: of a set of two products, sorted
    by name, that is so of none. Of nine sets of different parts the nearest to a film comes to half
    and to 7 % (docs/check.md), of films every seventh frame to a fifth and to .5 %.
    """
    count = len(thumbs.pictures)
    if count < FILM_FRAMES:
        return []
    some = np.linspace(0, count - 2, min(SAMPLE, count - 1)).astype(np.int64)
    between = thumbs.differences(some, slice(None))[0]
    between[np.arange(len(some)), some] = np.inf
    next_ones = between[np.arange(len(some)), some + 1]
    usual = float(np.median(between[np.isfinite(between)]))
    nearer = (between < next_ones[:, None]).sum(axis=1) / count
    if not usual > 0 or np.median(next_ones) > FILM * usual or np.median(nearer) > NEARER:
        return []
    steps = [
        float(thumbs.differences(slice(one, one + 1), slice(one + 1, one + 2))[0][0, 0])
        for one in range(count - 1)
    ]
    return [(one, one + 1) for one, step in enumerate(steps) if step <= FILM * usual]
