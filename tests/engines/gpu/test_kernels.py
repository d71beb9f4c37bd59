"""The tests' kernels compile for every GPU that a plan can be for; no GPU is needed for that."""

from __future__ import annotations

import pytest
from gpu_kernels import KINDS, compiled, why_no_nvrtc

nvrtc_missing = why_no_nvrtc()


@pytest.mark.skipif(bool(nvrtc_missing), reason=nvrtc_missing or "NVRTC is here")
@pytest.mark.parametrize(
    "architecture", ["sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_120"]
)
def test_the_kernels_compile(architecture) -> None:
    image = compiled(architecture)
    assert image[:4] == b"\x7fELF"
    assert all(name.encode() in image for name in KINDS)
