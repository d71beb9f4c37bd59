"""What every record of a manifest is, and within which limits its numbers mean anything.

Whoever forges a seal may write any number. What is absurd is refused when a bundle is opened, not
after it has taken the memory of the machine or let every part pass.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

LARGEST_FLOAT32 = 3.4028234663852886e38
MAX_QUANTITY = 1_000_000_000
MAX_LISTED = 1_000  # entries of a list that a build keeps short

Float32: TypeAlias = Annotated[float, Field(ge=-LARGEST_FLOAT32, le=LARGEST_FLOAT32)]
"""A score, or a value of a map: engines compute in float32."""
Magnitude: TypeAlias = Annotated[float, Field(ge=0, le=LARGEST_FLOAT32)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Quantity: TypeAlias = Annotated[int, Field(ge=0, le=MAX_QUANTITY)]
PositiveQuantity: TypeAlias = Annotated[int, Field(ge=1, le=MAX_QUANTITY)]


class Record(BaseModel):
    """Frozen, no unknown fields, no NaN or infinity (JSON has neither)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
