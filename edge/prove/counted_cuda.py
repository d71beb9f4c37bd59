"""CUDA with its calls counted, so that what a frame costs is seen and not believed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy.typing as npt

from engines.cuda import Cuda
from engines.engine import Output


@dataclass(frozen=True, slots=True)
class CountedCuda(Cuda):
    """Hands every call on.

    Attributes:
        inner: what is called.
        calls: how often each function was, by its name.
    """

    inner: Cuda
    calls: Counter[str] = field(default_factory=Counter)

    @classmethod
    def around(cls, inner: Cuda) -> CountedCuda:
        """Count the calls of another one."""
        return cls(inner.runtime, inner.driver, inner)

    def run(self, name: str, *arguments: object) -> object:
        """See `Cuda.run`."""
        self.calls[name] += 1
        return self.inner.run(name, *arguments)

    def drive(self, name: str, *arguments: object) -> object:
        """See `Cuda.drive`."""
        self.calls[name] += 1
        return self.inner.drive(name, *arguments)

    def view(self, address: int, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Output:
        """See `Cuda.view`."""
        return self.inner.view(address, shape, dtype)
