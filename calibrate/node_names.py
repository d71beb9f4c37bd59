"""What the names of a graph's nodes say: by them a precision knows which nodes it may change.

`engines.engine.EXACT` is the fourth of these prefixes: such nodes are float32 at every precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from engines.engine import Precision

PREPROCESSING = "pre/"
"""From the uint8 image to what the backbone takes: float32, for values up to 255."""
HEAD = "head/"
"""What compares features with prototypes, and all that follows."""
HEAVY_TAILED = "tail/"
"""Convolutions that stay fp16 in int8 too: a few large values in what they read would cost all
others their digits."""

HigherPrecisionNodes: TypeAlias = Mapping[str, Precision]
"""Nodes of a graph in fp32 that stay above the precision asked for, by name, and what they compute
in: ``fp16`` (convolutions of int8 graphs alone) or ``fp32``."""
