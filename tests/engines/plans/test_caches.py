"""Kernels that TensorRT-RTX compiled are kept, sealed, and compiled again when in doubt."""

from __future__ import annotations

import errno
import gc

import numpy as np
import pytest
from fake_cuda import Machine
from fake_tensorrt import PLAN, FakeTensorRt, opened
from hypothesis import given
from hypothesis import strategies as st

from engines.plans import caches
from engines.plans.caches import kernels_path, read_kernels, write_kernels

RTX = "tensorrt-rtx"


def compiled(*, rtx: bool = True) -> tuple[int, list[str]]:
    """Open an engine; how often kernels were compiled, and its notes."""
    machine = Machine()
    trt = FakeTensorRt(machine, rtx=rtx)
    with opened(machine, trt, flavour=RTX if rtx else "tensorrt") as engine:
        engine.infer(np.zeros((1, 8, 16, 3), np.uint8))
        notes = engine.notes
    gc.collect()
    machine.check()
    return trt.compiled, notes


def path():
    return kernels_path(PLAN, flavour=RTX, version="10.3.0")


def test_the_second_start_compiles_nothing() -> None:
    assert compiled() == (1, [])
    assert compiled() == (0, [])


def test_tensorrt_has_no_such_cache() -> None:
    assert compiled(rtx=False) == (0, [])
    assert not path().parent.exists()


@pytest.mark.parametrize(
    "content", [b"", b"x", b"kernels of somebody", b"\0" * 32 + b"kernels of somebody"]
)
def test_what_this_machine_did_not_seal_is_not_read(content) -> None:
    compiled()
    path().write_bytes(content)
    assert compiled() == (1, [])
    assert compiled() == (0, [])


def test_kernels_of_another_plan_do_not_pass() -> None:
    write_kernels(path(), b"kernels")
    other = kernels_path(b"another plan", flavour=RTX, version="1.7")
    other.write_bytes(path().read_bytes())
    assert read_kernels(path()) == b"kernels"
    assert read_kernels(other) == b""


def test_a_link_is_not_followed(tmp_path) -> None:
    write_kernels(path(), b"kernels")
    path().rename(tmp_path / "elsewhere")
    path().symlink_to(tmp_path / "elsewhere")
    assert read_kernels(path()) == b""


def test_what_tensorrt_rtx_refuses_is_compiled_and_kept_again() -> None:
    write_kernels(path(), b"of another driver")
    assert compiled() == (1, [])
    assert compiled() == (0, [])


def test_a_full_disk_is_a_note_and_no_failure(monkeypatch) -> None:
    def full(path, content) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(caches, "replace_file", full)
    times, notes = compiled()
    assert times == 1
    assert len(notes) == 1
    assert "the compiled kernels are not kept: No space left on device" in notes[0]


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_gets_through(at, bit) -> None:
    write_kernels(path(), b"kernels " * 20)
    content = bytearray(path().read_bytes())
    content[at % len(content)] ^= 1 << bit
    path().write_bytes(content)
    assert read_kernels(path()) == b""
